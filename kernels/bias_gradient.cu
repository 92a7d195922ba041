#include "kernels/bias_gradient.h"

#include <algorithm>

#include "kernels/rows.cuh"
#include "kernels/shared_memory.cuh"

namespace curate::cuda {
namespace {

constexpr int kColumns = 32;                      ///< of a block
constexpr int kTurns = kBlockThreads / kColumns;  ///< rows that a block takes at a time
constexpr std::int64_t kShortest = 128;           ///< rows of a slice
constexpr std::int64_t kBlocksWanted = 528;       ///< four for every multiprocessor of an H100

/// sums[slice, j] = sum over the slice's rows b of h[b, j]: the rows are cut into `slices` stretches.
/// sums [slices, cols] f32, h [rows, cols] of T. A block takes 32 columns of a slice, its warps take rows in turns and
/// their sums are added in order in shared memory. sizeof(T) bytes an element. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    bias_gradient_kernel(float* sums, Rows<const T> h, std::int64_t rows, std::int64_t cols, std::int64_t slices) {
  CURATE_SHARED(float, turns, kBlockThreads);
  const std::int64_t slice = static_cast<std::int64_t>(blockIdx.x) % slices;
  const auto thread = static_cast<int>(threadIdx.x);
  const int column = thread % kColumns;
  const std::int64_t j = static_cast<std::int64_t>(blockIdx.x) / slices * kColumns + column;
  const std::int64_t stretch = (rows + slices - 1) / slices;
  const std::int64_t begin = slice * stretch < rows ? slice * stretch : rows;
  const std::int64_t end = begin + stretch < rows ? begin + stretch : rows;
  float sum = 0.0F;
  if (j < cols) {
#pragma unroll 8
    for (std::int64_t b = begin + thread / kColumns; b < end; b += kTurns) {
      sum += Pack<1>::load(h.row(b) + j).value[0];
    }
  }
  turns[thread] = sum;
  __syncthreads();
  if (thread < kColumns && j < cols) {
    for (int turn = 1; turn < kTurns; ++turn) {
      sum += turns[turn * kColumns + column];
    }
    sums[slice * cols + j] = sum;
  }
}

}  // namespace

void bias_gradient(cudaStream_t stream, const MatrixView& grad_bias, const MatrixView& h,
                   const ScratchFloats& scratch) {
  const std::int64_t across = divide_up(h.cols, kColumns);
  const std::int64_t room = static_cast<std::int64_t>(scratch.floats) / h.cols;
  const std::int64_t slices =
      std::max<std::int64_t>(1, std::min({divide_up(kBlocksWanted, across), divide_up(h.rows, kShortest), room}));
  auto* const out = pointer_of<float>(grad_bias);
  float* const sums = slices == 1 ? out : scratch.data;
  with_values(h.dtype, [&](auto value) {
    using T = decltype(value);
    launch("bias_gradient", stream, {across * slices}, bias_gradient_kernel<T>, sums, rows_of<const T>(h), h.rows,
           h.cols, slices);
  });
  if (slices > 1) {
    launch("bias_gradient_add_slices", stream, {across}, bias_gradient_kernel<float>, out,
           Rows<const float>{sums, h.cols}, slices, h.cols, std::int64_t{1});
  }
}

}  // namespace curate::cuda
