#pragma once

#include <cstddef>
#include <string>

namespace curate::emulator {

/// Device memory: pages of their own for every allocation, with unmapped ones around it, so that a kernel that reads or
/// writes past it is stopped by the processor. Blocks end (to 16 bytes) where their pages end. Freed addresses are not
/// handed out again before a terabyte of others was. New memory holds 0xFF: NaN, or -1.
///
/// nullptr where `bytes` do not fit the device.
void* allocate_memory(std::size_t bytes);

/// What is wrong with freeing that address, or with the bytes around the block; empty if nothing.
std::string free_memory(void* address);

/// The address in words: how far past which allocation. Empty if it is none of the device's.
std::string describe_address(const void* address);

/// Whether [address, address + bytes) lies in one allocation.
bool is_device_memory(const void* address, std::size_t bytes);

std::size_t memory_capacity();

}  // namespace curate::emulator
