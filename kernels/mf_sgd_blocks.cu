#include "kernels/mf_sgd_blocks.h"

#include "kernels/error_sums.cuh"
#include "kernels/mf_sgd.cuh"

namespace curate::cuda {
namespace {

// For sm_86 and sm_89 the compiler keeps to 64 registers, of which bf16 spills some. One block of a multiprocessor is
// enough: there are no more groups of lanes than that.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define CURATE_BLOCKS_BOUNDS __launch_bounds__(kBlockThreads, 1)
#else
#define CURATE_BLOCKS_BOUNDS __launch_bounds__(kBlockThreads)
#endif

/// The plan as the kernel takes it.
struct Blocks {
  PlannedRatings ratings;
  const std::int32_t* users;        ///< [ratings] of every rating
  const std::int32_t* starts;       ///< [count^2 + 1] of every block
  const std::int32_t* user_counts;  ///< [users]
  const std::int32_t* item_counts;  ///< [items]
  std::int32_t count;               ///< groups of users, and of items
  std::int32_t round;
  std::uint64_t seed;
};

/// A round of per-rating SGD over blocks that share no row, formulas at ops::MfSgdEpoch.
/// tables.user [users, dim], tables.item [items, dim] of T, biases f32, maybe absent; sums [1]. A group of lanes has
/// group w of the users and the w-th group of the items after the round's first one, and goes through their ratings one
/// after the other, in odd epochs from the last one; the next item's row is on its way meanwhile. Per rating 8 bytes of
/// the plan (12 if ratings are not packed), dim elements read and written, and as many again if the user is
/// another than before; 8 dim flops. Deterministic: as if the blocks came one after the other.
template <typename T, int kVector, int kPacks, bool kNonNegative>
__global__ void CURATE_BLOCKS_BOUNDS mf_sgd_blocks_kernel(Factors<T, float> tables, const float* mean, ErrorSums* sums,
                                                          Blocks plan, MfSgdParams params, RowShare share,
                                                          const StepState* state, ErrorScratch* scratch) {
  using Row = LaneRow<kVector, kPacks>;
  const std::int64_t thread = global_thread();
  const auto lanes = static_cast<int>(share.lanes());
  const Lane place{static_cast<int>(share.lane(thread)), lanes, static_cast<int>(share.packs)};
  const bool first = place.number == 0;
  const RowRates rates(params, *state);
  const float global_mean = *mean;
  const bool backward = state->epoch % 2 == 1;
  const auto worker = share.row(thread);
  bool working = worker < plan.count;
  std::int64_t j = 0;
  std::int64_t left = 0;
  if (working) {
    const std::int64_t item_group = worker + first_item_group(plan.seed, state->epoch, plan.round, plan.count);
    const std::int64_t block = worker * plan.count + item_group % plan.count;
    const std::int64_t begin = __ldg(plan.starts + block);
    const std::int64_t end = __ldg(plan.starts + block + 1);
    left = end - begin;
    j = backward ? end - 1 : begin;
    working = left > 0;
  }
  const std::int64_t direction = backward ? -1 : 1;
  RoundingStream rounding{};  // of 16 bits
  if constexpr (sizeof(T) == 2) {
    rounding = RoundingStream::start(plan.seed, state->epoch, j, place.number);
  }
  ErrorSums own;
  std::int32_t u = -1;
  Row p{};
  float user_bias = 0.0F;
  float user_rate = 0.0F;
  PlannedRating coming{};
  Row next{};
  const auto write_user = [&] {
    store_row(tables.user.row(u), p, place, rounding);
    if (first && tables.user_bias.data != nullptr) {
      __stwb(tables.user_bias.row(u), user_bias);
    }
  };
  if (working) {
    coming = read_rating(plan.ratings, j);
    next = Row::load_shared(tables.item.row(coming.item), place);
  }
  while (true) {
    __syncwarp();
    if (__any_sync(kWholeWarp, working ? 1 : 0) == 0) {
      break;
    }
    const PlannedRating rating = coming;
    Row q = next;
    if (working) {
      const std::int32_t user = __ldg(plan.users + j);
      if (user != u) {
        if (u >= 0) {
          write_user();
        }
        u = user;
        p = Row::load_shared(tables.user.row(u), place);
        user_bias = first && tables.user_bias.data != nullptr ? __ldcg(tables.user_bias.row(u)) : 0.0F;
        user_rate = rates.of(plan.user_counts, u);
      }
      if (left > 1) {
        coming = read_rating(plan.ratings, j + direction);
        next = Row::load_shared(tables.item.row(coming.item), place);
      }
    }
    const std::int32_t i = rating.item;
    const bool item_biased = first && working && tables.item_bias.data != nullptr;
    const float item_bias = item_biased ? __ldcg(tables.item_bias.row(i)) : 0.0F;
    const float dot = group_dot(p, q, user_bias + item_bias, place);
    if (!working) {
      continue;
    }
    const float error = rating.value - (global_mean + dot);
    const float item_rate = rates.of(plan.item_counts, i);
    const Row change = learn<kNonNegative>(p, q, error, user_rate, item_rate, params.reg);
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        float& value = q.pack[k].value[v];
        value += change.pack[k].value[v];
        value = kNonNegative && value < 0.0F ? 0.0F : value;
      }
    }
    store_row(tables.item.row(i), q, place, rounding);
    if (coming.item == i && left > 1) {
      next = Row::load_shared(tables.item.row(i), place);  // what is on its way is old
    }
    if (first) {
      user_bias += tables.user_bias.data == nullptr ? 0.0F : user_rate * (error - params.reg * user_bias);
      if (item_biased) {
        __stwb(tables.item_bias.row(i), item_bias + item_rate * (error - params.reg * item_bias));
      }
      own.squared += static_cast<double>(error) * static_cast<double>(error);
      own.count += 1;
    }
    --left;
    if (left == 0) {
      write_user();
      working = false;
    }
    j += direction;
  }
  add_over_grid(sums, own, scratch);
}

template <typename T>
using Kernel = void (*)(Factors<T, float>, const float*, ErrorSums*, Blocks, MfSgdParams, RowShare, const StepState*,
                        ErrorScratch*);

template <typename T, int kVector, bool kNonNegative>
Kernel<T> kernel_for(std::int64_t packs_per_lane) {
  if constexpr (kVector == 1) {
    return packs_per_lane <= 4 ? mf_sgd_blocks_kernel<T, 1, 4, kNonNegative>
                               : mf_sgd_blocks_kernel<T, 1, 32, kNonNegative>;
  } else {
    return packs_per_lane <= 1 ? mf_sgd_blocks_kernel<T, kVector, 1, kNonNegative>
                               : mf_sgd_blocks_kernel<T, kVector, kMostPacks<kVector>, kNonNegative>;
  }
}

template <typename T, int kVector>
void launch_blocks(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                   const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch) {
  const RowShare share = share_sgd_rows(tables.user.cols, kVector, plan.kernel().lanes, kMostPacks<kVector>);
  const std::int64_t per_lane = divide_up(share.packs, std::int64_t{1} << share.lane_bits);
  const Kernel<T> kernel =
      params.non_negative ? kernel_for<T, kVector, true>(per_lane) : kernel_for<T, kVector, false>(per_lane);
  for (std::int32_t round = 0; round < plan.blocks(); ++round) {
    const Blocks blocks{
        plan.planned(), plan.rating_users(), plan.block_starts(), plan.user_counts(), plan.item_counts(), plan.blocks(),
        round,          plan.seed()};
    launch("mf_sgd_blocks", stream, geometry_for_rows(plan.blocks(), share), kernel, factors_of<T, float>(tables),
           pointer_of<const float>(tables.mean), pointer_of<ErrorSums>(sums), blocks, params, share,
           pointer_of<const StepState>(state), scratch);
  }
}

}  // namespace

void mf_sgd_blocks(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                   const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch) {
  with_sgd_element(tables, [&](auto element, auto vector) {
    launch_blocks<decltype(element), vector.value>(stream, tables, sums, plan, params, state, scratch);
  });
}

}  // namespace curate::cuda
