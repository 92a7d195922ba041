#pragma once

#include <cuda_runtime.h>

namespace curate::cuda {

/// Throws DeviceError unless `error` is cudaSuccess: what was called, CUDA's name for the error and its words, where.
/// AsyncDeviceError if a kernel went wrong while it ran.
void check(cudaError_t error, const char* what, const char* file, int line);

}  // namespace curate::cuda

#define CURATE_CUDA_CHECK(call) ::curate::cuda::check((call), #call, __FILE__, __LINE__)
