#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void run(const ops::RatingErrors& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  const float* prediction = floats(operation.prediction);
  const ErrorScale& scale = operation.scale;
  constexpr std::int64_t kGrain = 4096;
  const float* batch_ratings = floats(operation.ratings) + state.batch_begin;
  std::vector<ErrorSums> pieces(static_cast<std::size_t>((state.batch_count + kGrain - 1) / kGrain));
  context.pool.parallel_for(state.batch_count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ErrorSums& piece = pieces[static_cast<std::size_t>(begin / kGrain)];
    for (std::int64_t b = begin; b < end; ++b) {
      add_error(piece, clamp_to(to_rating(prediction[b], scale.units), scale.clip),
                to_rating(batch_ratings[b], scale.units));
    }
  });
  add_pieces(error_sums(operation.sums), pieces);
}

}  // namespace curate::cpu
