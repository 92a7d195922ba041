#pragma once

namespace curate::cuda {

/// A shared library of the system by its name, or nullptr; it stays loaded. The emulated build has tests/emulator/'s.
void* open_library(const char* name);

/// A function of that library, or nullptr.
void* find_symbol(void* library, const char* name);

}  // namespace curate::cuda
