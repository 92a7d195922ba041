#pragma once

#include <cuda_runtime.h>

#include "device/device.h"
#include "kernels/dense.h"

namespace curate::cuda {

/// grad_bias[j] = the sum of h[b, j] over all rows, those past a batch's count too. grad_bias [cols] f32, h [rows,
/// cols] f32 or bf16, any ld. Long matrices are summed in slices by many blocks; the slices' sums, in `scratch`, are
/// added in order. The number of slices depends on the shape and the scratch alone: the same bits on every GPU.
void bias_gradient(cudaStream_t stream, const MatrixView& grad_bias, const MatrixView& h, const ScratchFloats& scratch);

}  // namespace curate::cuda
