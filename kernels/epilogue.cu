#include "kernels/epilogue.h"

#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// out[r, c] = bias[c]. out [rows, cols], bias [cols] of T. Neighbouring threads take neighbouring packs, the size of
/// T in bytes an element. Deterministic.
template <typename T, int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    fill_with_bias_kernel(Rows<T> out, const T* bias, std::int64_t rows, RowShare share) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = share.row(thread);
  if (r >= rows) {
    return;
  }
  T* const to = out.row(r);
  share.visit<kVector>(
      share.lane(thread), [&](std::int64_t c) { Pack<kVector>::load(bias + c).store(to + c); },
      [&](std::int64_t c) { to[c] = bias[c]; });
}

template <int kVector, typename T>
__device__ void relu(T* at) {
  auto pack = Pack<kVector>::load(at);
  for (int i = 0; i < kVector; ++i) {
    pack.value[i] = pack.value[i] < 0.0F ? 0.0F : pack.value[i];
  }
  pack.store(at);
}

template <int kVector, typename T>
__device__ void keep_where_positive(T* grad, const T* values) {
  auto pack = Pack<kVector>::load(grad);
  const auto signs = Pack<kVector>::load(values);
  for (int i = 0; i < kVector; ++i) {
    pack.value[i] = signs.value[i] > 0.0F ? pack.value[i] : 0.0F;
  }
  pack.store(grad);
}

/// values[r, c] = values[r, c] < 0 ? 0 : values[r, c]. values [rows, cols] of T. Neighbouring threads take neighbouring
/// packs, two times the size of T in bytes an element. Deterministic.
template <typename T, int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    relu_in_place_kernel(Rows<T> values, std::int64_t rows, RowShare share) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = share.row(thread);
  if (r >= rows) {
    return;
  }
  T* const row = values.row(r);
  share.visit<kVector>(
      share.lane(thread), [&](std::int64_t c) { relu<kVector>(row + c); }, [&](std::int64_t c) { relu<1>(row + c); });
}

/// grad[r, c] = values[r, c] > 0 ? grad[r, c] : 0. grad, values [rows, cols] of T. Neighbouring threads take
/// neighbouring packs, three times the size of T in bytes an element. Deterministic.
template <typename T, int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    relu_backward_kernel(Rows<T> grad, Rows<const T> values, std::int64_t rows, RowShare share) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = share.row(thread);
  if (r >= rows) {
    return;
  }
  T* const to = grad.row(r);
  const T* const from = values.row(r);
  share.visit<kVector>(
      share.lane(thread), [&](std::int64_t c) { keep_where_positive<kVector>(to + c, from + c); },
      [&](std::int64_t c) { keep_where_positive<1>(to + c, from + c); });
}

}  // namespace

void fill_with_bias(cudaStream_t stream, const MatrixView& out, const void* bias) {
  const MatrixView bias_row = {nullptr, const_cast<void*>(bias), 1, out.cols, out.cols, out.dtype};
  const int vector = vector_width(out.cols, out, bias_row);
  const RowShare share = share_rows(out.cols, vector);
  with_values(out.dtype, [&](auto value) {
    using T = decltype(value);
    launch("fill_with_bias", stream, geometry_for_rows(out.rows, share),
           vector == 4 ? fill_with_bias_kernel<T, 4> : fill_with_bias_kernel<T, 1>, rows_of<T>(out),
           static_cast<const T*>(bias), out.rows, share);
  });
}

void relu_in_place(cudaStream_t stream, const MatrixView& values) {
  const int vector = vector_width(values.cols, values);
  const RowShare share = share_rows(values.cols, vector);
  with_values(values.dtype, [&](auto value) {
    using T = decltype(value);
    launch("relu_in_place", stream, geometry_for_rows(values.rows, share),
           vector == 4 ? relu_in_place_kernel<T, 4> : relu_in_place_kernel<T, 1>, rows_of<T>(values), values.rows,
           share);
  });
}

void relu_backward(cudaStream_t stream, const MatrixView& grad, const MatrixView& values) {
  const int vector = vector_width(grad.cols, grad, values);
  const RowShare share = share_rows(grad.cols, vector);
  with_values(grad.dtype, [&](auto value) {
    using T = decltype(value);
    launch("relu_backward", stream, geometry_for_rows(grad.rows, share),
           vector == 4 ? relu_backward_kernel<T, 4> : relu_backward_kernel<T, 1>, rows_of<T>(grad),
           rows_of<const T>(values), grad.rows, share);
  });
}

}  // namespace curate::cuda
