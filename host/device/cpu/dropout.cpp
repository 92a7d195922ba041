#include "device/dropout_mask.h"

#include <algorithm>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/dense.h"

namespace curate::cpu {

void dropout(const MatrixView& view, const DropoutParams& params, const StepState& state, Context& context) {
  if (params.rate == 0.0F) {
    return;
  }
  const auto rows = resolve<float>(view);
  const std::uint32_t threshold = dropout_threshold(params.rate);
  const float scale = 1.0F / (1.0F - params.rate);
  context.pool.parallel_for(state.batch_count, row_grain(8 * rows.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      float* row = rows.row(b);
      for (std::int64_t c = 0; c < rows.cols; c += 4) {
        const PhiloxWords words =
            dropout_words(state.seed, state.batch_begin + b, rows.cols, c / 4, state.epoch, params.purpose);
        const std::int64_t width = std::min<std::int64_t>(4, rows.cols - c);
        for (std::int64_t k = 0; k < width; ++k) {
          row[c + k] = words.word[k] < threshold ? 0.0F : row[c + k] * scale;
        }
      }
    }
  });
}

void run(const ops::Dropout& operation, Context& context) {
  dropout(operation.rows, operation.params, step_state(operation.state), context);
}

}  // namespace curate::cpu
