#pragma once

#include <memory>
#include <string>

#include "device/cuda_engine.h"

namespace curate::cuda {

/// The engine on GPU 0. Throws DeviceError where there is none that works. `name` is what info() calls it.
std::unique_ptr<Device> make_device(const std::string& name);

/// What CUDA says of this machine.
CudaStatus status();

}  // namespace curate::cuda
