#pragma once

#include <memory>
#include <string>

#include "device/cuda_engine.h"

namespace curate::cuda {

/// The engine on a GPU, counted from 0. Throws DeviceError if there is none that works. `name` is what info() calls
/// it. `debugging`: see debug_devices().
std::unique_ptr<Device> make_device(const std::string& name, int gpu = 0, bool debugging = false);

/// What CUDA says of a GPU.
CudaStatus status(int gpu);

/// Runs kernels on it.
CudaTrial try_gpu(int gpu);

}  // namespace curate::cuda
