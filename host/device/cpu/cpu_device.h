#pragma once

#include <memory>

#include "device/device.h"

namespace curate {

enum class CpuStream {
  eager,     ///< an operation runs inside the call that enqueues it
  deferred,  ///< operations wait for the next blocking call, as late as a GPU may run them
};

std::unique_ptr<Device> make_cpu_device(int threads, CpuStream stream);

}  // namespace curate
