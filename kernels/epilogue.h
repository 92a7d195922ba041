#pragma once

#include <cuda_runtime.h>

#include "device/device.h"
#include "kernels/dense.h"
#include "kernels/product.h"

namespace curate::cuda {

// What a library's epilogues do, as kernels of our own, for products that a library has without them. Matrices are f32
// or bf16, any ld, and all of their rows are worked on.

/// out[r, c] = bias[c], in out's type: a product that adds to that has its bias, rounded once. bias [cols] of out's
/// type.
void fill_with_bias(cudaStream_t stream, const MatrixView& out, const void* bias);

/// values = relu(values); NaN stays.
void relu_in_place(cudaStream_t stream, const MatrixView& values);

/// grad[r, c] = values[r, c] > 0 ? grad[r, c] : 0: the slope of the relu that made `values`, whether or not a dropout
/// came after it. Both of one type.
void relu_backward(cudaStream_t stream, const MatrixView& grad, const MatrixView& values);

}  // namespace curate::cuda
