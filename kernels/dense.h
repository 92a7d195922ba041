#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/device.h"
#include "kernels/half_types.h"
#include "kernels/scratch.h"

namespace curate::cuda {

// Dense layers by kernels of our own; dense_products.h chooses between these and cuBLASLt.

/// ops::DenseForward.
void dense_forward(cudaStream_t stream, const DenseBatch& batch, const DenseParams& params,
                   const Activation& activation, const MatrixView& state);

/// out = activation(out), elementwise.
void activation_forward(cudaStream_t stream, const MatrixView& out, const Activation& activation,
                        const MatrixView& state);

/// What becomes of rows past the batch's count.
enum class PastCount : std::uint8_t { stays, zeros };

/// grad *= activation'(z), taken from out = activation(z): h of ops::DenseBackward.
void activation_backward(cudaStream_t stream, const MatrixView& grad, const MatrixView& out,
                         const Activation& activation, PastCount past, const MatrixView& state);

/// The sums over the batch of ops::DenseBackward.
void dense_grad_params(cudaStream_t stream, const DenseParams& grad_params, const MatrixView& h, const MatrixView& in,
                       const MatrixView& state, const ScratchFloats& scratch);

/// grad_in = h weight.
void dense_grad_in(cudaStream_t stream, const MatrixView& grad_in, const MatrixView& h, const MatrixView& weight,
                   const MatrixView& state);

/// Rounds f32 to bf16, rows `ld` elements apart. from.cols is a multiple of 4; rows of `from` begin at multiples of 16
/// bytes, and so do those of `to`.
void to_bf16(cudaStream_t stream, Bf16* to, std::int64_t ld, const MatrixView& from);

}  // namespace curate::cuda
