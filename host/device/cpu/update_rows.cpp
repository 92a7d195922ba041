#include "device/cpu/cpu_ops.h"
#include "device/cpu/optimizer_step.h"

namespace curate::cpu {

void update_rows(ThreadPool& pool, const TrainedTable& table, const SegmentsView& segments,
                 const OptimizerParams& params, const StepState& state) {
  if (state.batch_count == 0) {
    return;
  }
  const auto weights = resolve<float>(table.weights);
  const auto gradient = resolve<float>(table.gradient);
  const auto first = resolve<float>(table.first_moment);
  const auto second = resolve<float>(table.second_moment);
  const OptimizerStep step(params, state);
  const std::int32_t* rows = resolve<const std::int32_t>(segments.rows).data + state.batch_begin;
  const std::int64_t count = resolve<const std::int32_t>(segments.counts).data[state.batch];
  pool.parallel_for(count, row_grain(4 * weights.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t r = rows[s];
      update_elements(step, {weights.row(r), gradient.row(r), first.row_or_null(r), second.row_or_null(r)},
                      weights.cols);
    }
  });
}

}  // namespace curate::cpu
