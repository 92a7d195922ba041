#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

struct ErrorScratch;

/// Device::rating_loss.
void rating_loss(cudaStream_t stream, const MatrixView& grad, const MatrixView& sums, const MatrixView& prediction,
                 const MatrixView& ratings, LossKind kind, const MatrixView& state, ErrorScratch* scratch);

/// Device::rating_errors.
void rating_errors(cudaStream_t stream, const MatrixView& sums, const MatrixView& prediction, const MatrixView& ratings,
                   ClipRange clip, const MatrixView& state, ErrorScratch* scratch);

}  // namespace curate::cuda
