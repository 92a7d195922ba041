#include "device/cpu/cpu_ops.h"
#include "device/cpu/optimizer_step.h"

namespace curate::cpu {

void run(const ops::UpdateRows& operation, Context& context) {
  const TrainedTable& table = operation.table;
  const SegmentsView& segments = operation.segments;
  const StepState& state = step_state(operation.state);
  if (state.batch_count == 0) {
    return;
  }
  const auto weights = resolve<float>(table.weights);
  const auto gradient = resolve<float>(table.gradient);
  const auto first = resolve<float>(table.first_moment);
  const auto second = resolve<float>(table.second_moment);
  const OptimizerStep step(operation.params, state);
  const std::int32_t* rows = resolve<const std::int32_t>(segments.rows).data + state.batch_begin;
  const std::int64_t count = resolve<const std::int32_t>(segments.counts).data[state.batch];
  context.pool.parallel_for(count, row_grain(4 * weights.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t r = rows[s];
      update_elements(step, {weights.row(r), gradient.row(r), first.row_or_null(r), second.row_or_null(r)},
                      weights.cols);
    }
  });
}

}  // namespace curate::cpu
