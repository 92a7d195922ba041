#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/device.h"
#include "kernels/dense.h"
#include "kernels/half_types.h"

namespace curate::cuda {

// What wide_stack.h needs beside the library's products: parameters in bf16, and the last layer, whose single output
// would be a matrix of one column.

/// Widest last hidden layer: a thread keeps 16 columns, a row has 32 threads at most.
constexpr std::int64_t kWidestHead = 512;

/// A layer's parameters as the library takes them.
struct RoundedLayer {
  Bf16* weight = nullptr;  ///< [outputs, inputs]
  std::int64_t weight_ld = 0;
  Bf16* bias = nullptr;  ///< [outputs]
};

/// Rounds a layer's parameters to the nearest. If one of them is not finite, poison [1] f32 becomes NaN.
void round_layer(cudaStream_t stream, const RoundedLayer& to, float* poison, const DenseParams& from);

/// out[b] = activation(bias + <in[b, :], weight> + *poison). in [batch, n] bf16, n a multiple of 4 up to kWidestHead,
/// its rows and weight [1, n] at multiples of 16 bytes; poison 0 or NaN.
void stack_head_forward(cudaStream_t stream, const MatrixView& out, const MatrixView& in, const DenseStackLayer& layer,
                        const float* poison, const MatrixView& state);

/// With h[b] = grad.out[b] * activation'(z): grad_params, and grad.in [batch, n] bf16 by the sums that `in` came from
/// by relu and then `dropout`, zeros for rows past the count: h[b] * weight / (1 - dropout) if in[b, :] is above 0.
void stack_head_backward(cudaStream_t stream, const DenseBatch& grad, const DenseParams& grad_params,
                         const MatrixView& in, const DenseStackLayer& layer, float dropout, const MatrixView& state,
                         const ScratchFloats& scratch);

}  // namespace curate::cuda
