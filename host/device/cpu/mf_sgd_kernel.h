// The inner loop of mf_sgd_epoch, for vectors of CURATE_WIDTH floats; included once by each of mf_sgd_block_*.cpp,
// which are compiled for different instruction sets. Everything here has internal linkage and includes no code, for
// what is inline with external linkage would be taken from any of them.
//
// Four users at a time, a lane each: their rows stay in registers (of dims that fit) or in the first-level cache while
// their runs of ratings are gone through, and the four predictions of a step are summed across vectors together.
// Sequentially the ratings of a step come in the order of the lanes: users differ, and where items do not the step
// goes rating by rating, so that the result is that of the sequential algorithm, but for rounding.

#include "device/cpu/mf_sgd_block.h"

namespace curate::cpu {
namespace {

constexpr std::size_t kWidth = CURATE_WIDTH;

// Rows are aligned to 4 bytes only.
using Vector [[gnu::vector_size(CURATE_WIDTH * 4), gnu::aligned(4), gnu::may_alias]] = float;
using Four [[gnu::vector_size(16)]] = float;
#if CURATE_WIDTH == 16
using Eight [[gnu::vector_size(32)]] = float;
#endif

#define CURATE_INLINE [[gnu::always_inline]] inline

CURATE_INLINE Vector load(const float* from) {
  return *reinterpret_cast<const Vector*>(from);
}

CURATE_INLINE void store(float* to, Vector value) {
  *reinterpret_cast<Vector*>(to) = value;
}

CURATE_INLINE Vector positive(Vector value) {
  return value < 0.0F ? Vector{} : value;
}

/// Sums of four elements each, at the places of 0..3.
CURATE_INLINE Four fold(Vector v) {
#if CURATE_WIDTH == 16
  const Eight half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif CURATE_WIDTH == 8
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  return v;
#endif
}

/// The sums of four vectors' elements.
CURATE_INLINE Four sums_of(Four a, Four b, Four c, Four d) {
  const Four ab = __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
  const Four cd = __builtin_shufflevector(c, d, 0, 4, 2, 6) + __builtin_shufflevector(c, d, 1, 5, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

CURATE_INLINE Four absolute(Four v) {
  return v < 0.0F ? -v : v;
}

/// To the nearest whole number, ties to even, of anything below 2^22; larger numbers stay.
CURATE_INLINE Four nearest(Four v) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: its units are whole numbers
  return absolute(v) < 4194304.0F ? (v + kShift) - kShift : v;
}

/// Sums in float over some steps, then in double.
struct ErrorLanes {
  Four squared{};
  Four absolute_error{};
  Four whole{};
  std::uint32_t steps = 0;

  CURATE_INLINE void add(Four value, Four prediction, Four error, MfSgdErrors& errors) {
    squared += error * error;
    absolute_error += absolute(error);
    whole += absolute(value - nearest(prediction));
    if (++steps == 64) {
      flush(errors);
    }
  }

  CURATE_INLINE void flush(MfSgdErrors& errors) {
    for (int lane = 0; lane < 4; ++lane) {
      errors.squared += static_cast<double>(squared[lane]);
      errors.absolute += static_cast<double>(absolute_error[lane]);
      errors.absolute_whole_stars += static_cast<double>(whole[lane]);
    }
    *this = {};
  }
};

CURATE_INLINE std::size_t item_of(PackedRating rating) {
  return rating.bits >> 8U;
}
CURATE_INLINE std::size_t item_of(WideRating rating) {
  return static_cast<std::size_t>(rating.item);
}
CURATE_INLINE float value_of(PackedRating rating, const MfSgdBlock& block) {
  return block.grid_start + block.grid_step * static_cast<float>(static_cast<std::int32_t>(rating.bits & 0xFFU));
}
CURATE_INLINE float value_of(WideRating rating, const MfSgdBlock& /*block*/) {
  return rating.rating;
}

/// kVectors: whole vectors of a row, 0 where only block.dim says. kKept: the rows of users stay in registers, which
/// wants that number known and dim a multiple of the width.
template <typename Rating, std::size_t kVectors, bool kKept, bool kUserBias, bool kItemBias>
struct Lane {
  const MfSgdBlock& block;
  const Rating* at = nullptr;
  const Rating* end = nullptr;
  float* row = nullptr;
  float* user_bias = nullptr;
  float bias = 0.0F;
  Vector kept[kKept ? kVectors : 1];

  CURATE_INLINE explicit Lane(const MfSgdBlock& of) : block(of) {}

  CURATE_INLINE std::size_t vectors() const { return kVectors > 0 ? kVectors : block.dim / kWidth; }
  CURATE_INLINE std::ptrdiff_t direction() const { return block.backward ? -1 : 1; }
  CURATE_INLINE std::ptrdiff_t ahead() const { return block.backward ? -kMfSgdAhead : kMfSgdAhead; }
  CURATE_INLINE std::size_t tail() const { return kVectors > 0 ? block.dim : block.dim / kWidth * kWidth; }

  CURATE_INLINE Vector user_vector(std::size_t v) const {
    if constexpr (kKept) {
      return kept[v];
    } else {
      return load(row + v * kWidth);
    }
  }
  CURATE_INLINE void set_user_vector(std::size_t v, Vector value) {
    if constexpr (kKept) {
      kept[v] = value;
    } else {
      store(row + v * kWidth, value);
    }
  }

  /// Starts a run, the n-th.
  CURATE_INLINE void fill(std::uint32_t n) {
    const auto* const ratings = static_cast<const Rating*>(block.ratings);
    const std::uint32_t run = block.order[n];
    const auto user = static_cast<std::size_t>(block.users[run]);
    at = ratings + (run == 0 ? 0 : block.run_ends[run - 1]);
    end = ratings + block.run_ends[run];
    if (block.backward) {
      const Rating* const first = at;
      at = end - 1;
      end = first - 1;
    }
    row = block.user + user * block.user_ld;
    if constexpr (kKept) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        kept[v] = load(row + v * kWidth);
      }
    }
    if constexpr (kUserBias) {
      user_bias = block.user_bias + user * block.user_bias_ld;
      bias = *user_bias;
    }
    // A run to come: its user, and where its ratings begin or end.
    const std::uint32_t ahead = block.order[n + 4 < block.runs ? n + 4 : n];
    const float* const next = block.user + static_cast<std::size_t>(block.users[ahead]) * block.user_ld;
    for (std::size_t k = 0; k < block.dim; k += 16) {
      __builtin_prefetch(next + k, 1, 3);
    }
    __builtin_prefetch(ratings + (block.backward || ahead == 0 ? block.run_ends[ahead] : block.run_ends[ahead - 1]));
  }

  /// Ends it.
  CURATE_INLINE void spill() {
    if constexpr (kKept) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        store(row + v * kWidth, kept[v]);
      }
    }
    if constexpr (kUserBias) {
      *user_bias = bias;
    }
  }

  CURATE_INLINE void prefetch() const {
    const float* const item = block.item + item_of(at[ahead()]) * block.item_ld;
    for (std::size_t k = 0; k < (kVectors > 0 ? kVectors * kWidth : block.dim); k += 16) {
      __builtin_prefetch(item + k, 1, 3);
    }
  }

  /// Products of the factors, to be summed.
  CURATE_INLINE Four products(const float* item) const {
    Four sum{};
    if (kVectors > 0 || vectors() > 0) {
      Vector whole = user_vector(0) * load(item);
      for (std::size_t v = 1; v < vectors(); ++v) {
        whole += user_vector(v) * load(item + v * kWidth);
      }
      sum = fold(whole);
    }
    if constexpr (kVectors == 0) {
      for (std::size_t k = tail(); k < block.dim; ++k) {
        sum[0] += row[k] * item[k];
      }
    }
    return sum;
  }

  /// `step` is the learning rate times the error.
  CURATE_INLINE void update(std::size_t item_id, float* item, float step, float shrink) {
    for (std::size_t v = 0; v < vectors(); ++v) {
      const Vector p = user_vector(v);
      const Vector q = load(item + v * kWidth);
      Vector new_p = shrink * p + step * q;
      Vector new_q = shrink * q + step * p;
      if constexpr (kVectors == 0) {
        if (block.non_negative) {
          new_p = positive(new_p);
          new_q = positive(new_q);
        }
      }
      set_user_vector(v, new_p);
      store(item + v * kWidth, new_q);
    }
    if constexpr (kVectors == 0) {
      for (std::size_t k = tail(); k < block.dim; ++k) {
        const float p = row[k];
        const float new_p = shrink * p + step * item[k];
        const float new_q = shrink * item[k] + step * p;
        row[k] = block.non_negative && new_p < 0.0F ? 0.0F : new_p;
        item[k] = block.non_negative && new_q < 0.0F ? 0.0F : new_q;
      }
    }
    if constexpr (kUserBias) {
      bias = shrink * bias + step;
    }
    if constexpr (kItemBias) {
      float& item_bias = block.item_bias[item_id * block.item_bias_ld];
      item_bias = shrink * item_bias + step;
    }
  }

  CURATE_INLINE Rating next() {
    const Rating rating = *at;
    at += direction();
    return rating;
  }

  /// One rating by itself.
  CURATE_INLINE void single(float shrink, MfSgdErrors& errors) {
    const Rating rating = next();
    const std::size_t id = item_of(rating);
    float* const item = block.item + id * block.item_ld;
    const Four parts = products(item);
    float prediction = block.mean + ((parts[0] + parts[1]) + (parts[2] + parts[3]));
    if constexpr (kUserBias) {
      prediction += bias;
    }
    if constexpr (kItemBias) {
      prediction += block.item_bias[id * block.item_bias_ld];
    }
    const float value = value_of(rating, block);
    const float error = value - prediction;
    errors.squared += static_cast<double>(error * error);
    errors.absolute += static_cast<double>(error < 0.0F ? -error : error);
    const float whole = value - nearest(Four{prediction})[0];
    errors.absolute_whole_stars += static_cast<double>(whole < 0.0F ? -whole : whole);
    update(id, item, block.learning_rate * error, shrink);
  }

  CURATE_INLINE void finish(float shrink, MfSgdErrors& errors) {
    while (at != end) {
      single(shrink, errors);
    }
    spill();
  }
};

template <typename Rating, std::size_t kVectors, bool kKept, bool kUserBias, bool kItemBias>
void run_block(const MfSgdBlock& block, MfSgdErrors& errors) {
  using OneLane = Lane<Rating, kVectors, kKept, kUserBias, kItemBias>;
  const float shrink = 1.0F - block.learning_rate * block.reg;
  std::uint32_t next = 0;
  OneLane a(block);
  OneLane b(block);
  OneLane c(block);
  OneLane d(block);
  if (block.runs < 4) {
    while (next < block.runs) {
      a.fill(next++);
      a.finish(shrink, errors);
    }
    return;
  }
  a.fill(next++);
  b.fill(next++);
  c.fill(next++);
  d.fill(next++);
  ErrorLanes lanes;
  while (true) {
    // A lane whose run has ended takes the next one. When there is none left the others are finished one by one.
    OneLane* ended = nullptr;
    const auto refill = [&](OneLane & lane) __attribute__((always_inline)) {
      if (ended == nullptr && lane.at == lane.end) [[unlikely]] {
        lane.spill();
        if (next < block.runs) {
          lane.fill(next++);
        } else {
          ended = &lane;
        }
      }
    };
    refill(a);
    refill(b);
    refill(c);
    refill(d);
    if (ended != nullptr) [[unlikely]] {
      if (ended != &a) {
        a.finish(shrink, errors);
      }
      if (ended != &b) {
        b.finish(shrink, errors);
      }
      if (ended != &c) {
        c.finish(shrink, errors);
      }
      if (ended != &d) {
        d.finish(shrink, errors);
      }
      break;
    }
    a.prefetch();
    b.prefetch();
    c.prefetch();
    d.prefetch();
    const std::size_t ia = item_of(*a.at);
    const std::size_t ib = item_of(*b.at);
    const std::size_t ic = item_of(*c.at);
    const std::size_t id = item_of(*d.at);
    if (ia == ib || ia == ic || ia == id || ib == ic || ib == id || ic == id) [[unlikely]] {
      a.single(shrink, errors);
      b.single(shrink, errors);
      c.single(shrink, errors);
      d.single(shrink, errors);
      continue;
    }
    float* const qa = block.item + ia * block.item_ld;
    float* const qb = block.item + ib * block.item_ld;
    float* const qc = block.item + ic * block.item_ld;
    float* const qd = block.item + id * block.item_ld;
    Four prediction = sums_of(a.products(qa), b.products(qb), c.products(qc), d.products(qd)) + block.mean;
    if constexpr (kUserBias) {
      prediction += Four{a.bias, b.bias, c.bias, d.bias};
    }
    if constexpr (kItemBias) {
      const auto bias_of = [&](std::size_t item) { return block.item_bias[item * block.item_bias_ld]; };
      prediction += Four{bias_of(ia), bias_of(ib), bias_of(ic), bias_of(id)};
    }
    const Four value = {value_of(a.next(), block), value_of(b.next(), block), value_of(c.next(), block),
                        value_of(d.next(), block)};
    const Four error = value - prediction;
    lanes.add(value, prediction, error, errors);
    const Four step = error * block.learning_rate;
    a.update(ia, qa, step[0], shrink);
    b.update(ib, qb, step[1], shrink);
    c.update(ic, qc, step[2], shrink);
    d.update(id, qd, step[3], shrink);
  }
  lanes.flush(errors);
}

template <typename Rating, bool kUserBias, bool kItemBias>
void run_dim(const MfSgdBlock& block, MfSgdErrors& errors) {
  // Registers: four lanes of up to four vectors where there are 32, of two where there are 16.
  constexpr std::size_t kMostKept = CURATE_WIDTH == 16 ? 4 : 2;
  const std::size_t vectors = block.dim % kWidth == 0 && !block.non_negative ? block.dim / kWidth : 0;
  if constexpr (kUserBias == kItemBias) {
    switch (vectors) {
      case 1:
        return run_block<Rating, 1, true, kUserBias, kItemBias>(block, errors);
      case 2:
        return run_block<Rating, 2, true, kUserBias, kItemBias>(block, errors);
      case 4:
        return run_block<Rating, 4, (4 <= kMostKept), kUserBias, kItemBias>(block, errors);
      case 8:
        return run_block<Rating, 8, false, kUserBias, kItemBias>(block, errors);
      default:
        break;
    }
  }
  run_block<Rating, 0, false, kUserBias, kItemBias>(block, errors);
}

template <typename Rating>
void run_biases(const MfSgdBlock& block, MfSgdErrors& errors) {
  if (block.user_bias != nullptr) {
    return block.item_bias != nullptr ? run_dim<Rating, true, true>(block, errors)
                                      : run_dim<Rating, true, false>(block, errors);
  }
  return block.item_bias != nullptr ? run_dim<Rating, false, true>(block, errors)
                                    : run_dim<Rating, false, false>(block, errors);
}

CURATE_INLINE void run(const MfSgdBlock& block, MfSgdErrors& errors) {
  if (block.packed) {
    run_biases<PackedRating>(block, errors);
  } else {
    run_biases<WideRating>(block, errors);
  }
}

}  // namespace
}  // namespace curate::cpu
