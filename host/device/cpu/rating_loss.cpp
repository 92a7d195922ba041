#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void rating_loss(ThreadPool& pool, float* grad, ErrorSums& sums, const float* prediction, const float* ratings,
                 LossKind kind, const StepState& state) {
  constexpr std::int64_t kGrain = 4096;
  if (state.batch_count == 0) {
    return;
  }
  const float* batch_ratings = ratings + state.batch_begin;
  const float scale = 1.0F / static_cast<float>(state.batch_count);
  std::vector<ErrorSums> pieces(static_cast<std::size_t>((state.batch_count + kGrain - 1) / kGrain));
  pool.parallel_for(state.batch_count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ErrorSums& piece = pieces[static_cast<std::size_t>(begin / kGrain)];
    for (std::int64_t b = begin; b < end; ++b) {
      const float error = prediction[b] - batch_ratings[b];
      add_error(piece, prediction[b], batch_ratings[b]);
      if (kind == LossKind::mse) {
        grad[b] = 2.0F * error * scale;
      } else {
        // A NaN error must stay one: sign() of a comparison would hide it.
        grad[b] = error > 0.0F ? scale : (error < 0.0F ? -scale : error * scale);
      }
    }
  });
  add_pieces(sums, pieces);
}

}  // namespace curate::cpu
