#include <algorithm>

#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void gather_rows(ThreadPool& pool, Matrix<float> out, Matrix<const float> table, const std::int32_t* index,
                 const StepState& state) {
  const std::int32_t* batch_index = index + state.batch_begin;
  pool.parallel_for(state.batch_count, row_grain(out.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      std::copy_n(table.row(batch_index[b]), out.cols, out.row(b));
    }
  });
}

}  // namespace curate::cpu
