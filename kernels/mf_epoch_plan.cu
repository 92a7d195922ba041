#include "kernels/mf_epoch_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "curate/error.h"
#include "kernels/context.h"
#include "kernels/mf_sgd_epoch.h"
#include "kernels/rows.cuh"
#include "kernels/sort.h"
#include "support/philox.h"

namespace curate::cuda {
namespace {

constexpr int kRandomBits = 32;

/// Floats as unsigned numbers of the same order.
__device__ unsigned ordered_bits(float value) {
  const unsigned bits = __float_as_uint(value);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
float from_ordered_bits(unsigned bits) {
  return std::bit_cast<float>((bits & 0x80000000U) != 0 ? bits & 0x7FFFFFFFU : ~bits);
}

/// Whether ratings can be packed: the start of their grid, and whether one is off it.
struct GridCheck {
  unsigned lowest;  ///< ~ordered_bits() of the lowest, 0 before: the largest wins
  unsigned misses;  ///< 1 if one is off the grid
};

/// check->lowest, over ratings [count] f32. One thread a rating, 4 bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    lowest_rating_kernel(GridCheck* check, const float* ratings, std::int64_t count) {
  const std::int64_t e = global_thread();
  if (e < count) {
    atomicMax(&check->lowest, ~ordered_bits(ratings[e]));
  }
}

/// check->misses = 1 if a rating has no place. ratings [count] f32. One thread a rating. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    check_grid_kernel(GridCheck* check, const float* ratings, std::int64_t count, RatingGrid grid) {
  const std::int64_t e = global_thread();
  if (e < count && !grid.has(ratings[e])) {
    atomicMax(&check->misses, 1U);
  }
}

/// counts[ids[e]] grows by one for e < count. counts zero before. One thread an element. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    count_rows_kernel(std::int32_t* counts, const std::int32_t* ids, std::int64_t count) {
  const std::int64_t e = global_thread();
  if (e < count) {
    atomicAdd(counts + ids[e], 1);
  }
}

/// keys[e] = users[e] << 32 | random 32 bits, elements[e] = e for e < count; with groups, of users and of items,
/// block << 48 | place of the user << 22 | random 22 bits, where block is the user's group times `blocks` and the
/// item's. keys [count] u64; elements, users, items [count] i32; group_of_user, place_of_user, group_of_item by user
/// and by item, or null. One thread an element, 20 bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    plan_keys_kernel(std::uint64_t* keys, std::int32_t* elements, const std::int32_t* users, const std::int32_t* items,
                     const std::int32_t* group_of_user, const std::int32_t* place_of_user,
                     const std::int32_t* group_of_item, std::int32_t blocks, std::int64_t count, std::uint64_t seed) {
  constexpr int kBlockShift = 48;
  constexpr int kPlaceShift = 22;
  constexpr std::uint64_t kPlaces = std::uint64_t{1} << (kBlockShift - kPlaceShift);
  const std::int64_t e = global_thread();
  if (e >= count) {
    return;
  }
  const std::uint32_t random = philox(seed, static_cast<std::uint64_t>(e), 0, RandomPurpose::mf_plan).word[0];
  const std::int32_t u = users[e];
  elements[e] = static_cast<std::int32_t>(e);
  if (group_of_user == nullptr) {
    keys[e] = static_cast<std::uint64_t>(static_cast<std::uint32_t>(u)) << kRandomBits | random;
    return;
  }
  const auto block = static_cast<std::uint64_t>(group_of_user[u] * blocks + group_of_item[items[e]]);
  // A user's ratings lie together even if places are more than their bits: only their order is less random then.
  const std::uint64_t place = static_cast<std::uint64_t>(place_of_user[u]) % kPlaces;
  keys[e] = block << kBlockShift | place << kPlaceShift | random >> (32 - kPlaceShift);
}

/// Ratings in the order of the sorted keys. packed_out or wide_out [count], the other null; users_out [count] i32, or
/// null; items, users, order [count] i32; ratings [count] f32; hot_slots [items] i32 or null. One thread a rating, 24
/// bytes each. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    plan_order_kernel(std::uint32_t* packed_out, WideRating* wide_out, std::int32_t* users_out,
                      const std::int32_t* users, const std::int32_t* items, const float* ratings,
                      const std::int32_t* order, const std::int32_t* hot_slots, RatingGrid grid, std::int64_t count) {
  const std::int64_t j = global_thread();
  if (j >= count) {
    return;
  }
  const std::int32_t e = order[j];
  const std::int32_t item = items[e];
  if (users_out != nullptr) {
    users_out[j] = users[e];
  }
  if (packed_out == nullptr) {
    wide_out[j] = {item, ratings[e]};
    return;
  }
  const auto place = static_cast<std::uint32_t>(grid.place_of(ratings[e]));
  const std::uint32_t hot = hot_slots != nullptr && hot_slots[item] >= 0 ? kPackedHot : 0;
  packed_out[j] = static_cast<std::uint32_t>(item) << kPackedItemShift | hot | place;
}

template <typename T>
std::vector<T> download(cudaStream_t stream, const T* from, std::size_t count) {
  std::vector<T> values(count);
  CURATE_CUDA_CHECK(cudaMemcpyAsync(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost, stream));
  CURATE_CUDA_CHECK(cudaStreamSynchronize(stream));
  return values;
}

template <typename T>
void upload(cudaStream_t stream, T* to, const std::vector<T>& values) {
  if (values.empty()) {
    return;
  }
  CURATE_CUDA_CHECK(cudaMemcpyAsync(to, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream));
  // The values may go before the stream has come that far.
  CURATE_CUDA_CHECK(cudaStreamSynchronize(stream));
}

/// Rows that have ratings, the most of them first; rows of equally many in their order.
std::vector<std::int32_t> by_count(const std::vector<std::int32_t>& counts) {
  std::vector<std::int32_t> rows(counts.size());
  std::iota(rows.begin(), rows.end(), 0);
  std::stable_sort(rows.begin(), rows.end(), [&](std::int32_t a, std::int32_t b) {
    return counts[static_cast<std::size_t>(a)] > counts[static_cast<std::size_t>(b)];
  });
  while (!rows.empty() && counts[static_cast<std::size_t>(rows.back())] == 0) {
    rows.pop_back();
  }
  return rows;
}

}  // namespace

/// The ratings as they were given.
struct CudaMfEpochPlan::Columns {
  const std::int32_t* users;
  const std::int32_t* items;
  const float* ratings;
};

CudaMfEpochPlan::CudaMfEpochPlan(Device& device, cudaStream_t stream, const RatingsView& view, std::int64_t num_users,
                                 std::int64_t num_items, const MfPlanOptions& options)
    : MfEpochPlan(device, view.users.rows, num_users, num_items), seed_(options.seed), kernel_(options.kernel) {
  const gpu_memory::PlanBytes bytes = gpu_memory::plan_bytes(ratings(), num_users, num_items, options);
  for (auto [buffer, size] : {std::pair(&user_counts_, bytes.user_counts), {&item_counts_, bytes.item_counts}}) {
    *buffer = device.allocate(size);
    if (size > 0) {
      CURATE_CUDA_CHECK(cudaMemsetAsync(memory_of<std::int32_t>(*buffer), 0, size, stream));
    }
  }
  if (ratings() == 0) {
    return;
  }
  const Columns columns = {pointer_of<const std::int32_t>(view.users), pointer_of<const std::int32_t>(view.items),
                           pointer_of<const float>(view.ratings)};
  launch("count_rows", stream, one_thread_each(ratings()), count_rows_kernel, memory_of<std::int32_t>(user_counts_),
         columns.users, ratings());
  launch("count_rows", stream, one_thread_each(ratings()), count_rows_kernel, memory_of<std::int32_t>(item_counts_),
         columns.items, ratings());
  choose_packing(stream, columns, options.grid_step);
  // Ratings that are off the grid against the options' word take more than was planned.
  ratings_memory_ = device.allocate(std::max(bytes.ratings, gpu_memory::rating_bytes(ratings(), is_packed_)));
  pieces_ = device.allocate(bytes.pieces);
  hot_slots_ = device.allocate(bytes.hot_slots);
  hot_list_ = device.allocate(bytes.hot_list);
  block_starts_ = device.allocate(bytes.block_starts);
  rating_users_ = device.allocate(bytes.rating_users);
  if (options.deterministic) {
    blocks_ = gpu_memory::plan_blocks(ratings(), num_users, num_items, options);
    make_blocks(stream, columns, options.keep_order);
  } else {
    workers_ = options.blocks;
    choose_hot_items(stream);
    make_pieces(stream, columns, options.keep_order && workers_ == 1);
  }
}

void CudaMfEpochPlan::choose_packing(cudaStream_t stream, const Columns& columns, float step) {
  const Scratch<GridCheck> check(stream, 1);
  CURATE_CUDA_CHECK(cudaMemsetAsync(check.data(), 0, sizeof(GridCheck), stream));
  launch("lowest_rating", stream, one_thread_each(ratings()), lowest_rating_kernel, check.data(), columns.ratings,
         ratings());
  grid_ = RatingGrid::of_step(from_ordered_bits(~download(stream, check.data(), 1)[0].lowest), step);
  launch("check_grid", stream, one_thread_each(ratings()), check_grid_kernel, check.data(), columns.ratings, ratings(),
         grid_);
  is_packed_ = download(stream, check.data(), 1)[0].misses == 0 && items() <= gpu_memory::kMostPackedItems;
}

PlannedRatings CudaMfEpochPlan::planned() const {
  return {packed(), wide(), grid_};
}

/// Only packed ratings have a bit for them.
void CudaMfEpochPlan::choose_hot_items(cudaStream_t stream) {
  if (kernel_.hot_items == 0 || !is_packed_) {
    return;
  }
  std::vector<std::int32_t> list = by_count(download(stream, item_counts(), static_cast<std::size_t>(items())));
  list.resize(std::min(list.size(), static_cast<std::size_t>(kernel_.hot_items)));
  std::vector<std::int32_t> slots(static_cast<std::size_t>(items()), -1);
  for (std::size_t slot = 0; slot < list.size(); ++slot) {
    slots[static_cast<std::size_t>(list[slot])] = static_cast<std::int32_t>(slot);
  }
  num_hot_ = static_cast<std::int64_t>(list.size());
  upload(stream, memory_of<std::int32_t>(hot_slots_), slots);
  upload(stream, memory_of<std::int32_t>(hot_list_), list);
}

void CudaMfEpochPlan::make_pieces(cudaStream_t stream, const Columns& columns, bool keep_order) {
  const std::int64_t count = ratings();
  const Scratch<std::uint64_t> keys(stream, count);
  const Scratch<std::uint64_t> sorted(stream, count);
  const Scratch<std::int32_t> elements(stream, count);
  const Scratch<std::int32_t> order(stream, count);
  const std::int32_t* const none = nullptr;
  launch("plan_keys", stream, one_thread_each(count), plan_keys_kernel, keys.data(), elements.data(), columns.users,
         columns.items, none, none, none, 0, count, seed_);
  const int user_bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(users())));
  sort_pairs(stream, sorted.data(), order.data(), keys.data(), elements.data(), count, kRandomBits + user_bits);
  launch("plan_order", stream, one_thread_each(count), plan_order_kernel, packed(), wide(),
         static_cast<std::int32_t*>(nullptr), columns.users, columns.items, columns.ratings,
         static_cast<const std::int32_t*>(order.data()), num_hot_ > 0 ? hot_slots() : nullptr, grid_, count);

  const std::int32_t split = gpu_memory::piece_split(kernel_);
  std::vector<UserPiece> all;
  std::int32_t begin = 0;
  const std::vector<std::int32_t> counts = download(stream, user_counts(), static_cast<std::size_t>(users()));
  for (std::size_t u = 0; u < counts.size(); ++u) {
    // A worker alone has no use for pieces.
    const std::int32_t parts = workers_ == 1 ? (counts[u] > 0 ? 1 : 0) : (counts[u] + split - 1) / split;
    for (std::int32_t part = 0; part < parts; ++part) {
      const auto cut = [&](std::int32_t n) {
        return begin + static_cast<std::int32_t>(static_cast<std::int64_t>(counts[u]) * n / parts);
      };
      all.push_back({static_cast<std::int32_t>(u), cut(part), cut(part + 1), parts > 1 ? 1 : 0});
    }
    has_shared_pieces_ = has_shared_pieces_ || parts > 1;
    begin += counts[u];
  }
  num_pieces_ = static_cast<std::int64_t>(all.size());
  upload(stream, memory_of<UserPiece>(pieces_), all);
  if (keep_order) {
    positions_ = download(stream, static_cast<const std::int32_t*>(order.data()), static_cast<std::size_t>(count));
    starts_.push_back(0);
    for (const UserPiece& piece : all) {
      starts_.push_back(piece.end);
    }
  }
}

void CudaMfEpochPlan::make_blocks(cudaStream_t stream, const Columns& columns, bool keep_order) {
  const std::int64_t count = ratings();
  const auto num_blocks = static_cast<std::size_t>(blocks_);
  // Items by popularity, dealt like cards, back and forth.
  std::vector<std::int32_t> group_of_item(static_cast<std::size_t>(items()), 0);
  const std::vector<std::int32_t> ranked = by_count(download(stream, item_counts(), static_cast<std::size_t>(items())));
  for (std::size_t rank = 0; rank < ranked.size(); ++rank) {
    const auto card = static_cast<std::int32_t>(rank % num_blocks);
    const bool back = rank / num_blocks % 2 == 1;
    group_of_item[static_cast<std::size_t>(ranked[rank])] = back ? blocks_ - 1 - card : card;
  }
  // Users in random order, cut where each group has its share of the ratings.
  const std::vector<std::int32_t> counts = download(stream, user_counts(), static_cast<std::size_t>(users()));
  std::vector<std::pair<std::uint64_t, std::int32_t>> keyed;
  for (std::int64_t u = 0; u < users(); ++u) {
    keyed.emplace_back(philox(seed_, static_cast<std::uint64_t>(u), 1, RandomPurpose::mf_plan).low64(),
                       static_cast<std::int32_t>(u));
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<std::int32_t> group_of_user(keyed.size(), 0);
  std::vector<std::int32_t> place_of_user(keyed.size(), 0);
  std::int64_t before = 0;
  for (std::size_t place = 0; place < keyed.size(); ++place) {
    const auto u = static_cast<std::size_t>(keyed[place].second);
    group_of_user[u] = static_cast<std::int32_t>(std::min<std::int64_t>(before * blocks_ / count, blocks_ - 1));
    place_of_user[u] = static_cast<std::int32_t>(place);
    before += counts[u];
  }

  const Scratch<std::int32_t> user_groups(stream, users());
  const Scratch<std::int32_t> user_places(stream, users());
  const Scratch<std::int32_t> item_groups(stream, items());
  upload(stream, user_groups.data(), group_of_user);
  upload(stream, user_places.data(), place_of_user);
  upload(stream, item_groups.data(), group_of_item);
  const Scratch<std::uint64_t> keys(stream, count);
  const Scratch<std::uint64_t> sorted(stream, count);
  const Scratch<std::int32_t> elements(stream, count);
  const Scratch<std::int32_t> order(stream, count);
  const auto as_const = [](const Scratch<std::int32_t>& data) { return static_cast<const std::int32_t*>(data.data()); };
  launch("plan_keys", stream, one_thread_each(count), plan_keys_kernel, keys.data(), elements.data(), columns.users,
         columns.items, as_const(user_groups), as_const(user_places), as_const(item_groups), blocks_, count, seed_);
  sort_pairs(stream, sorted.data(), order.data(), keys.data(), elements.data(), count, 64);
  launch("plan_order", stream, one_thread_each(count), plan_order_kernel, packed(), wide(),
         memory_of<std::int32_t>(rating_users_), columns.users, columns.items, columns.ratings, as_const(order),
         static_cast<const std::int32_t*>(nullptr), grid_, count);

  // Where each block begins.
  const std::vector<std::int32_t> users_of = download(stream, columns.users, static_cast<std::size_t>(count));
  const std::vector<std::int32_t> items_of = download(stream, columns.items, static_cast<std::size_t>(count));
  std::vector<std::int32_t> starts(num_blocks * num_blocks + 1, 0);
  for (std::size_t e = 0; e < users_of.size(); ++e) {
    const auto user_group = static_cast<std::size_t>(group_of_user[static_cast<std::size_t>(users_of[e])]);
    const auto item_group = static_cast<std::size_t>(group_of_item[static_cast<std::size_t>(items_of[e])]);
    ++starts[user_group * num_blocks + item_group + 1];
  }
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  upload(stream, memory_of<std::int32_t>(block_starts_), starts);
  if (keep_order) {
    positions_ = download(stream, as_const(order), static_cast<std::size_t>(count));
    starts_ = starts;
  }
}

std::vector<std::int32_t> CudaMfEpochPlan::order(std::int64_t epoch, std::int64_t /*dim*/,
                                                 bool /*non_negative*/) const {
  std::vector<std::int32_t> order;
  if (positions_.empty()) {
    return order;
  }
  order.reserve(positions_.size());
  const auto add = [&](std::size_t n, bool backward) {
    std::vector<std::int32_t> part(positions_.begin() + starts_[n], positions_.begin() + starts_[n + 1]);
    if (backward) {
      std::reverse(part.begin(), part.end());
    }
    order.insert(order.end(), part.begin(), part.end());
  };
  if (deterministic()) {
    for (std::int32_t round = 0; round < blocks_; ++round) {
      for (std::int32_t worker = 0; worker < blocks_; ++worker) {
        const std::int32_t item_group = (worker + first_item_group(seed_, epoch, round, blocks_)) % blocks_;
        add(static_cast<std::size_t>(worker) * static_cast<std::size_t>(blocks_) + static_cast<std::size_t>(item_group),
            epoch % 2 == 1);
      }
    }
    return order;
  }
  std::vector<std::pair<std::uint64_t, std::size_t>> keyed;
  for (std::size_t piece = 0; piece + 1 < starts_.size(); ++piece) {
    keyed.emplace_back(philox(seed_, piece, static_cast<std::uint32_t>(epoch), RandomPurpose::mf_order).low64(), piece);
  }
  std::sort(keyed.begin(), keyed.end());
  for (const auto& [key, piece] : keyed) {
    add(piece, false);
  }
  return order;
}

void enqueue(const ops::MfSgdEpoch& operation, const Context& context) {
  constexpr std::int64_t kBlocksPerMultiprocessor = 8;
  mf_sgd_epoch(context.stream, operation.tables, operation.sums, static_cast<const CudaMfEpochPlan&>(*operation.plan),
               operation.params, operation.state, context.error_scratch,
               kBlocksPerMultiprocessor * context.gpu.multiprocessors);
}

}  // namespace curate::cuda
