#include "kernels/context.h"

#include <algorithm>

#include "kernels/segments.cuh"

namespace curate::cuda {
namespace {

/// grad_table[index[batch_begin + b], :] += grad_rows[b, :] for b < batch_count, by atomic reductions.
/// grad_table [rows, cols] f32; grad_rows [batch, cols] f32; index [n] i32 in [0, rows). Neighbouring threads take
/// neighbouring packs. Per rating 4 + 4 cols bytes read and 4 cols bytes of reductions in the L2, cols flops. Not
/// deterministic: the order of additions is the hardware's.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    scatter_add_rows_kernel(Rows<float> grad_table, Rows<const float> grad_rows, const std::int32_t* index,
                            RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  if (b >= state->batch_count) {
    return;
  }
  const float* const from = grad_rows.row(b);
  float* const to = grad_table.row(index[state->batch_begin + b]);
  share.visit<kVector>(
      share.lane(thread), [&](std::int64_t c) { reduce_add(to + c, Pack<kVector>::load(from + c)); },
      [&](std::int64_t c) { reduce_add(to + c, from[c]); });
}

/// grad_table[rows[s], :] += the sum of grad_rows[positions[j], :] over the positions j of segment s, for all segments
/// of the batch. Extents as above; segments as in SegmentsView. A group of lanes takes a segment, in strides of the
/// grid, and adds its rows in the order of their positions. Per rating 4 + 4 cols bytes read, per segment 8 cols + 12
/// bytes. Deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    scatter_add_segments_kernel(Rows<float> grad_table, Rows<const float> grad_rows, Segments segments, RowShare share,
                                const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t count = segments.count(*state);
  const std::int64_t base = state->batch_begin;
  for (std::int64_t s = share.row(thread); s < count; s += share.row(grid_threads())) {
    const std::int32_t begin = segments.starts[base + s];
    const auto end = s + 1 < count ? segments.starts[base + s + 1] : static_cast<std::int32_t>(state->batch_count);
    const std::int32_t* const positions = segments.positions + base;
    float* const to = grad_table.row(segments.rows[base + s]);
    share.visit<kVector>(
        share.lane(thread),
        [&](std::int64_t c) {
          auto sum = Pack<kVector>::load(to + c);
#pragma unroll 4
          for (std::int32_t j = begin; j < end; ++j) {
            const auto part = Pack<kVector>::load(grad_rows.row(positions[j]) + c);
            for (int i = 0; i < kVector; ++i) {
              sum.value[i] += part.value[i];
            }
          }
          sum.store(to + c);
        },
        [&](std::int64_t c) {
          float sum = to[c];
          for (std::int32_t j = begin; j < end; ++j) {
            sum += grad_rows.row(positions[j])[c];
          }
          to[c] = sum;
        });
  }
}

void scatter_add_atomic(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                        const MatrixView& index, const MatrixView& state) {
  const int vector = vector_width(grad_rows.cols, grad_table, grad_rows);
  const RowShare share = share_rows(grad_rows.cols, vector);
  launch("scatter_add_rows", stream, geometry_for_rows(grad_rows.rows, share),
         vector == 4 ? scatter_add_rows_kernel<4> : scatter_add_rows_kernel<1>, rows_of<float>(grad_table),
         rows_of<const float>(grad_rows), pointer_of<const std::int32_t>(index), share,
         pointer_of<const StepState>(state));
}

void scatter_add_segments(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                          const SegmentsView& segments, const MatrixView& state) {
  const int vector = vector_width(grad_rows.cols, grad_table, grad_rows);
  const RowShare share = share_rows(grad_rows.cols, vector);
  // A batch has no more segments than ratings, nor than the table has rows.
  const std::int64_t most = std::min(grad_rows.rows, grad_table.rows);
  launch("scatter_add_segments", stream, geometry_for_rows(most, share),
         vector == 4 ? scatter_add_segments_kernel<4> : scatter_add_segments_kernel<1>, rows_of<float>(grad_table),
         rows_of<const float>(grad_rows), segments_of(segments), share, pointer_of<const StepState>(state));
}

}  // namespace

void enqueue(const ops::ScatterAddRows& operation, const Context& context) {
  if (operation.kind == ScatterKind::segments) {
    scatter_add_segments(context.stream, operation.grad_table, operation.grad_rows, operation.segments,
                         operation.state);
  } else {
    scatter_add_atomic(context.stream, operation.grad_table, operation.grad_rows, operation.index, operation.state);
  }
}

}  // namespace curate::cuda
