#include "kernels/context.h"
#include "kernels/dropout.h"

#include "device/dropout_mask.h"
#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// rows[b, c] = dropped ? 0 : rows[b, c] * scale for b < batch_count; four columns share one draw of random words.
/// rows [batch, cols] of T, f32 or rounded to the nearest. One thread for four neighbouring columns; 8 bytes (4 in 16
/// bits) and about 25 integer operations an element. Deterministic: the mask depends on seed, epoch, position and
/// column alone.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    dropout_kernel(Rows<T> rows, std::int64_t cols, std::int64_t quads, std::uint32_t threshold, float scale,
                   RandomPurpose purpose, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = thread / quads;
  const std::int64_t quad = thread % quads;
  if (b >= state->batch_count) {
    return;
  }
  const PhiloxWords words = dropout_words(state->seed, state->batch_begin + b, cols, quad, state->epoch, purpose);
  T* const row = rows.row(b) + 4 * quad;
  const std::int64_t left = cols - 4 * quad;
  for (int i = 0; i < 4; ++i) {
    if (i < left) {
      const float kept = Pack<1>::load(row + i).value[0] * scale;
      Pack<1>{{words.word[i] < threshold ? 0.0F : kept}}.store(row + i);
    }
  }
}

}  // namespace

void dropout(cudaStream_t stream, const MatrixView& rows, const DropoutParams& params, const MatrixView& state) {
  if (params.rate == 0.0F) {
    return;
  }
  const std::int64_t quads = divide_up(rows.cols, 4);
  with_values(rows.dtype, [&](auto value) {
    using T = decltype(value);
    launch("dropout", stream, one_thread_each(rows.rows * quads), dropout_kernel<T>, rows_of<T>(rows), rows.cols, quads,
           dropout_threshold(params.rate), 1.0F / (1.0F - params.rate), params.purpose,
           pointer_of<const StepState>(state));
  });
}

void enqueue(const ops::Dropout& operation, const Context& context) {
  dropout(context.stream, operation.rows, operation.params, operation.state);
}

}  // namespace curate::cuda
