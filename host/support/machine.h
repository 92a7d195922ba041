#pragma once

#include <cstdint>
#include <string>

namespace curate {

/// The processor's name, or "unknown".
std::string cpu_model();

/// The instruction set that the engine's vector code runs with.
std::string vector_instructions();

/// The most memory that the process has had resident, since it began or since the last reset_peak_memory().
std::int64_t peak_memory_bytes();

/// Lets the peak begin anew from what is resident now. False if the system does not let it.
bool reset_peak_memory();

/// Gives memory that was freed back to the system, where the C library keeps it otherwise: the next large allocations
/// take other memory than what many freed ones left.
void return_freed_memory();

}  // namespace curate
