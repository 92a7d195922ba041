#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// ops::Dropout.
void dropout(cudaStream_t stream, const MatrixView& rows, const DropoutParams& params, const MatrixView& state);

}  // namespace curate::cuda
