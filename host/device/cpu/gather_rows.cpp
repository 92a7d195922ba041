#include <algorithm>

#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void run(const ops::GatherRows& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  const auto out = resolve<float>(operation.out);
  const auto table = resolve<const float>(operation.table);
  const std::int32_t* batch_index = ints(operation.index) + state.batch_begin;
  context.pool.parallel_for(state.batch_count, row_grain(out.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      std::copy_n(table.row(batch_index[b]), out.cols, out.row(b));
    }
  });
}

}  // namespace curate::cpu
