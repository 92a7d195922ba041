#include "device/cpu/cpu_ops.h"
#include "device/cpu/optimizer_step.h"

namespace curate::cpu {

void run(const ops::UpdateDense& operation, Context& context) {
  const TrainedTable& table = operation.table;
  const StepState& state = step_state(operation.state);
  if (state.batch_count == 0) {
    return;
  }
  auto weights = resolve<float>(table.weights);
  auto gradient = resolve<float>(table.gradient);
  auto first = resolve<float>(table.first_moment);
  auto second = resolve<float>(table.second_moment);
  const auto contiguous = [](const Matrix<float>& matrix) { return matrix.empty() || matrix.ld == matrix.cols; };
  if (contiguous(weights) && contiguous(gradient) && contiguous(first) && contiguous(second)) {
    // One element a row: pieces of any length, whatever the width, and no loop over short rows.
    for (Matrix<float>* matrix : {&weights, &gradient, &first, &second}) {
      *matrix = {matrix->data, matrix->rows * matrix->cols, 1, 1};
    }
  }
  const OptimizerStep step(operation.params, state);
  context.pool.parallel_for(weights.rows, row_grain(2 * weights.cols), [&](std::int64_t begin, std::int64_t end) {
    if (weights.ld == 1) {
      update_elements(step,
                      {weights.row(begin), gradient.row(begin), first.row_or_null(begin), second.row_or_null(begin)},
                      end - begin);
      return;
    }
    for (std::int64_t r = begin; r < end; ++r) {
      update_elements(step, {weights.row(r), gradient.row(r), first.row_or_null(r), second.row_or_null(r)},
                      weights.cols);
    }
  });
}

}  // namespace curate::cpu
