#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::permute. Takes 24 bytes a rating of its own while it runs, and what the sort takes.
void permute(cudaStream_t stream, const RatingsView& out, const MatrixView& order, const RatingsView& in,
             const MatrixView& state);

}  // namespace curate::cuda
