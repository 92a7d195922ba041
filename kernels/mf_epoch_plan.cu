#include "kernels/mf_epoch_plan.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "kernels/rows.cuh"
#include "kernels/sort.h"
#include "support/philox.h"

namespace curate::cuda {
namespace {

constexpr int kRandomBits = 32;

/// keys[e] = users[e] << 32 | random 32 bits, elements[e] = e, and counts[items[e]] grows by one, for e < count.
/// keys [count] u64; elements, users, items [count] i32; counts [items] i32, zero before. One thread an element, 20
/// bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    plan_keys_kernel(std::uint64_t* keys, std::int32_t* elements, std::int32_t* counts, const std::int32_t* users,
                     const std::int32_t* items, std::int64_t count, std::uint64_t seed) {
  const std::int64_t e = global_thread();
  if (e >= count) {
    return;
  }
  const PhiloxWords words = philox(seed, static_cast<std::uint64_t>(e), 0, RandomPurpose::mf_plan);
  keys[e] = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(users[e])) << kRandomBits) | words.word[0];
  elements[e] = static_cast<std::int32_t>(e);
  atomicAdd(counts + items[e], 1);
}

/// Items and ratings in the order of the sorted keys, and where every user begins: starts[u] is the first j whose key
/// belongs to u or a later user. starts [users + 1] i32, items_out, items, order [count] i32, ratings_out, ratings
/// [count] f32, keys [count] u64, sorted. One thread an element, 28 bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    plan_order_kernel(std::int32_t* items_out, float* ratings_out, std::int32_t* starts, const std::int32_t* items,
                      const float* ratings, const std::int32_t* order, const std::uint64_t* keys, std::int64_t count,
                      std::int64_t users) {
  const std::int64_t j = global_thread();
  if (j >= count) {
    return;
  }
  const std::int32_t e = order[j];
  items_out[j] = items[e];
  ratings_out[j] = ratings[e];
  const auto user = static_cast<std::int64_t>(keys[j] >> kRandomBits);
  const std::int64_t before = j == 0 ? -1 : static_cast<std::int64_t>(keys[j - 1] >> kRandomBits);
  for (std::int64_t u = before + 1; u <= user; ++u) {
    starts[u] = static_cast<std::int32_t>(j);
  }
  if (j == count - 1) {
    for (std::int64_t u = user + 1; u <= users; ++u) {
      starts[u] = static_cast<std::int32_t>(count);
    }
  }
}

}  // namespace

CudaMfEpochPlan::CudaMfEpochPlan(Device& device, cudaStream_t stream, const RatingsView& ratings, std::int64_t users,
                                 std::int64_t items, const MfPlanOptions& options)
    : MfEpochPlan(device, ratings.users.rows, users, items),
      seed_(options.seed),
      workers_(options.deterministic ? 1 : options.blocks),
      items_sorted_(stream, ratings.users.rows),
      ratings_sorted_(stream, ratings.users.rows),
      user_starts_(stream, users + 1),
      item_counts_(stream, items) {
  const std::int64_t count = ratings.users.rows;
  CURATE_CUDA_CHECK(cudaMemsetAsync(item_counts_.data(), 0, static_cast<std::size_t>(items) * 4, stream));
  CURATE_CUDA_CHECK(cudaMemsetAsync(user_starts_.data(), 0, static_cast<std::size_t>(users + 1) * 4, stream));
  if (count == 0) {
    return;
  }
  const Scratch<std::uint64_t> keys(stream, count);
  const Scratch<std::uint64_t> sorted(stream, count);
  const Scratch<std::int32_t> elements(stream, count);
  const Scratch<std::int32_t> order(stream, count);
  launch("plan_keys", stream, one_thread_each(count), plan_keys_kernel, keys.data(), elements.data(),
         item_counts_.data(), pointer_of<const std::int32_t>(ratings.users),
         pointer_of<const std::int32_t>(ratings.items), count, seed_);
  const int user_bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(users)));
  sort_pairs(stream, sorted.data(), order.data(), keys.data(), elements.data(), count, kRandomBits + user_bits);
  launch("plan_order", stream, one_thread_each(count), plan_order_kernel, items_sorted_.data(), ratings_sorted_.data(),
         user_starts_.data(), pointer_of<const std::int32_t>(ratings.items), pointer_of<const float>(ratings.ratings),
         static_cast<const std::int32_t*>(order.data()), static_cast<const std::uint64_t*>(sorted.data()), count,
         users);
  if (options.keep_order && workers_ == 1) {
    positions_.resize(static_cast<std::size_t>(count));
    host_starts_.resize(static_cast<std::size_t>(users) + 1);
    const auto read = [stream](std::vector<std::int32_t>& to, const std::int32_t* from) {
      CURATE_CUDA_CHECK(cudaMemcpyAsync(to.data(), from, to.size() * 4, cudaMemcpyDeviceToHost, stream));
    };
    read(positions_, order.data());
    read(host_starts_, user_starts_.data());
    CURATE_CUDA_CHECK(cudaStreamSynchronize(stream));
  }
}

std::vector<std::int32_t> CudaMfEpochPlan::order(std::int64_t epoch, std::int64_t /*dim*/,
                                                 bool /*non_negative*/) const {
  if (positions_.empty()) {
    return {};
  }
  std::vector<std::pair<std::uint64_t, std::size_t>> keyed;
  for (std::size_t u = 0; u + 1 < host_starts_.size(); ++u) {
    keyed.emplace_back(philox(seed_, u, static_cast<std::uint32_t>(epoch), RandomPurpose::mf_order).low64(), u);
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<std::int32_t> order;
  order.reserve(positions_.size());
  for (const auto& [key, u] : keyed) {
    order.insert(order.end(), positions_.begin() + host_starts_[u], positions_.begin() + host_starts_[u + 1]);
  }
  return order;
}

}  // namespace curate::cuda
