#pragma once

#include <cuda_runtime.h>

#include <type_traits>

#include "kernels/mf_epoch_plan.h"
#include "kernels/mf_rows.cuh"
#include "support/philox.h"

namespace curate::cuda {

// What the kernels of mf_sgd_epoch share.

/// A rating as a plan has it.
struct PlannedRating {
  std::int32_t item;
  bool hot;  ///< its item's changes are gathered in shared memory
  float value;
};

__device__ inline PlannedRating read_rating(const PlannedRatings& ratings, std::int64_t j) {
  if (ratings.packed != nullptr) {
    const std::uint32_t bits = __ldg(ratings.packed + j);
    return {static_cast<std::int32_t>(bits >> kPackedItemShift), (bits & kPackedHot) != 0,
            ratings.grid.rating_at(static_cast<float>(bits & kPackedPlaces))};
  }
  return {__ldg(&ratings.wide[j].item), false, __ldg(&ratings.wide[j].rating)};
}

/// A lane's place in the group that has a rating in hand. Numbers of 32 bits: rows are short.
struct Lane {
  int number;
  int lanes;
  int packs;  ///< of a row
};

/// Returns `value`, which the compiler takes for another number at each call. Otherwise, from sm_100 on, it would work
/// out the places of 32 packs once, before the loop over ratings, and spill them; working them out again costs an
/// instruction a pack.
__device__ inline int opaque(int value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  asm volatile("mov.b32 %0, %0;" : "+r"(value));
#endif
  return value;
}

/// A lane's packs of a row: every `lanes`-th, from its own number on.
template <int kVector, int kPacks>
struct LaneRow {
  Pack<kVector> pack[kPacks];

  /// each(pack, n) for the lane's packs, the n-th of the row.
  template <typename Each>
  __device__ static void visit(const Lane& lane, Each each) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int n = lane.number + p * (kPacks == 32 ? opaque(lane.lanes) : lane.lanes);
      if (n < lane.packs) {
        each(p, n);
      }
    }
  }

  template <typename T>
  __device__ static LaneRow load(const T* row, const Lane& lane) {
    LaneRow own{};
    visit(lane, [&](int p, int n) { own.pack[p] = Pack<kVector>::load_global(row + n * kVector); });
    return own;
  }

  /// Past the L1 cache, which does not see what other multiprocessors add.
  template <typename T>
  __device__ static LaneRow load_shared(const T* row, const Lane& lane) {
    LaneRow own{};
    visit(lane, [&](int p, int n) { own.pack[p] = Pack<kVector>::load_shared(row + n * kVector); });
    return own;
  }
};

/// A lane's random bits for rounding, 16 for every element that it writes: four linear congruential generators (the
/// constants: O'Neill 2014, "PCG"), which Philox starts anew for every stretch of ratings. Rounding needs bits that are
/// spread evenly, and a Philox for every row would cost more than the rest of a rating.
struct RoundingStream {
  PhiloxWords words;

  __device__ static RoundingStream start(std::uint64_t seed, std::int64_t epoch, std::int64_t rating, int lane) {
    constexpr std::int64_t kMostLanes = 32;
    return {philox(seed, static_cast<std::uint64_t>(rating * kMostLanes + lane), static_cast<std::uint32_t>(epoch),
                   RandomPurpose::rounding_item)};
  }

  __device__ RoundingBits next() {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      words.word[k] = words.word[k] * 747796405U + 2891336453U;
    }
    return {words};
  }
};

template <typename T, int kVector>
__device__ RoundedPack<T, kVector> rounded(const Pack<kVector>& pack, const RoundingBits& bits) {
  RoundedPack<T, kVector> result;
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    result.value[i] = to_stochastic<T>(pack.value[i], bits.of(i));
  }
  return result;
}

/// Writes a row that nobody else has in hand.
template <typename T, int kVector, int kPacks>
__device__ void store_row(T* row, const LaneRow<kVector, kPacks>& values, const Lane& lane, RoundingStream& rounding) {
  values.visit(lane, [&](int p, int n) {
    if constexpr (sizeof(T) == 4) {
      values.pack[p].store_global(row + n * kVector);
    } else {
      rounded<T>(values.pack[p], rounding.next()).store_global(row + n * kVector);
    }
  });
}

/// row += change, by reductions. `before` is the row as it was read. In 16 bits before + change is rounded
/// stochastically, and its difference to `before` is added, so that nothing of what others add meanwhile is lost.
/// kScalar: element by element, in 16 bits pair by pair.
template <bool kScalar, typename T, int kVector, int kPacks>
__device__ void add_to_row(T* row, const LaneRow<kVector, kPacks>& before, const LaneRow<kVector, kPacks>& change,
                           const Lane& lane, RoundingStream& rounding) {
  change.visit(lane, [&](int p, int n) {
    if constexpr (sizeof(T) == 4) {
      if constexpr (kScalar) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          reduce_add(row + n * kVector + i, change.pack[p].value[i]);
        }
      } else {
        reduce_add(row + n * kVector, change.pack[p]);
      }
    } else {
      const RoundingBits bits = rounding.next();
      RoundedPack<T, kVector> step;
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float old = before.pack[p].value[i];
        const T sum = to_stochastic<T>(old + change.pack[p].value[i], bits.of(i));
        step.value[i] = to_nearest<T>(to_float(sum) - old);
      }
      if constexpr (kScalar) {
#pragma unroll
        for (int i = 0; i < kVector; i += 2) {
          reduce_add_pair(row + n * kVector + i, pair_of(step.value + i));
        }
      } else {
        reduce_add(row + n * kVector, step);
      }
    }
  });
}

/// The dot product, in all lanes of the group, `addend` counted once. All 32 lanes of the warp must call it.
template <int kVector, int kPacks>
__device__ float group_dot(const LaneRow<kVector, kPacks>& p, const LaneRow<kVector, kPacks>& q, float addend,
                           const Lane& lane) {
  float dot = lane.number == 0 ? addend : 0.0F;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      dot += p.pack[k].value[v] * q.pack[k].value[v];
    }
  }
  for (int bit = 1; bit < lane.lanes; bit *= 2) {
    dot += __shfl_xor_sync(kWholeWarp, dot, bit);
  }
  return dot;
}

/// p takes its step; what q has to change by is returned.
template <bool kNonNegative, int kVector, int kPacks>
__device__ LaneRow<kVector, kPacks> learn(LaneRow<kVector, kPacks>& p, const LaneRow<kVector, kPacks>& q, float error,
                                          float user_rate, float item_rate, float reg) {
  LaneRow<kVector, kPacks> change;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      float& a = p.pack[k].value[v];
      const float b = q.pack[k].value[v];
      float delta = item_rate * (error * a - reg * b);
      a += user_rate * (error * b - reg * a);
      if constexpr (kNonNegative) {
        a = a < 0.0F ? 0.0F : a;
        delta = delta < -b ? -b : delta;
      }
      change.pack[k].value[v] = delta;
    }
  }
  return change;
}

/// Learning rates of rows, formulas at ops::MfSgdEpoch.
struct RowRates {
  float learning_rate;
  float decay;  ///< rate_decay (epoch + 1/2)

  __device__ RowRates(const MfSgdParams& params, const StepState& state)
      : learning_rate(state.learning_rate), decay(params.rate_decay * (static_cast<float>(state.epoch) + 0.5F)) {}

  /// By a row's number of ratings.
  __device__ float of(const std::int32_t* counts, std::int64_t row) const {
    return decay == 0.0F ? learning_rate
                         : learning_rate * rsqrtf(1.0F + decay * static_cast<float>(__ldg(counts + row)));
  }
};

/// Packs that a lane has of a row, at most: 32 elements.
template <int kVector>
constexpr int kMostPacks = 32 / kVector;

/// body(T(), elements of a pack) for the tables' type and layout. In f32, elements left over at the end of a row would
/// need code of their own: if there are some, packs are single elements.
template <typename Body>
void with_sgd_element(const MfTables& tables, const Body& body) {
  with_element(tables.user.dtype, [&](auto element) {
    if constexpr (sizeof(element) == 2) {
      body(element, std::integral_constant<int, 8>());
    } else if (tables.user.cols % 4 == 0 && vector_width(tables.user.cols, tables.user, tables.item) == 4) {
      body(element, std::integral_constant<int, 4>());
    } else {
      body(element, std::integral_constant<int, 1>());
    }
  });
}

/// How rows are shared among lanes: of `lanes` to a rating (0: as many as there are packs, up to a warp), but no more
/// than `most` packs to a lane.
inline RowShare share_sgd_rows(std::int64_t dim, int vector, std::int32_t lanes, std::int64_t most) {
  RowShare share = share_rows(dim, vector);
  int lane_bits = 0;
  while (lane_bits < kMostLaneBits && divide_up(share.packs, std::int64_t{1} << lane_bits) > most) {
    ++lane_bits;
  }
  while (lane_bits < share.lane_bits && (lanes == 0 || (std::int64_t{1} << lane_bits) < lanes)) {
    ++lane_bits;
  }
  share.lane_bits = lane_bits;
  return share;
}

}  // namespace curate::cuda
