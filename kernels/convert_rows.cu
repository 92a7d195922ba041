#include "kernels/convert_rows.h"

#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// to[r, c] = from[r, c], rounded to the nearest. to [rows, cols] of To, from [rows, cols] of From. One thread an
/// element, as many bytes as both have. Deterministic.
template <typename To, typename From>
__global__ void __launch_bounds__(kBlockThreads)
    convert_rows_kernel(Rows<To> to, Rows<const From> from, std::int64_t rows, std::int64_t cols) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = thread / cols;
  const std::int64_t c = thread % cols;
  if (r >= rows) {
    return;
  }
  const float value = Pack<1>::load(from.row(r) + c).value[0];
  if constexpr (sizeof(To) == 4) {
    to.row(r)[c] = value;
  } else {
    to.row(r)[c] = to_nearest<To>(value);
  }
}

}  // namespace

void convert_rows(cudaStream_t stream, const MatrixView& destination, const MatrixView& source) {
  with_element(destination.dtype, [&](auto to) {
    with_element(source.dtype, [&](auto from) {
      using To = decltype(to);
      using From = decltype(from);
      launch("convert_rows", stream, one_thread_each(source.rows * source.cols), convert_rows_kernel<To, From>,
             rows_of<To>(destination), rows_of<const From>(source), source.rows, source.cols);
    });
  });
}

}  // namespace curate::cuda
