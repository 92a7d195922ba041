// The inner loop of mf_sgd_epoch, for vectors of CURATE_WIDTH floats; included once by each of mf_sgd_block_*.cpp,
// which are compiled for different instruction sets. Everything here has internal linkage and includes no code, for
// what is inline with external linkage would be taken from any of them.
//
// Several users at a time, a lane each, in groups of up to four lanes. Their rows stay in registers (of dims that fit)
// or in the first-level cache while their runs of ratings are gone through, and the predictions of a group are summed
// across vectors together. A rating waits for the one before it in its lane, some 50 cycles: where registers allow it
// a second group works meanwhile. Sequentially the ratings of a step come in the order of the lanes: users differ, and
// where items do not the step goes rating by rating, so that the result is that of the sequential algorithm, but for
// rounding.
//
// With s = 1 - lr * reg and t = lr * e a rating does p' = s p + t q, q' = s q + t p. Users' rows are kept as p / c, c
// the power of s that is due, which saves a multiplication of each: (p / c)' = p / c + t / (c s) q. c starts at 1 with
// every stretch of steps.

#include <utility>

#include "device/cpu/mf_sgd_block.h"
#if CURATE_WIDTH == 16
#include <immintrin.h>  // always inlined
#endif

namespace curate::cpu {
namespace {

constexpr std::size_t kWidth = CURATE_WIDTH;
/// A vector has four parts, one for each lane of a group.
constexpr std::size_t kPart = kWidth / 4;
/// Floats of a cache line; a row of lanes and of items has whole ones.
constexpr std::size_t kLine = 16;

// Rows are aligned to 4 bytes only.
using Vector [[gnu::vector_size(CURATE_WIDTH * 4), gnu::aligned(4), gnu::may_alias]] = float;
using Words [[gnu::vector_size(CURATE_WIDTH * 4)]] = std::int32_t;

#define CURATE_INLINE [[gnu::always_inline]] inline
#define CURATE_INLINE_LAMBDA __attribute__((always_inline))

CURATE_INLINE Vector load(const float* from) {
  return *reinterpret_cast<const Vector*>(from);
}

CURATE_INLINE void store(float* to, Vector value) {
  *reinterpret_cast<Vector*>(to) = value;
}

/// The same address, but the compiler does not know it: it loads what is there again. Kept meanwhile it would push
/// users' rows out of the registers.
template <typename T>
CURATE_INLINE T* again(T* address) {
  asm("" : "+r"(address));
  return address;
}

CURATE_INLINE Vector positive(Vector value) {
  return value < 0.0F ? Vector{} : value;
}

template <std::size_t n>
struct Constant {
  static constexpr std::size_t value = n;
};

/// body(Constant<0>()), ..., body(Constant<count - 1>()), without a loop: what is indexed stays in registers.
template <std::size_t count, typename Body>
CURATE_INLINE void each(const Body& body) {
  [&]<std::size_t... n>(std::index_sequence<n...>) CURATE_INLINE_LAMBDA {
    (body(Constant<n>()), ...);
  }
  (std::make_index_sequence<count>());
}

#if CURATE_WIDTH == 16

/// Part l of the result: the sum of the l-th vector, in every element.
CURATE_INLINE Vector sums_of(Vector a, Vector b, Vector c, Vector d) {
  const Vector ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                    __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  const Vector cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                    __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  Vector all = __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
               __builtin_shufflevector(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  all += __builtin_shufflevector(all, all, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  return all + __builtin_shufflevector(all, all, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}

/// Part l: the l-th value.
CURATE_INLINE Words spread(std::int32_t a, std::int32_t b, std::int32_t c, std::int32_t d) {
  // Broadcasts from memory, where the values come from, are cheaper than what the compiler makes of a list.
  __m512i all = _mm512_maskz_set1_epi32(0x000F, a);
  all = _mm512_mask_set1_epi32(all, 0x00F0, b);
  all = _mm512_mask_set1_epi32(all, 0x0F00, c);
  return reinterpret_cast<Words>(_mm512_mask_set1_epi32(all, 0xF000, d));
}

/// Part l in every element.
template <std::size_t l>
CURATE_INLINE Vector part(Vector v) {
  constexpr int k = 4 * l;
  return __builtin_shufflevector(v, v, k, k + 1, k + 2, k + 3, k, k + 1, k + 2, k + 3, k, k + 1, k + 2, k + 3, k, k + 1,
                                 k + 2, k + 3);
}

#elif CURATE_WIDTH == 8

CURATE_INLINE Vector sums_of(Vector a, Vector b, Vector c, Vector d) {
  const Vector ac = __builtin_shufflevector(a, c, 0, 1, 2, 3, 8, 9, 10, 11) +
                    __builtin_shufflevector(a, c, 4, 5, 6, 7, 12, 13, 14, 15);
  const Vector bd = __builtin_shufflevector(b, d, 0, 1, 2, 3, 8, 9, 10, 11) +
                    __builtin_shufflevector(b, d, 4, 5, 6, 7, 12, 13, 14, 15);
  const Vector all = __builtin_shufflevector(ac, bd, 0, 1, 8, 9, 4, 5, 12, 13) +
                     __builtin_shufflevector(ac, bd, 2, 3, 10, 11, 6, 7, 14, 15);
  return all + __builtin_shufflevector(all, all, 1, 0, 3, 2, 5, 4, 7, 6);
}

CURATE_INLINE Words spread(std::int32_t a, std::int32_t b, std::int32_t c, std::int32_t d) {
  return Words{a, a, b, b, c, c, d, d};
}

template <std::size_t l>
CURATE_INLINE Vector part(Vector v) {
  constexpr int k = 2 * l;
  return __builtin_shufflevector(v, v, k, k, k, k, k, k, k, k);
}

#else

CURATE_INLINE Vector sums_of(Vector a, Vector b, Vector c, Vector d) {
  const Vector ab = __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
  const Vector cd = __builtin_shufflevector(c, d, 0, 4, 2, 6) + __builtin_shufflevector(c, d, 1, 5, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

CURATE_INLINE Words spread(std::int32_t a, std::int32_t b, std::int32_t c, std::int32_t d) {
  return Words{a, b, c, d};
}

template <std::size_t l>
CURATE_INLINE Vector part(Vector v) {
  return __builtin_shufflevector(v, v, l, l, l, l);
}

#endif

/// Part l, zeros elsewhere.
template <std::size_t l>
CURATE_INLINE Vector only(Vector v) {
  Words mask{};
  for (std::size_t k = l * kPart; k < (l + 1) * kPart; ++k) {
    mask[k] = -1;
  }
  return reinterpret_cast<Vector>(reinterpret_cast<Words>(v) & mask);
}

/// v with part l replaced.
template <std::size_t l>
CURATE_INLINE Vector with(Vector v, float value) {
  Words mask{};
  for (std::size_t k = l * kPart; k < (l + 1) * kPart; ++k) {
    mask[k] = -1;
  }
  return mask != 0 ? Vector{} + value : v;
}

CURATE_INLINE Vector spread_floats(float a, float b, float c, float d) {
  return reinterpret_cast<Vector>(spread(__builtin_bit_cast(std::int32_t, a), __builtin_bit_cast(std::int32_t, b),
                                         __builtin_bit_cast(std::int32_t, c), __builtin_bit_cast(std::int32_t, d)));
}

CURATE_INLINE float total(Vector v) {
  float sum = 0.0F;
  for (std::size_t k = 0; k < kWidth; ++k) {
    sum += v[k];
  }
  return sum;
}

CURATE_INLINE std::size_t slot_of(PackedRating rating) {
  return rating.bits >> 8U;
}
CURATE_INLINE std::size_t slot_of(WideRating rating) {
  return static_cast<std::size_t>(rating.slot);
}
CURATE_INLINE float value_of(PackedRating rating, const MfSgdBlock& block) {
  return block.grid_start + block.grid_step * static_cast<float>(static_cast<std::int32_t>(rating.bits & 0xFFU));
}
CURATE_INLINE float value_of(WideRating rating, const MfSgdBlock& /*block*/) {
  return rating.rating;
}
/// Part l: the l-th rating less the mean.
CURATE_INLINE Vector deviations(PackedRating a, PackedRating b, PackedRating c, PackedRating d,
                                const MfSgdBlock& block) {
  const Words words = spread(static_cast<std::int32_t>(a.bits), static_cast<std::int32_t>(b.bits),
                             static_cast<std::int32_t>(c.bits), static_cast<std::int32_t>(d.bits));
  return __builtin_convertvector(words & 0xFF, Vector) * block.grid_step + (block.grid_start - block.mean);
}
CURATE_INLINE Vector deviations(WideRating a, WideRating b, WideRating c, WideRating d, const MfSgdBlock& block) {
  return spread_floats(a.rating, b.rating, c.rating, d.rating) - block.mean;
}

/// `vectors` of a row, 0: only the block says how many, and rows stay in memory; `groups` of `lanes` users each.
template <std::size_t vectors, std::size_t groups, std::size_t lanes>
struct Shape {
  static constexpr std::size_t kVectors = vectors;
  static constexpr std::size_t kGroups = groups;
  static constexpr std::size_t kLanes = lanes;
  static constexpr std::size_t kAllLanes = groups * lanes;
  /// About 24 rows under way.
  static constexpr std::ptrdiff_t kAhead = kAllLanes >= 12 ? 2 : kAllLanes >= 6 ? 3 : kMfSgdAhead;
  static_assert(kAllLanes <= kMfSgdMostLanes && (lanes == 3 || lanes == 4));
};

template <typename Rating>
struct Lane {
  const Rating* at;     ///< the next rating
  std::ptrdiff_t left;  ///< ratings of the run
  float* user;
  float* user_bias;
};

/// kRates: rows have learning rates of their own.
template <typename Rating, typename Of, bool kBiased, bool kRates, bool kNonNegative>
struct Kernel {
  static constexpr std::size_t kVectors = Of::kVectors;
  static constexpr std::size_t kLanes = Of::kLanes;
  static constexpr std::size_t kAllLanes = Of::kAllLanes;
  // With a single vector there is nothing to save.
  static constexpr bool kScaled = kVectors != 1;

  const MfSgdBlock& block;
  const std::ptrdiff_t direction = block.backward ? -1 : 1;
  const float user_biases_learn = block.user_bias != nullptr ? 1.0F : 0.0F;
  const float item_biases_learn = block.item_biases_learn ? 1.0F : 0.0F;
  Lane<Rating> lanes[kAllLanes];
  float biases[Of::kGroups * 4] = {};
  float rates[Of::kGroups * 4] = {};  ///< of the users in hand
  std::uint32_t next = 0;             ///< run
  double squared = 0.0;

  CURATE_INLINE explicit Kernel(const MfSgdBlock& of) : block(of) {}

  CURATE_INLINE std::size_t vectors() const { return kVectors > 0 ? kVectors : block.stride / kWidth; }
  CURATE_INLINE std::size_t stride() const { return kVectors > 0 && kWidth == 16 ? kVectors * kWidth : block.stride; }
  /// Of a lane in `biases` and `rates`.
  static constexpr std::size_t place_of(std::size_t lane) { return lane / kLanes * 4 + lane % kLanes; }
  CURATE_INLINE float* row(std::size_t lane) const { return block.lane_rows + lane * stride(); }

  /// Starts the next run.
  CURATE_INLINE void fill(std::size_t l) {
    const auto* const ratings = static_cast<const Rating*>(block.ratings);
    const MfSgdRun run = block.runs[next];
    const auto user = static_cast<std::size_t>(run.user);
    Lane<Rating>& lane = lanes[l];
    lane.at = ratings + (block.backward ? run.end - 1 : run.begin);
    lane.left = static_cast<std::ptrdiff_t>(run.end - run.begin);
    lane.user = block.user + user * block.user_ld;
    float* const to = row(l);
    std::size_t k = 0;
    for (; k + kWidth <= block.dim; k += kWidth) {
      store(to + k, load(lane.user + k));
    }
    for (; k < block.dim; ++k) {
      to[k] = lane.user[k];
    }
    for (; k < stride(); ++k) {
      to[k] = 0.0F;
    }
    if constexpr (kRates) {
      rates[place_of(l)] = block.user_rates[user];
    }
    if (kBiased && block.user_bias != nullptr) {
      lane.user_bias = block.user_bias + user * block.user_bias_ld;
      biases[place_of(l)] = *lane.user_bias;
    }
    // A run to come: its user, and its ratings, of which the processor would fetch the first ones too late.
    const MfSgdRun coming = block.runs[next + kAllLanes < block.num_runs ? next + kAllLanes : next];
    const auto coming_user = static_cast<std::size_t>(coming.user);
    for (std::size_t c = 0; c < block.dim; c += 16) {
      __builtin_prefetch(block.user + coming_user * block.user_ld + c, 1, 3);
    }
    if (kBiased && block.user_bias != nullptr) {
      __builtin_prefetch(block.user_bias + coming_user * block.user_bias_ld, 1, 3);
    }
    if constexpr (kRates) {
      __builtin_prefetch(block.user_rates + coming_user);
    }
    constexpr std::ptrdiff_t kMost = 512 / sizeof(Rating);
    constexpr std::ptrdiff_t kLine = 64 / sizeof(Rating);
    const std::ptrdiff_t last = static_cast<std::ptrdiff_t>(coming.end - coming.begin) - 1;
    const Rating* const first = ratings + (block.backward ? coming.end - 1 : coming.begin);
    for (std::ptrdiff_t ahead = 0; ahead < (last < kMost ? last : kMost); ahead += kLine) {
      __builtin_prefetch(first + ahead * direction);
    }
    __builtin_prefetch(first + (last < kMost ? last : kMost) * direction);
    ++next;
  }

  /// Ends a run.
  CURATE_INLINE void spill(std::size_t l) {
    const float* const from = row(l);
    std::size_t k = 0;
    for (; k + kWidth <= block.dim; k += kWidth) {
      store(lanes[l].user + k, load(from + k));
    }
    for (; k < block.dim; ++k) {
      lanes[l].user[k] = from[k];
    }
    if (kBiased && block.user_bias != nullptr) {
      *lanes[l].user_bias = biases[place_of(l)];
    }
  }

  /// One rating of a lane by itself.
  void single(std::size_t l) {
    const Rating rating = *lanes[l].at;
    lanes[l].at += direction;
    --lanes[l].left;
    const std::size_t slot = slot_of(rating);
    float* const p = row(l);
    float* const q = block.item + slot * stride();
    Vector products{};
    for (std::size_t v = 0; v < vectors(); ++v) {
      products += load(p + v * kWidth) * load(q + v * kWidth);
    }
    float error = value_of(rating, block) - block.mean - total(products);
    float& user_bias = biases[place_of(l)];
    if constexpr (kBiased) {
      error -= user_bias + block.item_bias[slot];
    }
    squared += static_cast<double>(error) * static_cast<double>(error);
    const float user_rate = kRates ? block.learning_rate * rates[place_of(l)] : block.learning_rate;
    const float item_rate = kRates ? block.learning_rate * block.item_rates[slot] : block.learning_rate;
    const float shrink_user = 1.0F - user_rate * block.reg;
    const float shrink_item = 1.0F - item_rate * block.reg;
    for (std::size_t v = 0; v < vectors(); ++v) {
      const Vector old_p = load(p + v * kWidth);
      const Vector old_q = load(q + v * kWidth);
      const Vector new_p = shrink_user * old_p + user_rate * error * old_q;
      const Vector new_q = shrink_item * old_q + item_rate * error * old_p;
      store(p + v * kWidth, kNonNegative ? positive(new_p) : new_p);
      store(q + v * kWidth, kNonNegative ? positive(new_q) : new_q);
    }
    if constexpr (kBiased) {
      user_bias = user_biases_learn * (shrink_user * user_bias + user_rate * error);
      block.item_bias[slot] = item_biases_learn * (shrink_item * block.item_bias[slot] + item_rate * error);
    }
  }

  /// All runs, a rating of every lane in turn, until there is none left for a lane whose run has ended. The lanes'
  /// rows, biases and places are then in memory.
  CURATE_INLINE void interleave() {
    const std::ptrdiff_t longest = longest_stretch();
    const std::size_t columns = stride();
    float* const rows = block.lane_rows;
    Vector kept[kAllLanes][kVectors > 0 ? kVectors : 1];
    const Rating* at[kAllLanes];
    // What users shrink by, its inverse, c, and 1 / (c s): by part where rates differ, else one for all.
    constexpr std::size_t kScales = kRates ? Of::kGroups : 1;
    Vector user_bias[Of::kGroups] = {};
    Vector user_rates[kScales] = {};
    Vector shrinks[kScales];
    Vector grows[kScales];
    Vector scales[kScales];
    Vector user_scales[kScales];
    const auto start_scales = [&]() CURATE_INLINE_LAMBDA {
      each<kScales>([&](auto g) CURATE_INLINE_LAMBDA {
        shrinks[g.value] = 1.0F - block.learning_rate * block.reg * (kRates ? user_rates[g.value] : Vector{} + 1.0F);
        grows[g.value] = 1.0F / shrinks[g.value];
        scales[g.value] = Vector{} + 1.0F;
        user_scales[g.value] = grows[g.value];
      });
    };
    /// c of a lane, in all parts.
    const auto due = [&](auto l) CURATE_INLINE_LAMBDA {
      return kRates ? part<l.value % kLanes>(scales[kRates ? l.value / kLanes : 0]) : scales[0];
    };
    /// A lane's row, bias and place, into memory and from there.
    const auto put = [&](auto l) CURATE_INLINE_LAMBDA {
      lanes[l.value].at = at[l.value];
      float* const to = row(l.value);
      const Vector c = due(l);
      if constexpr (kVectors == 0) {
        for (std::size_t v = 0; v < vectors(); ++v) {
          store(to + v * kWidth, c * load(to + v * kWidth));
        }
      } else {
        each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
          store(to + v.value * kWidth, kScaled ? c * kept[l.value][v.value] : kept[l.value][v.value]);
        });
      }
      if constexpr (kBiased) {
        biases[place_of(l.value)] = user_bias[l.value / kLanes][l.value % kLanes * kPart];
      }
    };
    const auto get = [&](auto l) CURATE_INLINE_LAMBDA {
      constexpr std::size_t kGroup = l.value / kLanes;
      constexpr std::size_t kLane = l.value % kLanes;
      at[l.value] = lanes[l.value].at;
      if constexpr (kBiased) {
        user_bias[kGroup] = with<kLane>(user_bias[kGroup], biases[place_of(l.value)]);
      }
      Vector inverse{};
      if constexpr (kRates) {
        user_rates[kGroup] = with<kLane>(user_rates[kGroup], rates[place_of(l.value)]);
        const float shrink = 1.0F - block.learning_rate * block.reg * rates[place_of(l.value)];
        shrinks[kGroup] = with<kLane>(shrinks[kGroup], shrink);
        grows[kGroup] = with<kLane>(grows[kGroup], 1.0F / shrink);
        scales[kGroup] = with<kLane>(scales[kGroup], 1.0F);
        user_scales[kGroup] = with<kLane>(user_scales[kGroup], 1.0F / shrink);
      } else {
        inverse = user_scales[0] * shrinks[0];
      }
      float* const from = row(l.value);
      if constexpr (kVectors == 0) {
        for (std::size_t v = 0; v < vectors() && !kRates; ++v) {
          store(from + v * kWidth, inverse * load(from + v * kWidth));
        }
      } else {
        each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
          const Vector p = load(from + v.value * kWidth);
          kept[l.value][v.value] = kScaled && !kRates ? inverse * p : p;
        });
      }
    };
    Vector errors{};
    std::ptrdiff_t k = 0;

    /// The next rating of `count` lanes of a group from its lane `from` on: of all, or of one, which then has all
    /// parts.
    const auto step = [&](auto group, auto from, auto count) CURATE_INLINE_LAMBDA {
      constexpr std::size_t kCount = count.value;
      constexpr std::size_t kFirst = group.value * kLanes + from.value;
      constexpr bool kAlone = kCount == 1 && kLanes > 1;
      constexpr std::size_t kScale = kRates ? group.value : 0;
      // Of a lane by itself in all parts.
      const auto own = [&](Vector v) CURATE_INLINE_LAMBDA { return kAlone && kRates ? part<from.value>(v) : v; };
      Rating ratings[4];
      std::size_t slots[4];
      float* items[4];
      Vector products[4];
      each<4>([&](auto n) CURATE_INLINE_LAMBDA {
        // A group of three has one of its lanes twice.
        constexpr std::size_t l = n.value < kCount ? n.value : kCount - 1;
        ratings[n.value] = at[kFirst + l][k];
        slots[n.value] = slot_of(ratings[n.value]);
        items[n.value] = block.item + slots[n.value] * stride();
      });
      if constexpr (kVectors == 0) {
        const float* const p = rows + kFirst * columns;
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA { products[l.value] = Vector{}; });
        for (std::size_t c = 0; c < columns; c += kLine) {
          each<kLine / kWidth>([&](auto v) CURATE_INLINE_LAMBDA {
            each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
              products[l.value] +=
                  load(p + l.value * columns + c + v.value * kWidth) * load(items[l.value] + c + v.value * kWidth);
            });
          });
        }
      } else {
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
          // Two sums: shorter chains.
          Vector sum[2] = {};
          each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
            const Vector product = kept[kFirst + l.value][v.value] * load(items[l.value] + v.value * kWidth);
            sum[v.value % 2] = v.value < 2 ? product : sum[v.value % 2] + product;
          });
          products[l.value] = kVectors > 1 ? sum[0] + sum[1] : sum[0];
        });
      }
      constexpr std::size_t kLast = kCount - 1;
      const Vector sums =
          sums_of(products[0], products[kLast < 1 ? kLast : 1], products[kLast < 2 ? kLast : 2], products[kLast]);
      Vector error = deviations(ratings[0], ratings[1], ratings[2], ratings[3], block);
      error -= kScaled ? own(scales[kScale]) * sums : sums;
      Vector& own_bias = user_bias[group.value];
      Vector old_user_bias{};
      Vector item_bias{};
      if constexpr (kBiased) {
        const float* const b = block.item_bias;
        item_bias = spread_floats(b[slots[0]], b[slots[1]], b[slots[2]], b[slots[3]]);
        old_user_bias = kAlone ? part<from.value>(own_bias) : own_bias;
        error -= old_user_bias + item_bias;
      }
      errors += kAlone ? only<from.value>(error * error) : error * error;
      const Vector learnt = error * block.learning_rate;
      Vector learnt_user = learnt;
      Vector learnt_item = learnt;
      Vector shrink_item{};
      if constexpr (kRates) {
        const float* const r = block.item_rates;
        const Vector item_rates = spread_floats(r[slots[0]], r[slots[1]], r[slots[2]], r[slots[3]]);
        learnt_user *= own(user_rates[kScale]);
        learnt_item *= item_rates;
        shrink_item = 1.0F - block.learning_rate * block.reg * item_rates;
      }
      if constexpr (kBiased) {
        const Vector new_user_bias = user_biases_learn * (own(shrinks[kScale]) * old_user_bias + learnt_user);
        own_bias = kAlone ? own_bias + only<from.value>(new_user_bias - own_bias) : new_user_bias;
        item_bias = item_biases_learn * ((kRates ? shrink_item : shrinks[0]) * item_bias + learnt_item);
        each<kCount>([&](auto l)
                         CURATE_INLINE_LAMBDA { block.item_bias[slots[l.value]] = item_bias[l.value * kPart]; });
      }
      const Vector item_steps = kScaled ? learnt_item * own(scales[kScale]) : learnt_item;
      const Vector user_steps = kScaled ? learnt_user * own(user_scales[kScale]) : learnt_user;
      // Where a row to come is, with its bias and rate on their way; the row itself is fetched piece by piece between
      // the updates, for all at once they would wait for each other.
      const auto coming_row = [&](std::size_t lane) CURATE_INLINE_LAMBDA {
        const std::size_t coming = slot_of(at[lane][k + Of::kAhead * direction]);
        if constexpr (kBiased) {
          __builtin_prefetch(block.item_bias + coming, 1, 3);
        }
        if constexpr (kRates) {
          __builtin_prefetch(block.item_rates + coming);
        }
        return block.item + coming * stride();
      };
      if constexpr (kVectors > 1) {
        // What the next products wait for first: p' = p + t q, then q' = s q + u p = (s - u t) q + u p'.
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
          const Vector to_user = part<l.value>(user_steps);
          const float* const q = again(items[l.value]);
          each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
            kept[kFirst + l.value][v.value] += to_user * load(q + v.value * kWidth);
          });
        });
        const Vector keep = (kRates ? shrink_item : shrinks[0]) - item_steps * user_steps;
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
          const Vector to_item = part<l.value>(item_steps);
          const Vector keep_item = part<l.value>(keep);
          float* const q = again(items[l.value]);
          const float* const ahead = coming_row(kFirst + l.value);
          each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
            if (v.value * kWidth % 16 == 0) {
              __builtin_prefetch(ahead + v.value * kWidth, 1, 3);
            }
            store(q + v.value * kWidth,
                  keep_item * load(q + v.value * kWidth) + to_item * kept[kFirst + l.value][v.value]);
          });
        });
        return;
      }
      each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
        const Vector to_item = part<l.value>(item_steps);
        const Vector to_user = part<l.value>(user_steps);
        const Vector keep_item = kRates ? part<l.value>(shrink_item) : shrinks[0];
        const Vector keep_user = kRates ? part<l.value>(own(shrinks[kScale])) : shrinks[0];
        float* const q = items[l.value];
        const float* const ahead = coming_row(kFirst + l.value);
        const auto update = [&](Vector p, std::size_t column) CURATE_INLINE_LAMBDA {
          const Vector old_q = load(q + column);
          const Vector new_p = (kScaled ? p : keep_user * p) + to_user * old_q;
          const Vector new_q = keep_item * old_q + to_item * p;
          store(q + column, kNonNegative ? positive(new_q) : new_q);
          return kNonNegative ? positive(new_p) : new_p;
        };
        if constexpr (kVectors == 0) {
          float* const p = rows + (kFirst + l.value) * columns;
          for (std::size_t c = 0; c < columns; c += kLine) {
            __builtin_prefetch(ahead + c, 1, 3);
            each<kLine / kWidth>([&](auto v) CURATE_INLINE_LAMBDA {
              float* const at_p = p + c + v.value * kWidth;
              store(at_p, update(load(at_p), c + v.value * kWidth));
            });
          }
        } else {
          __builtin_prefetch(ahead, 1, 3);
          kept[kFirst + l.value][0] = update(kept[kFirst + l.value][0], 0);
        }
      });
    };

    start_scales();
    for (std::size_t l = 0; l < kAllLanes; ++l) {
      fill(l);
    }
    each<kAllLanes>(get);
    std::ptrdiff_t left = longest;  // until c has to start anew
    while (true) {
      std::ptrdiff_t steps = left;
      each<kAllLanes>([&](auto l)
                          CURATE_INLINE_LAMBDA { steps = lanes[l.value].left < steps ? lanes[l.value].left : steps; });
      k = 0;
      for (std::ptrdiff_t done = 0; done < steps; ++done, k += direction) {
        each<Of::kGroups>([&](auto g) CURATE_INLINE_LAMBDA {
          if (same_item<g.value>(at, k)) [[unlikely]] {
            each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { step(g, l, Constant<1>()); });
          } else {
            step(g, Constant<0>(), Constant<kLanes>());
          }
        });
        if constexpr (kScaled) {
          each<kScales>([&](auto g) CURATE_INLINE_LAMBDA {
            scales[g.value] *= shrinks[g.value];
            user_scales[g.value] *= grows[g.value];
          });
        }
      }
      left -= steps;
      std::uint32_t ended = 0;
      each<kAllLanes>([&](auto l) CURATE_INLINE_LAMBDA {
        at[l.value] += k;
        lanes[l.value].left -= steps;
        ended |= lanes[l.value].left == 0 ? 1U << l.value : 0U;
      });
      const auto num_ended = static_cast<std::uint32_t>(__builtin_popcount(ended));
      if (left == 0 || block.num_runs - next < num_ended) [[unlikely]] {
        each<kAllLanes>(put);
        each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { squared += static_cast<double>(errors[l.value * kPart]); });
        errors = Vector{};
        start_scales();
        left = longest;
        if (swap(ended)) {
          return;
        }
        each<kAllLanes>(get);
      } else {
        // The others' stay where they are.
        each<kAllLanes>([&](auto l) CURATE_INLINE_LAMBDA {
          if ((ended >> l.value & 1U) != 0) {
            put(l);
          }
        });
        swap(ended);
        each<kAllLanes>([&](auto l) CURATE_INLINE_LAMBDA {
          if ((ended >> l.value & 1U) != 0) {
            get(l);
          }
        });
      }
    }
  }

  /// Lanes whose runs have ended take the next ones. Whether there was none left for one of them.
  CURATE_INLINE bool swap(std::uint32_t ended) {
    for (; ended != 0; ended &= ended - 1) {
      if (next == block.num_runs) {
        return true;
      }
      const auto l = static_cast<std::size_t>(__builtin_ctz(ended));
      spill(l);
      fill(l);
    }
    return false;
  }

  /// Whether two lanes of a group want the same item.
  template <std::size_t kGroup>
  CURATE_INLINE static bool same_item(const Rating* const* at, std::ptrdiff_t k) {
    const auto slot = [&](std::size_t l) CURATE_INLINE_LAMBDA { return slot_of(at[kGroup * kLanes + l][k]); };
    const std::size_t a = slot(0);
    const std::size_t b = slot(1);
    const std::size_t c = slot(2);
    if constexpr (kLanes == 3) {
      return a == b || a == c || b == c;
    } else {
      const std::size_t d = slot(3);
      return a == b || a == c || b == c || a == d || b == d || c == d;
    }
  }

  /// Steps in which c stays a number that float can divide by; 0 where there are none.
  std::ptrdiff_t longest_stretch() const {
    constexpr float kLeast = 1e-6F;
    // c and its inverse, each multiplied by itself, drift apart; and errors are summed in float meanwhile.
    constexpr std::ptrdiff_t kLongest = 256;
    std::ptrdiff_t steps = 0;
    // Rows with rates of their own shrink less.
    const float shrink = 1.0F - block.learning_rate * block.reg;
    for (float c = shrink; c > kLeast && steps < kLongest; c *= shrink) {
      ++steps;
    }
    return steps;
  }

  CURATE_INLINE void finish(std::size_t l) {
    while (lanes[l].left > 0) {
      single(l);
    }
    spill(l);
  }

  /// A rating of every lane in turn, as interleave().
  CURATE_INLINE void take_turns() {
    for (std::size_t l = 0; l < kAllLanes; ++l) {
      fill(l);
    }
    std::uint32_t ended = 0;
    while (!swap(ended)) {
      ended = 0;
      for (std::size_t l = 0; l < kAllLanes; ++l) {
        single(l);
        ended |= lanes[l].left == 0 ? 1U << l : 0U;
      }
    }
  }

  CURATE_INLINE void run() {
    if (block.num_runs < kAllLanes) {
      while (next < block.num_runs) {
        fill(0);
        finish(0);
      }
      return;
    }
    if (longest_stretch() > 0) {
      interleave();
    } else {
      take_turns();
    }
    for (std::size_t l = 0; l < kAllLanes; ++l) {
      finish(l);
    }
  }
};

/// body(shape) for the shape of a dim.
template <typename Body>
CURATE_INLINE auto for_shape(std::size_t dim, bool non_negative, const Body& body) {
  // As many users as there are registers for, measured: 32 with AVX-512, 16 without.
  const std::size_t vectors = non_negative ? 0 : mf_row_stride(dim) / kWidth;
  switch (vectors) {
#if CURATE_WIDTH == 16
    case 1:
      return body(Shape<1, 3, 4>());
    case 2:
      return body(Shape<2, 2, 4>());
    case 3:
      return body(Shape<3, 2, 3>());
    case 4:
      return body(Shape<4, 2, 3>());
    case 6:
      return body(Shape<6, 1, 4>());
    case 8:
      return body(Shape<8, 1, 3>());
#else
    case 2:
      return body(Shape<2, 1, 4>());
    case 4:
      return body(Shape<4, 1, 3>());
#endif
    default:
      return body(Shape<0, 1, 4>());
  }
}

template <typename Rating, bool kBiased, bool kRates>
void run_shape(const MfSgdBlock& block, MfSgdErrors& errors) {
  for_shape(block.dim, block.non_negative, [&](auto shape) CURATE_INLINE_LAMBDA {
    using Of = decltype(shape);
    const auto run = [&](auto kernel) CURATE_INLINE_LAMBDA {
      kernel.run();
      errors.squared += kernel.squared;
    };
    if constexpr (Of::kVectors == 0) {
      if (block.non_negative) {
        run(Kernel<Rating, Of, kBiased, kRates, true>(block));
        return;
      }
    }
    run(Kernel<Rating, Of, kBiased, kRates, false>(block));
  });
}

template <typename Rating, bool kBiased>
CURATE_INLINE void run_rates(const MfSgdBlock& block, MfSgdErrors& errors) {
  block.user_rates != nullptr ? run_shape<Rating, kBiased, true>(block, errors)
                              : run_shape<Rating, kBiased, false>(block, errors);
}

CURATE_INLINE void run(const MfSgdBlock& block, MfSgdErrors& errors) {
  const bool biased = block.item_bias != nullptr;
  if (block.packed) {
    biased ? run_rates<PackedRating, true>(block, errors) : run_rates<PackedRating, false>(block, errors);
  } else {
    biased ? run_rates<WideRating, true>(block, errors) : run_rates<WideRating, false>(block, errors);
  }
}

CURATE_INLINE std::size_t lanes(std::size_t dim, bool non_negative) {
  return for_shape(dim, non_negative, [](auto shape) CURATE_INLINE_LAMBDA { return decltype(shape)::kAllLanes; });
}

}  // namespace
}  // namespace curate::cpu
