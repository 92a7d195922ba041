#include <algorithm>

#include "device/cpu/cpu_ops.h"

namespace curate::cpu {

void run(const ops::BuildSegments& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  const std::int32_t* index = ints(operation.index);
  std::int32_t* rows = ints(operation.out.rows);
  std::int32_t* starts = ints(operation.out.starts);
  std::int32_t* positions = ints(operation.out.positions);
  std::int32_t* counts = ints(operation.out.counts);
  const std::int64_t batches = (state.num_ratings + state.batch_size - 1) / state.batch_size;
  // Some batches to a task: one of 32 ratings is too little to hand out.
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / state.batch_size);
  context.pool.parallel_for(batches, grain, [&](std::int64_t first, std::int64_t last) {
    std::vector<std::uint64_t> keys;
    for (std::int64_t batch = first; batch < last; ++batch) {
      const std::int64_t begin = batch * state.batch_size;
      const std::int64_t count = batch_count_at(begin, state.batch_size, state.num_ratings);
      keys.resize(static_cast<std::size_t>(count));
      for (std::int64_t b = 0; b < count; ++b) {
        const auto row = static_cast<std::uint64_t>(index[begin + b]);
        keys[static_cast<std::size_t>(b)] = (row << 32U) | static_cast<std::uint64_t>(b);
      }
      std::sort(keys.begin(), keys.end());
      std::int32_t segments = 0;
      for (std::int64_t j = 0; j < count; ++j) {
        const auto row = static_cast<std::int32_t>(keys[static_cast<std::size_t>(j)] >> 32U);
        if (segments == 0 || rows[begin + segments - 1] != row) {
          rows[begin + segments] = row;
          starts[begin + segments] = static_cast<std::int32_t>(j);
          ++segments;
        }
        positions[begin + j] = static_cast<std::int32_t>(keys[static_cast<std::size_t>(j)] & 0xFFFFFFFFU);
      }
      counts[batch] = segments;
    }
  });
}

}  // namespace curate::cpu
