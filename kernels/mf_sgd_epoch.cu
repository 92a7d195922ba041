#include "kernels/mf_sgd_epoch.h"

#include <algorithm>
#include <cmath>

#include "curate/error.h"
#include "kernels/error_sums.cuh"
#include "kernels/mf_epoch_plan.h"
#include "kernels/mf_rows.cuh"
#include "kernels/sort.h"
#include "support/philox.h"

namespace curate::cuda {
namespace {

/// keys[u] = philox(seed, u, epoch, mf_order).low64(), users[u] = u. With starts (of each user's ratings) users of
/// twice as many ratings come first: the epoch lasts as long as its last user. keys [count] u64, users [count] i32,
/// starts [count + 1] i32 or null. One thread a user. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    user_order_keys_kernel(std::uint64_t* keys, std::int32_t* users, const std::int32_t* starts, std::int64_t count,
                           std::uint64_t seed, const StepState* state) {
  constexpr int kClassBits = 5;
  const std::int64_t u = global_thread();
  if (u >= count) {
    return;
  }
  std::uint64_t key =
      philox(seed, static_cast<std::uint64_t>(u), static_cast<std::uint32_t>(state->epoch), RandomPurpose::mf_order)
          .low64();
  if (starts != nullptr) {
    std::uint64_t length_class = 31;  // the fewest ratings
    for (std::int32_t left = starts[u + 1] - starts[u]; left > 1; left /= 2) {
      --length_class;
    }
    key = length_class << (64 - kClassBits) | key >> kClassBits;
  }
  keys[u] = key;
  users[u] = static_cast<std::int32_t>(u);
}

/// The plan as the kernel takes it.
struct UserRatings {
  const std::int32_t* order;        ///< [users] users in the epoch's order
  const std::int32_t* user_starts;  ///< [users + 1]
  const std::int32_t* items;        ///< [ratings] by user
  const float* ratings;             ///< [ratings] by user
  const std::int32_t* item_counts;  ///< [items]
  std::int32_t users;
  std::int32_t* taken;  ///< [1] users of the order that a worker has taken, 0 before
};

/// A lane's place in its group. Numbers of 32 bits: rows are short.
struct Lane {
  int number;
  int lanes;
  int packs;  ///< of a row
};

/// A lane's packs of a row: every `lanes`-th, from its own number on.
template <int kVector, int kPacks>
struct LaneRow {
  Pack<kVector> pack[kPacks];

  __device__ static LaneRow load(const float* row, const Lane& lane) {
    LaneRow own;
    for (int p = 0; p < kPacks; ++p) {
      const int n = lane.number + p * lane.lanes;
      own.pack[p] = n < lane.packs ? Pack<kVector>::load(row + n * kVector) : Pack<kVector>{};
    }
    return own;
  }

  /// Past the L1 cache, which does not see what other multiprocessors add.
  __device__ static LaneRow load_shared(const float* row, const Lane& lane) {
    LaneRow own;
    for (int p = 0; p < kPacks; ++p) {
      const int n = lane.number + p * lane.lanes;
      own.pack[p] = n < lane.packs ? Pack<kVector>::load_shared(row + n * kVector) : Pack<kVector>{};
    }
    return own;
  }

  __device__ void store(float* row, const Lane& lane) const {
    for (int p = 0; p < kPacks; ++p) {
      const int n = lane.number + p * lane.lanes;
      if (n < lane.packs) {
        pack[p].store(row + n * kVector);
      }
    }
  }

  __device__ void add_to(float* row, const Lane& lane) const {
    for (int p = 0; p < kPacks; ++p) {
      const int n = lane.number + p * lane.lanes;
      if (n < lane.packs) {
        reduce_add(row + n * kVector, pack[p]);
      }
    }
  }
};

/// Per-rating SGD, formulas at Device::mf_sgd_epoch; every rating once.
/// tables.user [users, dim], tables.item [items, dim] f32, biases maybe absent; sums [1]. Each of `workers` groups
/// of lanes takes the next user of the order, holds its row in registers and goes through its ratings, until there is
/// none left; the next item's row is on its way meanwhile. The groups of a warp do so side by side, a rating each at a
/// time, so that shuffles are of the whole warp: with masks that only the program knows each would be a loop. Items
/// change by atomic additions, so that no update is lost, but may be stale. Per rating 8 bytes of the plan, 4 dim read
/// and 4 dim of reductions in the L2, 8 dim flops; per user 8 dim bytes. Not deterministic with more than one worker.
template <int kVector, int kPacks, bool kNonNegative>
__global__ void __launch_bounds__(kBlockThreads)
    mf_sgd_epoch_kernel(Factors<float> tables, const float* mean, ErrorSums* sums, UserRatings plan, MfSgdParams params,
                        RowShare share, std::int64_t workers, const StepState* state, ErrorScratch* scratch) {
  using Row = LaneRow<kVector, kPacks>;
  const std::int64_t thread = global_thread();
  const auto lanes = static_cast<int>(share.lanes());
  const Lane place{static_cast<int>(share.lane(thread)), lanes, static_cast<int>(share.packs)};
  const bool first = place.number == 0;
  const int first_lane = static_cast<int>(threadIdx.x) % 32 / lanes * lanes;
  const unsigned group = lanes == 32 ? kWholeWarp : ((1U << lanes) - 1U) << first_lane;
  const float learning_rate = state->learning_rate;
  const float decay = params.rate_decay * (static_cast<float>(state->epoch) + 0.5F);
  const float global_mean = *mean;
  ErrorSums own;
  // What the group has in hand.
  bool working = share.row(thread) < workers;
  std::int32_t u = -1;
  std::int32_t j = 0;
  std::int32_t end = 0;
  Row p{};
  float user_bias = 0.0F;
  float user_rate = 0.0F;
  Row next{};
  std::int32_t next_item = 0;
  while (true) {
    while (working && j == end) {
      if (u >= 0) {
        p.store(tables.user.row(u), place);
        if (first && tables.user_bias.data != nullptr) {
          *tables.user_bias.row(u) = user_bias;
        }
        u = -1;
      }
      std::int32_t n = first ? atomicAdd(plan.taken, 1) : 0;
      n = __shfl_sync(group, n, first_lane);
      if (n >= plan.users) {
        working = false;
        break;
      }
      const std::int32_t taken = plan.order[n];
      j = plan.user_starts[taken];
      end = plan.user_starts[taken + 1];
      if (j < end) {
        u = taken;
        p = Row::load(tables.user.row(u), place);
        user_bias = tables.user_bias.data == nullptr ? 0.0F : *tables.user_bias.row(u);
        user_rate = learning_rate * rsqrtf(1.0F + decay * static_cast<float>(end - j));
        next_item = plan.items[j];
        next = Row::load_shared(tables.item.row(next_item), place);
      }
    }
    __syncwarp();
    if (__any_sync(kWholeWarp, working ? 1 : 0) == 0) {
      break;
    }
    const std::int32_t i = next_item;
    const Row q = next;
    if (working && j + 1 < end) {
      next_item = plan.items[j + 1];
      next = Row::load_shared(tables.item.row(next_item), place);
    }
    // The first lane brings the biases along.
    const bool item_biased = first && working && tables.item_bias.data != nullptr;
    const float item_bias = item_biased ? __ldcg(tables.item_bias.row(i)) : 0.0F;
    float dot = first ? user_bias + item_bias : 0.0F;
    for (int k = 0; k < kPacks; ++k) {
      for (int v = 0; v < kVector; ++v) {
        dot += p.pack[k].value[v] * q.pack[k].value[v];
      }
    }
    for (int bit = 1; bit < lanes; bit *= 2) {
      dot += __shfl_xor_sync(kWholeWarp, dot, bit);
    }
    if (!working) {
      continue;
    }
    const float error = plan.ratings[j] - (global_mean + dot);
    const float item_rate =
        decay == 0.0F ? learning_rate : learning_rate * rsqrtf(1.0F + decay * static_cast<float>(plan.item_counts[i]));
    Row change;
    for (int k = 0; k < kPacks; ++k) {
      for (int v = 0; v < kVector; ++v) {
        float& a = p.pack[k].value[v];
        const float b = q.pack[k].value[v];
        float delta = item_rate * (error * a - params.reg * b);
        a += user_rate * (error * b - params.reg * a);
        if constexpr (kNonNegative) {
          a = a < 0.0F ? 0.0F : a;
          delta = delta < -b ? -b : delta;
        }
        change.pack[k].value[v] = delta;
      }
    }
    change.add_to(tables.item.row(i), place);
    if (next_item == i) {
      next = Row::load_shared(tables.item.row(i), place);  // rated twice: what is on its way is old
    }
    user_bias += tables.user_bias.data == nullptr ? 0.0F : user_rate * (error - params.reg * user_bias);
    if (item_biased) {
      reduce_add(tables.item_bias.row(i), item_rate * (error - params.reg * item_bias));
    }
    if (first) {
      own.squared += static_cast<double>(error) * static_cast<double>(error);
      own.count += 1;
    }
    ++j;
  }
  add_over_grid(sums, own, scratch);
}

/// items[i, k] = max(items[i, k], 0), NaN stays. items [rows, cols] f32. One thread an element, 8 bytes each.
/// Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    clamp_items_kernel(Rows<float> items, std::int64_t rows, std::int64_t cols) {
  const std::int64_t thread = global_thread();
  const std::int64_t i = thread / cols;
  if (i >= rows) {
    return;
  }
  float& value = items.row(i)[thread % cols];
  value = value < 0.0F ? 0.0F : value;
}

using Kernel = void (*)(Factors<float>, const float*, ErrorSums*, UserRatings, MfSgdParams, RowShare, std::int64_t,
                        const StepState*, ErrorScratch*);

/// By the packs that a lane has of a row.
template <int kVector, bool kNonNegative>
Kernel kernel_for(std::int64_t packs_per_lane) {
  if (packs_per_lane <= 1) {
    return mf_sgd_epoch_kernel<kVector, 1, kNonNegative>;
  }
  if (packs_per_lane <= 2) {
    return mf_sgd_epoch_kernel<kVector, 2, kNonNegative>;
  }
  if (packs_per_lane <= 4) {
    return mf_sgd_epoch_kernel<kVector, 4, kNonNegative>;
  }
  if constexpr (kVector == 1) {
    if (packs_per_lane > 8) {
      return packs_per_lane <= 16 ? mf_sgd_epoch_kernel<1, 16, kNonNegative> : mf_sgd_epoch_kernel<1, 32, kNonNegative>;
    }
  }
  return mf_sgd_epoch_kernel<kVector, 8, kNonNegative>;
}

template <bool kNonNegative>
Kernel kernel_for(int vector, std::int64_t packs_per_lane) {
  return vector == 4 ? kernel_for<4, kNonNegative>(packs_per_lane) : kernel_for<1, kNonNegative>(packs_per_lane);
}

constexpr std::int64_t kMostFactors = 1024;

}  // namespace

void mf_sgd_epoch(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                  const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch, std::int64_t most_blocks) {
  constexpr int kKeyBits = 64;
  const std::int64_t users = plan.users();
  if (users == 0 || plan.ratings() == 0) {
    return;
  }
  const std::int64_t dim = tables.user.cols;
  if (dim > kMostFactors) {
    throw DeviceError("mf_sgd_epoch: a row of more than 1,024 factors does not fit a warp's registers");
  }
  const int vector = dim % 4 == 0 ? vector_width(dim, tables.user, tables.item) : 1;
  const RowShare share = share_rows(dim, vector);
  const std::int64_t per_lane = divide_up(share.packs, std::int64_t{1} << share.lane_bits);
  const auto* const device_state = pointer_of<const StepState>(state);

  const std::int64_t most_workers = plan.workers() > 0 ? std::min(plan.workers(), users) : users;
  Geometry geometry = geometry_for_rows(most_workers, share);
  geometry.blocks = std::min({geometry.blocks, most_blocks, std::int64_t{ErrorScratch::kMostBlocks}});
  const std::int64_t workers = std::min(most_workers, geometry.blocks * kBlockThreads >> share.lane_bits);

  const Scratch<std::uint64_t> keys(stream, users);
  const Scratch<std::uint64_t> sorted(stream, users);
  const Scratch<std::int32_t> numbers(stream, users);
  const Scratch<std::int32_t> order(stream, users);
  const Scratch<std::int32_t> taken(stream, 1);
  CURATE_CUDA_CHECK(cudaMemsetAsync(taken.data(), 0, sizeof(std::int32_t), stream));
  launch("user_order_keys", stream, one_thread_each(users), user_order_keys_kernel, keys.data(), numbers.data(),
         workers > 1 ? plan.user_starts() : nullptr, users, plan.seed(), device_state);
  sort_pairs(stream, sorted.data(), order.data(), keys.data(), numbers.data(), users, kKeyBits);
  launch("mf_sgd_epoch", stream, geometry,
         params.non_negative ? kernel_for<true>(vector, per_lane) : kernel_for<false>(vector, per_lane),
         factors_of<float>(tables), pointer_of<const float>(tables.mean), pointer_of<ErrorSums>(sums),
         UserRatings{order.data(), plan.user_starts(), plan.sorted_items(), plan.sorted_ratings(), plan.item_counts(),
                     static_cast<std::int32_t>(users), taken.data()},
         params, share, workers, device_state, scratch);
  if (params.non_negative) {
    // Two workers may have taken the same amount away.
    launch("clamp_items", stream, one_thread_each(tables.item.rows * dim), clamp_items_kernel,
           rows_of<float>(tables.item), tables.item.rows, dim);
  }
}

}  // namespace curate::cuda
