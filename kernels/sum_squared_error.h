#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

struct ErrorScratch;

/// Device::sum_squared_error.
void sum_squared_error(cudaStream_t stream, const MatrixView& sums, const MfTables& tables, const RatingsView& ratings,
                       ClipRange clip, ErrorScratch* scratch);

}  // namespace curate::cuda
