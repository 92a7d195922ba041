#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::dot_rows.
void dot_rows(cudaStream_t stream, const MatrixView& prediction, const MfRows& rows, const MatrixView& state);

/// Device::dot_rows_backward.
void dot_rows_backward(cudaStream_t stream, const MfRows& grad, const MatrixView& grad_prediction, const MfRows& rows,
                       float l2, const MatrixView& state);

}  // namespace curate::cuda
