#include "kernels/context.h"

#include <algorithm>
#include <bit>

#include "kernels/rows.cuh"
#include "kernels/scratch.h"
#include "kernels/sort.h"

namespace curate::cuda {
namespace {

/// keys[j] = (j / batch_size) << row_bits | index[j], positions[j] = j % batch_size, for j < count: sorted by the keys,
/// stably, the positions are those of SegmentsView. Past the epoch's ratings the batch is `batches`, so that they stay
/// behind.
/// keys [count] u64; positions, index [count] i32. One thread an element, 16 bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    segment_keys_kernel(std::uint64_t* keys, std::int32_t* positions, const std::int32_t* index, std::int64_t count,
                        std::int64_t batches, int row_bits, const StepState* state) {
  const std::int64_t j = global_thread();
  if (j >= count) {
    return;
  }
  const std::int64_t batch = j < state->num_ratings ? j / state->batch_size : batches;
  keys[j] = (static_cast<std::uint64_t>(batch) << row_bits) | static_cast<std::uint32_t>(index[j]);
  positions[j] = static_cast<std::int32_t>(j % state->batch_size);
}

/// first[j] = 1 where a segment begins: at another key than the one before.
/// keys [count] u64, sorted; first [count] i32. One thread an element, 12 bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    segment_heads_kernel(std::int32_t* first, const std::uint64_t* keys, std::int64_t count) {
  const std::int64_t j = global_thread();
  if (j >= count) {
    return;
  }
  first[j] = j == 0 || keys[j] != keys[j - 1] ? 1 : 0;
}

/// rows, starts and counts of SegmentsView. ranks[j] is the number of segments that begin at or before j.
/// rows, starts, ranks [count] i32; counts [batches] i32; keys [count] u64, sorted; count is the epoch's. One thread an
/// element; 12 bytes each and 8 for each segment. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    write_segments_kernel(std::int32_t* rows, std::int32_t* starts, std::int32_t* counts, const std::uint64_t* keys,
                          const std::int32_t* ranks, int row_bits, const StepState* state) {
  const std::int64_t j = global_thread();
  const std::int64_t count = state->num_ratings;
  if (j >= count) {
    return;
  }
  const std::int64_t batch = j / state->batch_size;
  const std::int64_t begin = batch * state->batch_size;
  const std::int32_t before = begin == 0 ? 0 : ranks[begin - 1];
  if (j == begin || ranks[j] != ranks[j - 1]) {
    const std::int64_t slot = begin + ranks[j] - before - 1;
    rows[slot] = static_cast<std::int32_t>(keys[j] & ((std::uint64_t{1} << row_bits) - 1));
    starts[slot] = static_cast<std::int32_t>(j - begin);
  }
  if (j == count - 1 || j + 1 == begin + state->batch_size) {
    counts[batch] = ranks[j] - before;
  }
}

}  // namespace

void enqueue(const ops::BuildSegments& operation, const Context& context) {
  const std::int64_t count = operation.index.rows;
  if (count == 0) {
    return;
  }
  // Every bit of a key costs the sort time. counts has a row for every batch.
  const auto bits = [](std::int64_t values) {
    return values <= 1 ? 0 : static_cast<int>(std::bit_width(static_cast<std::uint64_t>(values - 1)));
  };
  const int row_bits = bits(operation.num_rows);
  const int key_bits = std::max(1, row_bits + bits(operation.out.counts.rows + 1));
  // gpu_memory::segments_bytes() counts them.
  const Scratch<std::uint64_t> keys(context.stream, count);
  const Scratch<std::uint64_t> sorted(context.stream, count);
  const Scratch<std::int32_t> positions(context.stream, count);
  const Scratch<std::int32_t> ranks(context.stream, count);
  const auto* const device_state = pointer_of<const StepState>(operation.state);
  launch("segment_keys", context.stream, one_thread_each(count), segment_keys_kernel, keys.data(), positions.data(),
         pointer_of<const std::int32_t>(operation.index), count, operation.out.counts.rows, row_bits, device_state);
  sort_pairs(context.stream, sorted.data(), pointer_of<std::int32_t>(operation.out.positions), keys.data(),
             positions.data(), count, key_bits);
  // From here on the positions' memory serves for the heads.
  launch("segment_heads", context.stream, one_thread_each(count), segment_heads_kernel, positions.data(),
         static_cast<const std::uint64_t*>(sorted.data()), count);
  inclusive_sum(context.stream, ranks.data(), positions.data(), count);
  launch("write_segments", context.stream, one_thread_each(count), write_segments_kernel,
         pointer_of<std::int32_t>(operation.out.rows), pointer_of<std::int32_t>(operation.out.starts),
         pointer_of<std::int32_t>(operation.out.counts), static_cast<const std::uint64_t*>(sorted.data()),
         static_cast<const std::int32_t*>(ranks.data()), row_bits, device_state);
}

}  // namespace curate::cuda
