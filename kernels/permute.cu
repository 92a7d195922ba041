#include "kernels/permute.h"

#include "kernels/rows.cuh"
#include "kernels/scratch.h"
#include "kernels/sort.h"
#include "support/philox.h"

namespace curate::cuda {
namespace {

/// keys[e] = philox(seed, e, epoch, shuffle).low64(), elements[e] = e, for e < count.
/// keys [count] u64; elements [count] i32. One thread an element. 12 bytes and about 100 integer operations each.
/// Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    shuffle_keys_kernel(std::uint64_t* keys, std::int32_t* elements, std::int64_t count, const StepState* state) {
  const std::int64_t e = global_thread();
  if (e >= count) {
    return;
  }
  keys[e] = philox(state->seed, static_cast<std::uint64_t>(e), static_cast<std::uint32_t>(state->epoch),
                   RandomPurpose::shuffle)
                .low64();
  elements[e] = static_cast<std::int32_t>(e);
}

/// RatingsView as kernels take it.
template <typename Id, typename Rating>
struct Ratings {
  Id* users;
  Id* items;
  Rating* ratings;
};

/// out[j] = in[order[j]] for j < count, users, items [count] i32 and ratings [count] f32. One thread a rating: 4 bytes
/// of order and 12 written side by side, 12 read from anywhere (32-byte sectors: 96). Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    permute_kernel(Ratings<std::int32_t, float> out, Ratings<const std::int32_t, const float> in,
                   const std::int32_t* order, std::int64_t count) {
  const std::int64_t j = global_thread();
  if (j >= count) {
    return;
  }
  const std::int32_t e = order[j];
  out.users[j] = in.users[e];
  out.items[j] = in.items[e];
  out.ratings[j] = in.ratings[e];
}

}  // namespace

void permute(cudaStream_t stream, const RatingsView& out, const MatrixView& order, const RatingsView& in,
             const MatrixView& state) {
  constexpr int kKeyBits = 64;
  const std::int64_t count = in.users.rows;
  if (count == 0) {
    return;
  }
  const Scratch<std::uint64_t> keys(stream, count);
  const Scratch<std::uint64_t> sorted_keys(stream, count);
  const Scratch<std::int32_t> elements(stream, count);
  launch("shuffle_keys", stream, one_thread_each(count), shuffle_keys_kernel, keys.data(), elements.data(), count,
         pointer_of<const StepState>(state));
  sort_pairs(stream, sorted_keys.data(), pointer_of<std::int32_t>(order), keys.data(), elements.data(), count,
             kKeyBits);
  launch("permute", stream, one_thread_each(count), permute_kernel,
         Ratings<std::int32_t, float>{pointer_of<std::int32_t>(out.users), pointer_of<std::int32_t>(out.items),
                                      pointer_of<float>(out.ratings)},
         Ratings<const std::int32_t, const float>{pointer_of<const std::int32_t>(in.users),
                                                  pointer_of<const std::int32_t>(in.items),
                                                  pointer_of<const float>(in.ratings)},
         pointer_of<const std::int32_t>(order), count);
}

}  // namespace curate::cuda
