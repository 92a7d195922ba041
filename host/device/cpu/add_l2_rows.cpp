#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

CURATE_SIMD_CLONES
void add_range(Matrix<float> grad_rows, Matrix<const float> table, const std::int32_t* index, float factor,
               std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) {
    float* grad = grad_rows.row(b);
    const float* row = table.row(index[b]);
#pragma omp simd
    for (std::int64_t k = 0; k < grad_rows.cols; ++k) {
      grad[k] += factor * row[k];
    }
  }
}

}  // namespace

void run(const ops::AddL2Rows& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  if (state.batch_count == 0) {
    return;
  }
  const auto grad_rows = resolve<float>(operation.grad_rows);
  const auto table = resolve<const float>(operation.table);
  const std::int32_t* index = ints(operation.index);
  const float factor = 2.0F * operation.l2 / static_cast<float>(state.batch_count);
  context.pool.parallel_for(state.batch_count, row_grain(grad_rows.cols), [&](std::int64_t begin, std::int64_t end) {
    add_range(grad_rows, table, index + state.batch_begin, factor, begin, end);
  });
}

}  // namespace curate::cpu
