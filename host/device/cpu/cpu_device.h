#pragma once

#include <cstddef>
#include <memory>

#include "device/device.h"

namespace curate {

enum class CpuStream {
  eager,     ///< an operation runs inside the call that enqueues it
  deferred,  ///< operations wait for the next blocking call, as late as a GPU may run them
};

std::unique_ptr<Device> make_cpu_device(int threads, CpuStream stream);

/// What the engine takes for a buffer: a large one has large pages, the last of which it fills in part.
std::size_t cpu_buffer_bytes(std::size_t bytes);

}  // namespace curate
