#include "kernels/context.h"

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

void enqueue(const ops::Permute& operation, const Context& context) {
  constexpr int kKeyBits = 64;
  const std::int64_t count = operation.in.users.rows;
  if (count == 0) {
    return;
  }
  // gpu_memory::permute_bytes() counts them.
  const Scratch<std::uint64_t> keys(context.stream, count);
  const Scratch<std::uint64_t> sorted_keys(context.stream, count);
  const Scratch<std::int32_t> elements(context.stream, count);
  launch("shuffle_keys", context.stream, one_thread_each(count), shuffle_keys_kernel, keys.data(), elements.data(),
         count, pointer_of<const StepState>(operation.state));
  sort_pairs(context.stream, sorted_keys.data(), pointer_of<std::int32_t>(operation.order), keys.data(),
             elements.data(), count, kKeyBits);
  launch("permute", context.stream, one_thread_each(count), permute_kernel,
         Ratings<std::int32_t, float>{pointer_of<std::int32_t>(operation.out.users),
                                      pointer_of<std::int32_t>(operation.out.items),
                                      pointer_of<float>(operation.out.ratings)},
         Ratings<const std::int32_t, const float>{pointer_of<const std::int32_t>(operation.in.users),
                                                  pointer_of<const std::int32_t>(operation.in.items),
                                                  pointer_of<const float>(operation.in.ratings)},
         pointer_of<const std::int32_t>(operation.order), count);
}

}  // namespace curate::cuda
