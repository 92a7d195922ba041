#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "device/device.h"

namespace curate::cuda {

/// Device memory for partial sums of dense_backward's gradients, which a capture cannot allocate.
struct DenseScratch {
  float* data = nullptr;
  std::size_t floats = 0;
};

/// Device::dense_forward.
void dense_forward(cudaStream_t stream, const DenseBatch& batch, const DenseParams& params,
                   const Activation& activation, const MatrixView& state);

/// Device::dense_backward.
void dense_backward(cudaStream_t stream, const DenseBatch& grad, const DenseParams& grad_params,
                    const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                    const MatrixView& state, const DenseScratch& scratch);

}  // namespace curate::cuda
