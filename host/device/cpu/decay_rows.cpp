#include <cmath>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

CURATE_SIMD_CLONES
void scale(float* row, std::int64_t cols, float factor) {
#pragma omp simd
  for (std::int64_t c = 0; c < cols; ++c) {
    row[c] *= factor;
  }
}

}  // namespace

void run(const ops::DecayRows& operation, Context& context) {
  const float factor = std::exp(-step_state(operation.state).learning_rate * operation.rate);
  const auto table = resolve<float>(operation.table);
  context.pool.parallel_for(table.rows, row_grain(table.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      scale(table.row(r), table.cols, factor);
    }
  });
}

}  // namespace curate::cpu
