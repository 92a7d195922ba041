#include "kernels/copy_rows.h"

#include <cstdint>
#include <stdexcept>
#include <type_traits>

#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// to[r, c] = from[r, c] for r < rows, rounded to the nearest if the types differ. to [rows, cols] of To, from
/// [rows, cols] of From. Neighbouring threads take neighbouring packs. As many bytes an element as both have.
/// Deterministic.
template <int kVector, typename To, typename From>
__global__ void __launch_bounds__(kBlockThreads)
    copy_rows_kernel(Rows<To> to, Rows<const From> from, std::int64_t rows, RowShare share) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = share.row(thread);
  if (r >= rows) {
    return;
  }
  const auto copy_pack = [&](auto width, std::int64_t c) {
    constexpr int kWidth = decltype(width)::value;
    if constexpr (std::is_same_v<To, From>) {
      using Word = typename MemoryWord<To, kWidth>::Type;
      *reinterpret_cast<Word*>(to.row(r) + c) = *reinterpret_cast<const Word*>(from.row(r) + c);
    } else {
      Pack<kWidth>::load(from.row(r) + c).store(to.row(r) + c);
    }
  };
  share.visit<kVector>(
      share.lane(thread), [&](std::int64_t c) { copy_pack(std::integral_constant<int, kVector>(), c); },
      [&](std::int64_t c) { copy_pack(std::integral_constant<int, 1>(), c); });
}

template <typename To, typename From>
void copy(cudaStream_t stream, const MatrixView& destination, const MatrixView& source) {
  const int vector = vector_width(source.cols, destination, source);
  const RowShare share = share_rows(source.cols, vector);
  launch("copy_rows", stream, geometry_for_rows(source.rows, share),
         vector == 4 ? copy_rows_kernel<4, To, From> : copy_rows_kernel<1, To, From>, rows_of<To>(destination),
         rows_of<const From>(source), source.rows, share);
}

}  // namespace

void copy_rows(cudaStream_t stream, const MatrixView& destination, const MatrixView& source) {
  if (is_float(source.dtype)) {
    with_element(destination.dtype, [&](auto to) {
      with_element(source.dtype, [&](auto from) { copy<decltype(to), decltype(from)>(stream, destination, source); });
    });
  } else if (source.dtype == DType::i32) {
    copy<float, float>(stream, destination, source);  // moved as they are
  } else {
    throw std::logic_error("rows of structures are copied only where nothing lies between them");
  }
}

}  // namespace curate::cuda
