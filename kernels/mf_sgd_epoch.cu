#include "kernels/mf_sgd_epoch.h"

#include <algorithm>

#include "curate/error.h"
#include "kernels/error_sums.cuh"
#include "kernels/mf_sgd.cuh"
#include "kernels/mf_sgd_blocks.h"
#include "kernels/sort.h"

namespace curate::cuda {
namespace {

/// keys[n] = philox(seed, n, epoch, mf_order).low64(), pieces[n] = n. With `longest_first` pieces of twice as many
/// ratings come first: the epoch lasts as long as its last piece. keys [count] u64, pieces [count] i32, of [count].
/// One thread a piece. Deterministic.
__global__ void __launch_bounds__(kBlockThreads)
    piece_order_keys_kernel(std::uint64_t* keys, std::int32_t* pieces, const UserPiece* of, std::int64_t count,
                            bool longest_first, std::uint64_t seed, const StepState* state) {
  constexpr int kClassBits = 5;
  const std::int64_t n = global_thread();
  if (n >= count) {
    return;
  }
  std::uint64_t key =
      philox(seed, static_cast<std::uint64_t>(n), static_cast<std::uint32_t>(state->epoch), RandomPurpose::mf_order)
          .low64();
  if (longest_first) {
    std::uint64_t length_class = 31;  // the fewest ratings
    for (std::int32_t left = of[n].end - of[n].begin; left > 1; left /= 2) {
      --length_class;
    }
    key = length_class << (64 - kClassBits) | key >> kClassBits;
  }
  keys[n] = key;
  pieces[n] = static_cast<std::int32_t>(n);
}

/// The plan as the kernel takes it.
struct PiecesInOrder {
  PlannedRatings ratings;
  const UserPiece* pieces;          ///< [count]
  const std::int32_t* order;        ///< [count] pieces in the epoch's order
  const std::int32_t* user_counts;  ///< [users]
  const std::int32_t* item_counts;  ///< [items]
  std::int32_t count;
  std::int32_t* taken;  ///< [1] pieces of the order that a worker has taken, 0 before
  std::uint64_t seed;
  const std::int32_t* hot_slots;  ///< [items]
  const std::int32_t* hot_list;   ///< [num_hot]
  std::int32_t num_hot;
};

/// Changes of hot items that a block has made and not yet added to their rows: [num_hot, dim] f32 in shared memory.
template <bool kHot>
class HotChanges {
 public:
  /// All threads of the block must call it.
  __device__ HotChanges(std::int32_t num_hot, int dim) : num_(num_hot), dim_(dim), values_(dynamic_shared<float>()) {
    for (int e = static_cast<int>(threadIdx.x); e < num_ * dim_; e += kBlockThreads) {
      values_[e] = 0.0F;
    }
    __syncthreads();
  }

  /// What the block's threads know of an item's row: what is in memory, and these.
  template <int kVector, int kPacks>
  __device__ void add_pending(LaneRow<kVector, kPacks>& row, std::int32_t slot, const Lane& lane) const {
    row.visit(lane, [&](int p, int n) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        row.pack[p].value[i] += shared_atomic_load(values_, slot * dim_ + n * kVector + i);
      }
    });
  }

  template <int kVector, int kPacks>
  __device__ void add(std::int32_t slot, const LaneRow<kVector, kPacks>& change, const Lane& lane) const {
    change.visit(lane, [&](int p, int n) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        shared_atomic_add(values_, slot * dim_ + n * kVector + i, change.pack[p].value[i]);
      }
    });
  }

  /// Takes out what is there of an item.
  template <int kVector, int kPacks>
  __device__ LaneRow<kVector, kPacks> take(std::int32_t slot, const Lane& lane) const {
    LaneRow<kVector, kPacks> all{};
    all.visit(lane, [&](int p, int n) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        all.pack[p].value[i] = shared_atomic_exchange(values_, slot * dim_ + n * kVector + i, 0.0F);
      }
    });
    return all;
  }

 private:
  std::int32_t num_;
  int dim_;
  decltype(dynamic_shared<float>()) values_;
};

template <>
class HotChanges<false> {
 public:
  __device__ HotChanges(std::int32_t /*num_hot*/, int /*dim*/) {}
};

/// Per-rating SGD, formulas at Device::mf_sgd_epoch; every rating once.
/// tables.user [users, dim], tables.item [items, dim] of T, biases f32, maybe absent; sums [1]. Each of `workers`
/// groups of lanes takes the next piece of the order, holds the user's row in registers and goes through the ratings,
/// until there is none left; the rows of the next kAhead items are on their way meanwhile. The groups of a warp do so
/// side by side, a rating each at a time, so that shuffles are of the whole warp: with masks that only the program
/// knows each would be a loop. Items change by atomic additions, so that no update is lost, but may be stale; so do
/// users that are learnt in pieces, every kExchange ratings. kHot: a block gathers the changes of hot items, and adds a
/// row's to it with every kFlush-th hot rating of a group. Per rating 4 bytes of the plan (8 where ratings are not
/// packed), dim elements read and as many of reductions in the L2, 8 dim flops; per user a row read and written. Not
/// deterministic with more than one worker.
template <typename T, int kVector, int kPacks, int kAhead, bool kNonNegative, bool kHot, bool kScalar>
__global__ void __launch_bounds__(kBlockThreads, 1)
    mf_sgd_epoch_kernel(Factors<T, float> tables, const float* mean, ErrorSums* sums, PiecesInOrder plan,
                        MfSgdParams params, RowShare share, std::int64_t workers, const StepState* state,
                        ErrorScratch* scratch) {
  using Row = LaneRow<kVector, kPacks>;
  constexpr std::int32_t kExchange = 16;
  constexpr std::int32_t kFlush = 8;
  const std::int64_t thread = global_thread();
  const auto lanes = static_cast<int>(share.lanes());
  const Lane place{static_cast<int>(share.lane(thread)), lanes, static_cast<int>(share.packs)};
  const bool first = place.number == 0;
  const int first_lane = static_cast<int>(threadIdx.x) % 32 / lanes * lanes;
  const unsigned group = lanes == 32 ? kWholeWarp : ((1U << lanes) - 1U) << first_lane;
  const RowRates rates(params, *state);
  const float global_mean = *mean;
  const HotChanges<kHot> hot(plan.num_hot, place.packs * kVector);
  std::int32_t hot_ratings = 0;
  ErrorSums own;

  /// A rating, and its item's row as it was.
  struct Coming {
    PlannedRating rating;
    Row row;
  };
  const auto fetch = [&](std::int32_t j) {
    const PlannedRating rating = read_rating(plan.ratings, j);
    return Coming{rating, Row::load_shared(tables.item.row(rating.item), place)};
  };

  // What the group has in hand.
  bool working = share.row(thread) < workers;
  UserPiece piece{-1, 0, 0, 0};
  std::int32_t j = 0;
  std::int32_t stop = 0;  // where the user's row is written: the end, or where others' changes are looked at
  Row p{};
  Row p_before{};  // of pieces that are shared: what was read
  float user_bias = 0.0F;
  float user_bias_before = 0.0F;
  float user_rate = 0.0F;
  Coming coming[kAhead] = {};
  RoundingStream rounding{};  // of 16 bits

  const auto read_user = [&] {
    T* const row = tables.user.row(piece.user);
    if (piece.shared != 0) {
      p = Row::load_shared(row, place);
      p_before = p;
    } else {
      p = Row::load(row, place);
    }
    if (first && tables.user_bias.data != nullptr) {
      user_bias = __ldcg(tables.user_bias.row(piece.user));
      user_bias_before = user_bias;
    }
  };
  const auto write_user = [&] {
    T* const row = tables.user.row(piece.user);
    if (piece.shared == 0) {
      store_row(row, p, place, rounding);
      if (first && tables.user_bias.data != nullptr) {
        __stwb(tables.user_bias.row(piece.user), user_bias);
      }
      return;
    }
    Row change;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        change.pack[k].value[v] = p.pack[k].value[v] - p_before.pack[k].value[v];
      }
    }
    add_to_row<kScalar>(row, p_before, change, place, rounding);
    if (first && tables.user_bias.data != nullptr) {
      reduce_add(tables.user_bias.row(piece.user), user_bias - user_bias_before);
    }
  };

  while (true) {
    while (working && j == stop) {
      if (piece.user >= 0) {
        write_user();
      }
      if (j == piece.end) {
        std::int32_t n = first ? atomicAdd(plan.taken, 1) : 0;
        n = __shfl_sync(group, n, first_lane);
        if (n >= plan.count) {
          working = false;
          break;
        }
        const UserPiece* const taken = plan.pieces + __ldg(plan.order + n);
        piece = {__ldg(&taken->user), __ldg(&taken->begin), __ldg(&taken->end), __ldg(&taken->shared)};
        j = piece.begin;
        user_rate = rates.of(plan.user_counts, piece.user);
        if constexpr (sizeof(T) == 2) {
          rounding = RoundingStream::start(plan.seed, state->epoch, j, place.number);
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
          if (j + a < piece.end) {
            coming[a] = fetch(j + a);
          }
        }
      }
      read_user();
      stop = piece.shared != 0 && piece.end - j > kExchange ? j + kExchange : piece.end;
    }
    __syncwarp();
    if (__any_sync(kWholeWarp, working ? 1 : 0) == 0) {
      break;
    }
    const PlannedRating rating = coming[0].rating;
    Row q = coming[0].row;
#pragma unroll
    for (int a = 0; a + 1 < kAhead; ++a) {
      coming[a] = coming[a + 1];
    }
    if (working && j + kAhead < piece.end) {
      coming[kAhead - 1] = fetch(j + kAhead);
    }
    const std::int32_t i = rating.item;
    std::int32_t slot = -1;
    if constexpr (kHot) {
      if (working && rating.hot) {
        slot = __ldg(plan.hot_slots + i);
        hot.add_pending(q, slot, place);
      }
    }
    const bool item_biased = first && working && tables.item_bias.data != nullptr;
    const float item_bias = item_biased ? __ldcg(tables.item_bias.row(i)) : 0.0F;
    // The first lane brings the biases along.
    const float dot = group_dot(p, q, user_bias + item_bias, place);
    if (!working) {
      continue;
    }
    const float error = rating.value - (global_mean + dot);
    const float item_rate = rates.of(plan.item_counts, i);
    const Row change = learn<kNonNegative>(p, q, error, user_rate, item_rate, params.reg);
    if (kHot && slot >= 0) {
      if constexpr (kHot) {
        hot.add(slot, change, place);
        if (++hot_ratings % kFlush == 0) {
          const Row all = hot.template take<kVector, kPacks>(slot, place);
          add_to_row<kScalar>(tables.item.row(i), Row::load_shared(tables.item.row(i), place), all, place, rounding);
        }
      }
    } else {
      add_to_row<kScalar>(tables.item.row(i), q, change, place, rounding);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (coming[a].rating.item == i && j + 1 + a < piece.end) {
        coming[a].row = Row::load_shared(tables.item.row(i), place);  // rated twice: what is on its way is old
      }
    }
    if (first) {
      user_bias += tables.user_bias.data == nullptr ? 0.0F : user_rate * (error - params.reg * user_bias);
      if (item_biased) {
        reduce_add(tables.item_bias.row(i), item_rate * (error - params.reg * item_bias));
      }
      own.squared += static_cast<double>(error) * static_cast<double>(error);
      own.count += 1;
    }
    ++j;
  }
  if constexpr (kHot) {
    __syncthreads();
    for (std::int32_t slot = static_cast<std::int32_t>(threadIdx.x) / lanes; slot < plan.num_hot;
         slot += kBlockThreads / lanes) {
      const Row all = hot.template take<kVector, kPacks>(slot, place);
      T* const row = tables.item.row(__ldg(plan.hot_list + slot));
      add_to_row<kScalar>(row, Row::load_shared(row, place), all, place, rounding);
    }
  }
  add_over_grid(sums, own, scratch);
}

/// rows[r, k] = max(rows[r, k], 0), NaN stays. table [rows, cols] of T. One thread an element. Deterministic.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    clamp_rows_kernel(Rows<T> table, std::int64_t rows, std::int64_t cols) {
  const std::int64_t thread = global_thread();
  const std::int64_t r = thread / cols;
  if (r >= rows) {
    return;
  }
  T& value = table.row(r)[thread % cols];
  if (Pack<1>::load(&value).value[0] < 0.0F) {
    value = T{};
  }
}

/// Two workers may have taken the same amount away.
void clamp_rows(cudaStream_t stream, const MatrixView& table) {
  with_element(table.dtype, [&](auto element) {
    using T = decltype(element);
    launch("clamp_rows", stream, one_thread_each(table.rows * table.cols), clamp_rows_kernel<T>, rows_of<T>(table),
           table.rows, table.cols);
  });
}

template <typename T>
using Kernel = void (*)(Factors<T, float>, const float*, ErrorSums*, PiecesInOrder, MfSgdParams, RowShare, std::int64_t,
                        const StepState*, ErrorScratch*);

constexpr int kDefaultAhead = 2;
/// What is chosen by measuring, one of them at a time: hot items, rows on their way, reductions by element.
struct Variant {
  std::int32_t ahead;
  bool hot;
  bool scalar;
};

template <typename T, int kVector, int kPacks, bool kNonNegative>
Kernel<T> kernel_of(Variant variant) {
  if constexpr (kVector > 1 && kPacks <= 2 && !kNonNegative) {
    if (variant.hot) {
      return mf_sgd_epoch_kernel<T, kVector, kPacks, kDefaultAhead, false, true, false>;
    }
    if (variant.ahead == 1) {
      return mf_sgd_epoch_kernel<T, kVector, kPacks, 1, false, false, false>;
    }
    if (variant.ahead == 4) {
      return mf_sgd_epoch_kernel<T, kVector, kPacks, 4, false, false, false>;
    }
    if (variant.scalar) {
      return mf_sgd_epoch_kernel<T, kVector, kPacks, kDefaultAhead, false, false, true>;
    }
  }
  return mf_sgd_epoch_kernel < T, kVector, kPacks, kPacks >= 8 ? 1 : kDefaultAhead, kNonNegative, false, false > ;
}

template <typename T, int kVector, bool kNonNegative>
Kernel<T> kernel_for(std::int64_t packs_per_lane, Variant variant) {
  if constexpr (kVector == 1) {
    return packs_per_lane <= 4 ? kernel_of<T, 1, 4, kNonNegative>(variant) : kernel_of<T, 1, 32, kNonNegative>(variant);
  } else {
    if (packs_per_lane <= 1) {
      return kernel_of<T, kVector, 1, kNonNegative>(variant);
    }
    if (packs_per_lane <= 2) {
      return kernel_of<T, kVector, 2, kNonNegative>(variant);
    }
    if constexpr (kVector == 4) {
      if (packs_per_lane > 4) {
        return kernel_of<T, kVector, 8, kNonNegative>(variant);
      }
    }
    return kernel_of<T, kVector, 4, kNonNegative>(variant);
  }
}

template <typename T, int kVector>
void launch_epoch(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                  const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch, std::int64_t most_blocks) {
  constexpr int kKeyBits = 64;
  const MfKernelOptions& options = plan.kernel();
  const std::int64_t count = plan.pieces();
  const std::int64_t dim = tables.user.cols;
  const auto* const device_state = pointer_of<const StepState>(state);
  const RowShare share = share_sgd_rows(dim, kVector, options.lanes, kMostPacks<kVector>);
  const std::int64_t most_workers = plan.workers() > 0 ? std::min(plan.workers(), count) : count;
  Geometry geometry = geometry_for_rows(most_workers, share);
  geometry.blocks = std::min({geometry.blocks, most_blocks, std::int64_t{ErrorScratch::kMostBlocks}});
  const std::int64_t workers = std::min(most_workers, geometry.blocks * kBlockThreads >> share.lane_bits);
  // As many as fit into what every GPU has of shared memory.
  constexpr std::int64_t kSharedFloats = 10 * 1024;
  const bool has_hot = kVector > 1 && !params.non_negative && divide_up(share.packs, 1LL << share.lane_bits) <= 2;
  const std::int64_t num_hot = has_hot ? std::min(plan.hot_items(), kSharedFloats / dim) : 0;
  geometry.dynamic_shared = static_cast<std::size_t>(num_hot * dim) * sizeof(float);
  const Variant variant{options.ahead, num_hot > 0 && num_hot == plan.hot_items(), options.scalar_reductions};

  // gpu_memory::piece_order_bytes() counts them.
  const Scratch<std::uint64_t> keys(stream, count);
  const Scratch<std::uint64_t> sorted(stream, count);
  const Scratch<std::int32_t> numbers(stream, count);
  const Scratch<std::int32_t> order(stream, count);
  const Scratch<std::int32_t> taken(stream, 1);
  CURATE_CUDA_CHECK(cudaMemsetAsync(taken.data(), 0, sizeof(std::int32_t), stream));
  launch("piece_order_keys", stream, one_thread_each(count), piece_order_keys_kernel, keys.data(), numbers.data(),
         plan.piece_data(), count, workers > 1, plan.seed(), device_state);
  sort_pairs(stream, sorted.data(), order.data(), keys.data(), numbers.data(), count, kKeyBits);
  const PiecesInOrder pieces{plan.planned(),
                             plan.piece_data(),
                             order.data(),
                             plan.user_counts(),
                             plan.item_counts(),
                             static_cast<std::int32_t>(count),
                             taken.data(),
                             plan.seed(),
                             variant.hot ? plan.hot_slots() : nullptr,
                             variant.hot ? plan.hot_list() : nullptr,
                             variant.hot ? static_cast<std::int32_t>(num_hot) : 0};
  const std::int64_t per_lane = divide_up(share.packs, std::int64_t{1} << share.lane_bits);
  launch("mf_sgd_epoch", stream, geometry,
         params.non_negative ? kernel_for<T, kVector, true>(per_lane, variant)
                             : kernel_for<T, kVector, false>(per_lane, variant),
         factors_of<T, float>(tables), pointer_of<const float>(tables.mean), pointer_of<ErrorSums>(sums), pieces,
         params, share, workers, device_state, scratch);
  if (params.non_negative) {
    clamp_rows(stream, tables.item);
    if (plan.has_shared_pieces()) {
      clamp_rows(stream, tables.user);
    }
  }
}

constexpr std::int64_t kMostFactors = 1024;

}  // namespace

void mf_sgd_epoch(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                  const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch, std::int64_t most_blocks) {
  if (plan.ratings() == 0) {
    return;
  }
  const std::int64_t dim = tables.user.cols;
  if (dim > kMostFactors) {
    throw DeviceError("mf_sgd_epoch: a row of more than 1,024 factors does not fit a warp's registers");
  }
  if (plan.deterministic()) {
    mf_sgd_blocks(stream, tables, sums, plan, params, state, scratch);
    return;
  }
  with_sgd_element(tables, [&](auto element, auto vector) {
    launch_epoch<decltype(element), vector.value>(stream, tables, sums, plan, params, state, scratch, most_blocks);
  });
}

}  // namespace curate::cuda
