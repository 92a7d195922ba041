#pragma once

#include <string>
#include <vector>

namespace curate::emulator {

inline constexpr const char* kEmulatedDevice = "cuda-emulated";

/// Makes make_device() know "cuda-emulated", the CUDA engine on the emulator, and "cuda-emulated:OPTIONS" with the
/// options of parse_options(). Again: nothing.
void add_emulated_engine();

/// Names of devices that between them run every schedule, and streams of both kinds.
std::vector<std::string> emulated_devices();

}  // namespace curate::emulator
