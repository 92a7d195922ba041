#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void rating_errors(ThreadPool& pool, ErrorSums& sums, const float* prediction, const float* ratings, ClipRange clip,
                   const StepState& state) {
  constexpr std::int64_t kGrain = 4096;
  const float* batch_ratings = ratings + state.batch_begin;
  std::vector<ErrorSums> pieces(static_cast<std::size_t>((state.batch_count + kGrain - 1) / kGrain));
  pool.parallel_for(state.batch_count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ErrorSums& piece = pieces[static_cast<std::size_t>(begin / kGrain)];
    for (std::int64_t b = begin; b < end; ++b) {
      add_error(piece, clamp_to(prediction[b], clip), batch_ratings[b]);
    }
  });
  add_pieces(sums, pieces);
}

}  // namespace curate::cpu
