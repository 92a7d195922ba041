#pragma once

#include <string>

namespace curate::emulator {

/// The stand-in of cuBLAS as open_library() finds it, or nullptr.
void* cublas_library();
/// A function of it, or nullptr.
void* cublas_symbol(const std::string& name);

}  // namespace curate::emulator
