#include "kernels/context.h"

#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// out[b, :] = table[index[batch_begin + b], :] for b < batch_count.
/// out [batch, cols] of Out, f32 or rounded to the nearest; table [rows, cols] of T; index [n] i32 in [0, rows).
/// Neighbouring threads take neighbouring packs of a row. Per rating 4 bytes of index, 4 cols read and 4 cols
/// written (2 cols of each in 16 bits), no arithmetic. Deterministic.
template <typename Out, typename T, int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    gather_rows_kernel(Rows<Out> out, Rows<const T> table, const std::int32_t* index, RowShare share,
                       const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  if (b >= state->batch_count) {
    return;
  }
  const T* const from = table.row(index[state->batch_begin + b]);
  Out* const to = out.row(b);
  share.visit<kVector>(
      share.lane(thread), [&](std::int64_t c) { Pack<kVector>::load(from + c).store(to + c); },
      [&](std::int64_t c) { Pack<1>::load(from + c).store(to + c); });
}

}  // namespace

void enqueue(const ops::GatherRows& operation, const Context& context) {
  const int vector = vector_width(operation.out.cols, operation.out, operation.table);
  const RowShare share = share_rows(operation.out.cols, vector);
  with_values(operation.out.dtype, [&](auto value) {
    with_element(operation.table.dtype, [&](auto element) {
      using Out = decltype(value);
      using T = decltype(element);
      launch("gather_rows", context.stream, geometry_for_rows(operation.out.rows, share),
             vector == 4 ? gather_rows_kernel<Out, T, 4> : gather_rows_kernel<Out, T, 1>, rows_of<Out>(operation.out),
             rows_of<const T>(operation.table), pointer_of<const std::int32_t>(operation.index), share,
             pointer_of<const StepState>(operation.state));
    });
  });
}

}  // namespace curate::cuda
