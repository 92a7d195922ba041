#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "kernels/dense.h"

namespace curate::cuda {

// Stacks of small dense layers, each a kernel forward and a kernel backward: what is between the layers never leaves a
// multiprocessor.

/// The rule: up to four layers, none wider than 128; in f32 only stacks whose weights stay in shared memory. A block
/// keeps a tile of rows with all layers' values there, and the weights if there is room beside them. Then a stack is
/// bound by arithmetic, not by memory, and takes a quarter of the launches. Larger weights (some 12,000 and more) come
/// from the L2 cache for every tile. Tensor cores are still faster then than moving the layers' values to and from
/// memory; f32 is not, because its backward pass multiplies a third more than layer by layer. The numbers are
/// estimates: no GPU has measured them yet.
bool suits_dense_stack(const DenseStack& stack, ProductPrecision precision);

/// Whether the kernels take it at all.
bool fits_dense_stack(const DenseStack& stack, ProductPrecision precision);

/// ops::DenseStackForward.
void dense_stack_forward(cudaStream_t stream, const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                         ProductPrecision precision, const MatrixView& state);

/// ops::DenseStackBackward.
void dense_stack_backward(cudaStream_t stream, const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                          const MatrixView& in, const DenseStack& stack, ProductPrecision precision,
                          const MatrixView& state, const ScratchFloats& scratch);

}  // namespace curate::cuda
