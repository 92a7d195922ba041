#include "kernels/context.h"
#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// table[r, :] *= exp(-learning_rate * rate), of 16 bits rounded to the nearest. table [rows, cols] of T. A group of
/// lanes takes a row; neighbouring threads take neighbouring packs. 8 cols bytes a row, 4 cols in 16 bits.
/// Deterministic.
template <typename T, int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    decay_rows_kernel(Rows<T> table, std::int64_t rows, float rate, RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = share.row(thread);
  if (r >= rows) {
    return;
  }
  const float factor = expf(-state->learning_rate * rate);
  T* const row = table.row(r);
  share.visit<kVector>(
      share.lane(thread),
      [&](std::int64_t c) {
        auto pack = Pack<kVector>::load(row + c);
        for (int i = 0; i < kVector; ++i) {
          pack.value[i] *= factor;
        }
        pack.store(row + c);
      },
      [&](std::int64_t c) {
        auto pack = Pack<1>::load(row + c);
        pack.value[0] *= factor;
        pack.store(row + c);
      });
}

}  // namespace

void enqueue(const ops::DecayRows& operation, const Context& context) {
  const MatrixView& table = operation.table;
  const int vector = vector_width(table.cols, table);
  const RowShare share = share_rows(table.cols, vector);
  with_element(table.dtype, [&](auto element) {
    using T = decltype(element);
    launch("decay_rows", context.stream, geometry_for_rows(table.rows, share),
           vector == 4 ? decay_rows_kernel<T, 4> : decay_rows_kernel<T, 1>, rows_of<T>(table), table.rows,
           operation.rate, share, pointer_of<const StepState>(operation.state));
  });
}

}  // namespace curate::cuda
