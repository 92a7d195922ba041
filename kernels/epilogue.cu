#include "kernels/epilogue.h"

#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// out[r, c] = bias[c]. out [rows, cols], bias [cols] of T. One thread an element, its size in bytes each.
/// Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    fill_with_bias_kernel(Rows<T> out, const T* bias, std::int64_t rows, std::int64_t cols) {
  const std::int64_t thread = global_thread();
  if (thread < rows * cols) {
    out.row(thread / cols)[thread % cols] = bias[thread % cols];
  }
}

/// values[r, c] = values[r, c] < 0 ? 0 : values[r, c]. values [rows, cols] of T. One thread an element, two times its
/// size in bytes each. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    relu_in_place_kernel(Rows<T> values, std::int64_t rows, std::int64_t cols) {
  const std::int64_t thread = global_thread();
  if (thread < rows * cols) {
    T* const place = values.row(thread / cols) + thread % cols;
    const float value = Pack<1>::load(place).value[0];
    Pack<1>{{value < 0.0F ? 0.0F : value}}.store(place);
  }
}

/// grad[r, c] = values[r, c] > 0 ? grad[r, c] : 0. grad, values [rows, cols] of T. One thread an element, three times
/// its size in bytes each. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    relu_backward_kernel(Rows<T> grad, Rows<const T> values, std::int64_t rows, std::int64_t cols) {
  const std::int64_t thread = global_thread();
  if (thread < rows * cols) {
    const std::int64_t r = thread / cols;
    const std::int64_t c = thread % cols;
    const float value = Pack<1>::load(values.row(r) + c).value[0];
    if (!(value > 0.0F)) {
      grad.row(r)[c] = T{};
    }
  }
}

}  // namespace

void fill_with_bias(cudaStream_t stream, const MatrixView& out, const void* bias) {
  with_values(out.dtype, [&](auto value) {
    using T = decltype(value);
    launch("fill_with_bias", stream, one_thread_each(out.rows * out.cols), fill_with_bias_kernel<T>, rows_of<T>(out),
           static_cast<const T*>(bias), out.rows, out.cols);
  });
}

void relu_in_place(cudaStream_t stream, const MatrixView& values) {
  with_values(values.dtype, [&](auto value) {
    using T = decltype(value);
    launch("relu_in_place", stream, one_thread_each(values.rows * values.cols), relu_in_place_kernel<T>,
           rows_of<T>(values), values.rows, values.cols);
  });
}

void relu_backward(cudaStream_t stream, const MatrixView& grad, const MatrixView& values) {
  with_values(grad.dtype, [&](auto value) {
    using T = decltype(value);
    launch("relu_backward", stream, one_thread_each(grad.rows * grad.cols), relu_backward_kernel<T>, rows_of<T>(grad),
           rows_of<const T>(values), grad.rows, grad.cols);
  });
}

}  // namespace curate::cuda
