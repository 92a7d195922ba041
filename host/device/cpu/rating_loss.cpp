#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void run(const ops::RatingLoss& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  constexpr std::int64_t kGrain = 4096;
  if (state.batch_count == 0) {
    return;
  }
  float* grad = floats(operation.grad);
  const float* prediction = floats(operation.prediction);
  const float* batch_ratings = floats(operation.ratings) + state.batch_begin;
  const float scale = 1.0F / static_cast<float>(state.batch_count);
  std::vector<ErrorSums> pieces(static_cast<std::size_t>((state.batch_count + kGrain - 1) / kGrain));
  context.pool.parallel_for(state.batch_count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ErrorSums& piece = pieces[static_cast<std::size_t>(begin / kGrain)];
    for (std::int64_t b = begin; b < end; ++b) {
      const float error = prediction[b] - batch_ratings[b];
      add_error(piece, prediction[b], batch_ratings[b]);
      if (operation.kind == LossKind::mse) {
        grad[b] = 2.0F * error * scale;
      } else {
        // A NaN error must stay one: sign() of a comparison would hide it.
        grad[b] = error > 0.0F ? scale : (error < 0.0F ? -scale : error * scale);
      }
    }
  });
  add_pieces(error_sums(operation.sums), pieces);
}

}  // namespace curate::cpu
