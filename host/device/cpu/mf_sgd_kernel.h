// The inner loop of mf_sgd_epoch, for vectors of CURATE_WIDTH floats; included once by each of mf_sgd_block_*.cpp,
// which are compiled for different instruction sets. Everything here has internal linkage and includes no code, for
// what is inline with external linkage would be taken from any of them.
//
// Several users at a time, a lane each, in groups of up to four lanes. Their rows stay in registers (with AVX-512, of
// dims that fit) or in the first-level cache while their runs of ratings are gone through, and the predictions of a
// group are summed across vectors together. A rating waits for the one before it in its lane, some 50 cycles: where
// registers allow it a second group works meanwhile. Sequentially the ratings of a step come in the order of the lanes:
// users differ, and where items do not the step goes rating by rating, so that the result is that of the sequential
// algorithm, but for rounding.
//
// With rows in memory two groups take turns, and a group's rows learn from its errors only while the other's are
// multiplied for its next predictions, lane by lane in one loop: what each waits for is hidden by the other, which is
// too far ahead for the processor to find by itself. Where the other's items meet those that have yet to learn, they
// learn first.
//
// With s = 1 - lr * reg and t = lr * e a rating does p' = s p + t q, q' = s q + t p. Users' rows are kept as p / c, c
// the power of s that is due, which saves a multiplication of each: (p / c)' = p / c + t / (c s) q. c starts at 1 with
// every stretch of steps.

#include <type_traits>
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
constexpr std::size_t kNone = ~std::size_t{0};

// Rows are aligned to 4 bytes only.
using Vector [[gnu::vector_size(CURATE_WIDTH * 4), gnu::aligned(4), gnu::may_alias]] = float;
using Words [[gnu::vector_size(CURATE_WIDTH * 4)]] = std::int32_t;

#define CURATE_INLINE [[gnu::always_inline]] inline
#define CURATE_INLINE_LAMBDA __attribute__((always_inline))

CURATE_INLINE Vector load(const float* from) {
  return *reinterpret_cast<const Vector*>(from);
}

/// Kept in a register, where the compiler would load it again for every use.
CURATE_INLINE Vector load_once(const float* from) {
  Vector value = load(from);
#if defined(__x86_64__)
  asm("" : "+x"(value));
#endif
  return value;
}

/// Less zero, which is nothing; a sum would have to make 0 of -0.
CURATE_INLINE Vector broadcast(float value) {
  return value - Vector{};
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

struct Index {
  std::size_t value;
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
/// Of the ratings of a group.
using Slots [[gnu::vector_size(16)]] = std::int32_t;

CURATE_INLINE Slots slots_of(PackedRating a, PackedRating b, PackedRating c, PackedRating d) {
  using Bits [[gnu::vector_size(16)]] = std::uint32_t;
  return reinterpret_cast<Slots>(Bits{a.bits, b.bits, c.bits, d.bits} >> 8U);
}
CURATE_INLINE Slots slots_of(WideRating a, WideRating b, WideRating c, WideRating d) {
  return Slots{a.slot, b.slot, c.slot, d.slot};
}

CURATE_INLINE Slots rotated(Slots slots) {
  return __builtin_shufflevector(slots, slots, 1, 2, 3, 0);
}

/// Where one of `a` is one of `b`.
CURATE_INLINE Slots common(Slots a, Slots b) {
  const Slots once = rotated(a);
  const Slots twice = rotated(once);
  return (a == b) | (once == b) | (twice == b) | (rotated(twice) == b);
}

/// Where one is another.
CURATE_INLINE Slots repeated(Slots slots) {
  const Slots once = rotated(slots);
  return (slots == once) | (slots == rotated(once));
}

CURATE_INLINE bool any(Slots mask) {
  using Halves [[gnu::vector_size(16)]] = std::int64_t;
  const auto halves = reinterpret_cast<Halves>(mask);
  return (halves[0] | halves[1]) != 0;
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

/// `vectors` of a row, 0: only the block says how many, and rows stay in memory, of two groups that take turns;
/// `groups` of `lanes` users each.
template <std::size_t vectors, std::size_t groups, std::size_t lanes>
struct Shape {
  static constexpr std::size_t kVectors = vectors;
  static constexpr std::size_t kGroups = groups;
  static constexpr std::size_t kLanes = lanes;
  static constexpr std::size_t kAllLanes = groups * lanes;
  /// About 24 rows under way; fewer where the users' have to stay in the cache as well.
  static constexpr std::ptrdiff_t kAhead = vectors == 0 || kAllLanes >= 12 ? 2 : kAllLanes >= 6 ? 3 : kMfSgdAhead;
  static_assert(kAllLanes <= kMfSgdMostLanes && (lanes == 3 || lanes == 4));
  static_assert(vectors > 0 || (groups == 2 && lanes == 4));
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
    constexpr std::ptrdiff_t kRatingsPerLine = 64 / sizeof(Rating);
    const std::ptrdiff_t last = static_cast<std::ptrdiff_t>(coming.end - coming.begin) - 1;
    const Rating* const first = ratings + (block.backward ? coming.end - 1 : coming.begin);
    for (std::ptrdiff_t ahead = 0; ahead < (last < kMost ? last : kMost); ahead += kRatingsPerLine) {
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

  /// How a user's row p is kept: as p / c before a rating, as p / (c s) after it.
  struct Scale {
    bool shrinks;  ///< c = 1, and stays: p is what shrinks
    float c;
    float inverse;  ///< 1 / (c s)
  };

  /// The next rating of a lane by itself.
  CURATE_INLINE void single(std::size_t l) {
    const Rating rating = *lanes[l].at;
    lanes[l].at += direction;
    --lanes[l].left;
    single(l, rating, {true, 1.0F, 1.0F});
  }

  void single(std::size_t l, Rating rating, Scale scale) {
    const std::size_t slot = slot_of(rating);
    float* const p = row(l);
    float* const q = block.item + slot * stride();
    Vector products{};
    for (std::size_t v = 0; v < vectors(); ++v) {
      products += load(p + v * kWidth) * load(q + v * kWidth);
    }
    float error = value_of(rating, block) - block.mean - scale.c * total(products);
    float& user_bias = biases[place_of(l)];
    if constexpr (kBiased) {
      error -= user_bias + block.item_bias[slot];
    }
    squared += static_cast<double>(error) * static_cast<double>(error);
    const float user_rate = kRates ? block.learning_rate * rates[place_of(l)] : block.learning_rate;
    const float item_rate = kRates ? block.learning_rate * block.item_rates[slot] : block.learning_rate;
    const float shrink_user = 1.0F - user_rate * block.reg;
    const float shrink_item = 1.0F - item_rate * block.reg;
    const float keep_user = scale.shrinks ? shrink_user : 1.0F;
    const float to_user = user_rate * error * scale.inverse;
    const float to_item = item_rate * error * scale.c;
    for (std::size_t v = 0; v < vectors(); ++v) {
      const Vector old_p = load(p + v * kWidth);
      const Vector old_q = load(q + v * kWidth);
      const Vector new_p = keep_user * old_p + to_user * old_q;
      const Vector new_q = shrink_item * old_q + to_item * old_p;
      store(p + v * kWidth, kNonNegative ? positive(new_p) : new_p);
      store(q + v * kWidth, kNonNegative ? positive(new_q) : new_q);
    }
    if constexpr (kBiased) {
      user_bias = user_biases_learn * (shrink_user * user_bias + user_rate * error);
      block.item_bias[slot] = item_biases_learn * (shrink_item * block.item_bias[slot] + item_rate * error);
    }
  }

  /// The next rating of each lane of a group.
  struct Taken {
    Rating ratings[4];
    std::size_t slots[4];
    float* items[4];
  };

  /// Ratings of a group that its rows have yet to learn from: q' = keep_item q + to_item p, p' = p + to_user q.
  struct Waiting {
    Slots slots = Slots{} - 1;  ///< -1: there are none
    float* items[4];
    // By part.
    Vector to_item;
    Vector to_user;
    Vector keep_item;
  };

  /// Lane kLearning of a group learns what waits for it; meanwhile the sums of the products of lane kMultiplied of
  /// another group, to add up. Either may be kNone.
  template <std::size_t kLearning, std::size_t kMultiplied>
  CURATE_INLINE Vector learn_and_multiply(const Waiting& waiting, float* learning, const float* multiplied,
                                          const float* item, const float* ahead) const {
    constexpr bool kLearn = kLearning != kNone;
    constexpr bool kMultiply = kMultiplied != kNone;
    constexpr std::size_t kFrom = kLearn ? kLearning * kPart : 0;
    const std::size_t columns = block.stride;
    float* const p = learning + (kLearn ? kLearning : 0) * columns;
    float* const q = waiting.items[kLearn ? kLearning : 0];
    multiplied += (kMultiply ? kMultiplied : 0) * columns;
    const Vector to_item = broadcast(waiting.to_item[kFrom]);
    const Vector to_user = broadcast(waiting.to_user[kFrom]);
    const Vector keep_item = broadcast(waiting.keep_item[kRates ? kFrom : 0]);
    // Two sums: shorter chains.
    Vector sum[2] = {};
    std::size_t line = 0;
    do {
      if constexpr (kMultiply) {
        __builtin_prefetch(ahead + line, 1, 3);
      }
      each<kLine / kWidth>([&](auto v) CURATE_INLINE_LAMBDA {
        const std::size_t c = line + v.value * kWidth;
        if constexpr (kLearn) {
          const Vector old_p = load_once(p + c);
          const Vector old_q = load_once(q + c);
          const Vector new_q = keep_item * old_q + to_item * old_p;
          const Vector new_p = old_p + to_user * old_q;
          store(q + c, kNonNegative ? positive(new_q) : new_q);
          store(p + c, kNonNegative ? positive(new_p) : new_p);
        }
        if constexpr (kMultiply) {
          sum[v.value % 2] += load(multiplied + c) * load(item + c);
        }
      });
      line += kLine;
    } while (line < columns);
    return sum[0] + sum[1];
  }

  CURATE_INLINE float* group_rows(std::size_t group) const { return row(group * kLanes); }

  // The halves by themselves, which are rare.
  [[gnu::noinline]] void learn(Waiting& waiting, std::size_t group) const {
    if (waiting.slots[0] >= 0) {
      each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA {
        learn_and_multiply<l.value, kNone>(waiting, group_rows(group), nullptr, nullptr, nullptr);
      });
      waiting.slots = Slots{} - 1;
    }
  }
  [[gnu::noinline]] void multiply(std::size_t group, float* const* items, const float* const* ahead,
                                  Vector* products) const {
    each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA {
      products[l.value] =
          learn_and_multiply<kNone, l.value>(Waiting{}, nullptr, group_rows(group), items[l.value], ahead[l.value]);
    });
  }

  /// All runs, a rating of every lane in turn, until there is none left for a lane whose run has ended. The lanes'
  /// rows, biases and places are then in memory.
  CURATE_INLINE void interleave() {
    const std::ptrdiff_t longest = longest_stretch();
    constexpr std::uint32_t kAll = (1U << kAllLanes) - 1;
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
    /// body(lane) for lanes of a set. With rows in memory lanes need not be constants: fewer branches to predict.
    const auto for_lanes = [&](std::uint32_t set, const auto& body) CURATE_INLINE_LAMBDA {
      if constexpr (kVectors == 0) {
        for (; set != 0; set &= set - 1) {
          body(Index{static_cast<std::size_t>(__builtin_ctz(set))});
        }
      } else {
        each<kAllLanes>([&](auto l) CURATE_INLINE_LAMBDA {
          if ((set >> l.value & 1U) != 0) {
            body(l);
          }
        });
      }
    };
    /// c of a lane, in all parts.
    const auto due = [&](auto l) CURATE_INLINE_LAMBDA {
      const Vector& of = scales[kRates ? l.value / kLanes : 0];
      if constexpr (kVectors == 0) {
        return broadcast(of[l.value % kLanes * kPart]);
      } else {
        return kRates ? part<l.value % kLanes>(of) : of;
      }
    };
    const auto set_part = [&](Vector& v, auto l, float value) CURATE_INLINE_LAMBDA {
      if constexpr (kVectors == 0) {
        each<kPart>([&](auto k) CURATE_INLINE_LAMBDA { v[l.value % kLanes * kPart + k.value] = value; });
      } else {
        v = with<l.value % kLanes>(v, value);
      }
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
      const std::size_t group = l.value / kLanes;
      at[l.value] = lanes[l.value].at;
      if constexpr (kBiased) {
        set_part(user_bias[group], l, biases[place_of(l.value)]);
      }
      Vector inverse{};
      if constexpr (kRates) {
        set_part(user_rates[group], l, rates[place_of(l.value)]);
        const float shrink = 1.0F - block.learning_rate * block.reg * rates[place_of(l.value)];
        set_part(shrinks[group], l, shrink);
        set_part(grows[group], l, 1.0F / shrink);
        set_part(scales[group], l, 1.0F);
        set_part(user_scales[group], l, 1.0F / shrink);
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

    /// The next ratings of `count` lanes from `first` on.
    const auto take = [&](std::size_t first, auto count) CURATE_INLINE_LAMBDA {
      Taken taken;
      each<4>([&](auto n) CURATE_INLINE_LAMBDA {
        // A group of three has one of its lanes twice.
        constexpr std::size_t l = n.value < count.value ? n.value : count.value - 1;
        taken.ratings[n.value] = at[first + l][k];
        taken.slots[n.value] = slot_of(taken.ratings[n.value]);
        taken.items[n.value] = block.item + taken.slots[n.value] * stride();
      });
      return taken;
    };

    /// What rows have to learn, by part: q' = keep_item q + to_item p, p' = keep_user p + to_user q.
    struct Lesson {
      Vector to_item;
      Vector to_user;
      Vector keep_item;
      Vector keep_user;
    };

    /// From ratings and the products of their rows; biases learn at once. The ratings are those of `count` lanes of a
    /// group from its lane `from` on: of all, or of one, which then has all parts.
    const auto lesson_of = [&](auto group, auto from, auto count, const Taken& taken,
                               const Vector* products) CURATE_INLINE_LAMBDA {
      constexpr std::size_t kCount = count.value;
      constexpr bool kAlone = kCount == 1 && kLanes > 1;
      const std::size_t scale = kRates ? group.value : 0;
      // Of a lane by itself in all parts.
      const auto own = [&](Vector v) CURATE_INLINE_LAMBDA { return kAlone && kRates ? part<from.value>(v) : v; };
      constexpr std::size_t kLast = kCount - 1;
      const Vector sums =
          sums_of(products[0], products[kLast < 1 ? kLast : 1], products[kLast < 2 ? kLast : 2], products[kLast]);
      Vector error = deviations(taken.ratings[0], taken.ratings[1], taken.ratings[2], taken.ratings[3], block);
      error -= kScaled ? own(scales[scale]) * sums : sums;
      const std::size_t* const slots = taken.slots;
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
      Vector shrink_item = shrinks[0];
      if constexpr (kRates) {
        const float* const r = block.item_rates;
        const Vector item_rates = spread_floats(r[slots[0]], r[slots[1]], r[slots[2]], r[slots[3]]);
        learnt_user *= own(user_rates[scale]);
        learnt_item *= item_rates;
        shrink_item = 1.0F - block.learning_rate * block.reg * item_rates;
      }
      if constexpr (kBiased) {
        const Vector new_user_bias = user_biases_learn * (own(shrinks[scale]) * old_user_bias + learnt_user);
        own_bias = kAlone ? own_bias + only<from.value>(new_user_bias - own_bias) : new_user_bias;
        item_bias = item_biases_learn * (shrink_item * item_bias + learnt_item);
        each<kCount>([&](auto l)
                         CURATE_INLINE_LAMBDA { block.item_bias[slots[l.value]] = item_bias[l.value * kPart]; });
      }
      return Lesson{kScaled ? learnt_item * own(scales[scale]) : learnt_item,
                    kScaled ? learnt_user * own(user_scales[scale]) : learnt_user, shrink_item, own(shrinks[scale])};
    };

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

    /// The next rating of lanes of a group, as lesson_of() has it; rows in registers.
    const auto step = [&](auto group, auto from, auto count) CURATE_INLINE_LAMBDA {
      constexpr std::size_t kCount = count.value;
      constexpr std::size_t kFirst = group.value * kLanes + from.value;
      const Taken taken = take(kFirst, count);
      Vector products[4];
      each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
        // Two sums: shorter chains.
        Vector sum[2] = {};
        each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
          const Vector product = kept[kFirst + l.value][v.value] * load(taken.items[l.value] + v.value * kWidth);
          sum[v.value % 2] = v.value < 2 ? product : sum[v.value % 2] + product;
        });
        products[l.value] = kVectors > 1 ? sum[0] + sum[1] : sum[0];
      });
      const Lesson lesson = lesson_of(group, from, count, taken, products);
      if constexpr (kVectors == 1) {
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
          Vector& p = kept[kFirst + l.value][0];
          float* const q = taken.items[l.value];
          __builtin_prefetch(coming_row(kFirst + l.value), 1, 3);
          const Vector old_q = load(q);
          store(q, part<l.value>(lesson.keep_item) * old_q + part<l.value>(lesson.to_item) * p);
          p = part<l.value>(lesson.keep_user) * p + part<l.value>(lesson.to_user) * old_q;
        });
      } else {
        // What the next products wait for first: p' = p + t q, then q' = s q + u p = (s - u t) q + u p'.
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
          const Vector to_user = part<l.value>(lesson.to_user);
          const float* const q = again(taken.items[l.value]);
          each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
            kept[kFirst + l.value][v.value] += to_user * load(q + v.value * kWidth);
          });
        });
        const Vector keep = lesson.keep_item - lesson.to_item * lesson.to_user;
        each<kCount>([&](auto l) CURATE_INLINE_LAMBDA {
          const Vector to_item = part<l.value>(lesson.to_item);
          const Vector keep_item = part<l.value>(keep);
          float* const q = again(taken.items[l.value]);
          const float* const ahead = coming_row(kFirst + l.value);
          each<kVectors>([&](auto v) CURATE_INLINE_LAMBDA {
            if (v.value * kWidth % 16 == 0) {
              __builtin_prefetch(ahead + v.value * kWidth, 1, 3);
            }
            store(q + v.value * kWidth,
                  keep_item * load(q + v.value * kWidth) + to_item * kept[kFirst + l.value][v.value]);
          });
        });
      }
    };

    Waiting waiting[Of::kGroups];
    const auto learn_all = [&]() CURATE_INLINE_LAMBDA {
      if constexpr (kVectors == 0) {
        for (std::size_t g = 0; g < Of::kGroups; ++g) {
          learn(waiting[g], g);
        }
      }
    };

    /// The next rating of each lane of a group, which its rows learn from in the other's step; rows in memory.
    const auto overlapping_step = [&](auto group) CURATE_INLINE_LAMBDA {
      constexpr std::size_t kFirst = group.value * kLanes;
      constexpr std::size_t kScale = kRates ? group.value : 0;
      constexpr std::size_t kOther = 1 - group.value;
      Waiting& own = waiting[group.value];
      Waiting& other = waiting[kOther];
      const Taken taken = take(kFirst, Constant<kLanes>());
      // Again: the compiler would multiply addresses in vectors, which have no instruction for it.
      each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { own.items[l.value] = again(taken.items[l.value]); });
      own.slots = slots_of(taken.ratings[0], taken.ratings[1], taken.ratings[2], taken.ratings[3]);
      const Slots repeats = repeated(own.slots);
      if (any(repeats | common(own.slots, other.slots))) [[unlikely]] {
        learn(other, kOther);
        if (any(repeats)) {
          own.slots = Slots{} - 1;
          each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA {
            constexpr std::size_t kLane = kFirst + l.value;
            biases[place_of(kLane)] = user_bias[group.value][l.value * kPart];
            single(kLane, taken.ratings[l.value],
                   {false, scales[kScale][l.value * kPart], user_scales[kScale][l.value * kPart]});
            user_bias[group.value] = with<l.value>(user_bias[group.value], biases[place_of(kLane)]);
          });
          return;
        }
      }
      Vector products[4];
      if (other.slots[0] >= 0) [[likely]] {
        // A lane apart: errors take a while.
        each<kLanes + 1>([&](auto n) CURATE_INLINE_LAMBDA {
          constexpr std::size_t kLearning = n.value > 0 ? n.value - 1 : kNone;
          constexpr std::size_t kMultiplied = n.value < kLanes ? n.value : kNone;
          if constexpr (kMultiplied != kNone) {
            products[n.value] = learn_and_multiply<kLearning, kMultiplied>(
                other, group_rows(kOther), group_rows(group.value), own.items[n.value], coming_row(kFirst + n.value));
          } else {
            learn_and_multiply<kLearning, kNone>(other, group_rows(kOther), nullptr, nullptr, nullptr);
          }
        });
        other.slots = Slots{} - 1;
      } else {
        const float* ahead[4];
        Vector alone[4];
        each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { ahead[l.value] = coming_row(kFirst + l.value); });
        multiply(group.value, own.items, ahead, alone);
        each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { products[l.value] = alone[l.value]; });
      }
      const Lesson lesson = lesson_of(group, Constant<0>(), Constant<kLanes>(), taken, products);
      own.to_item = lesson.to_item;
      own.to_user = lesson.to_user;
      own.keep_item = lesson.keep_item;
    };

    start_scales();
    for (std::size_t l = 0; l < kAllLanes; ++l) {
      fill(l);
    }
    for_lanes(kAll, get);
    std::ptrdiff_t left = longest;  // until c has to start anew
    while (true) {
      std::ptrdiff_t steps = left;
      each<kAllLanes>([&](auto l)
                          CURATE_INLINE_LAMBDA { steps = lanes[l.value].left < steps ? lanes[l.value].left : steps; });
      k = 0;
      for (std::ptrdiff_t done = 0; done < steps; ++done, k += direction) {
        if constexpr (kVectors == 0) {
          each<Of::kGroups>(overlapping_step);
        } else {
          each<Of::kGroups>([&](auto g) CURATE_INLINE_LAMBDA {
            if (same_item<g.value>(at, k)) [[unlikely]] {
              each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { step(g, l, Constant<1>()); });
            } else {
              step(g, Constant<0>(), Constant<kLanes>());
            }
          });
        }
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
      if constexpr (kVectors == 0) {
        constexpr std::uint32_t kGroup = (1U << kLanes) - 1;
        for (std::size_t g = 0; g < Of::kGroups; ++g) {
          if ((ended >> (g * kLanes) & kGroup) != 0) {
            learn(waiting[g], g);
          }
        }
      }
      const auto num_ended = static_cast<std::uint32_t>(__builtin_popcount(ended));
      if (left == 0 || block.num_runs - next < num_ended) [[unlikely]] {
        learn_all();
        for_lanes(kAll, put);
        each<kLanes>([&](auto l) CURATE_INLINE_LAMBDA { squared += static_cast<double>(errors[l.value * kPart]); });
        errors = Vector{};
        start_scales();
        left = longest;
        if (swap(ended)) {
          return;
        }
        for_lanes(kAll, get);
      } else {
        // The others' stay where they are.
        for_lanes(ended, put);
        swap(ended);
        for_lanes(ended, get);
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

/// body(shape) for the shape of a dim: with rows in registers for the usual ratings alone, as these shapes take the
/// longest to compile, and with AVX-512 alone, as elsewhere registers are too few.
template <bool kCommon, typename Body>
CURATE_INLINE auto for_shape(std::size_t dim, const Body& body) {
#if CURATE_WIDTH == 16
  if constexpr (kCommon) {
    // As many users as there are registers for, measured.
    switch (mf_row_stride(dim) / kWidth) {
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
      default:
        break;
    }
  }
#else
  (void)dim;
#endif
  return body(Shape<0, 2, 4>());
}

template <typename Rating, bool kBiased, bool kRates, bool kNonNegative>
void run_shape(const MfSgdBlock& block, MfSgdErrors& errors) {
  constexpr bool kCommon = !kNonNegative && std::is_same_v<Rating, PackedRating>;
  for_shape<kCommon>(block.dim, [&](auto shape) CURATE_INLINE_LAMBDA {
    Kernel<Rating, decltype(shape), kBiased, kRates, kNonNegative> kernel(block);
    kernel.run();
    errors.squared += kernel.squared;
  });
}

template <typename Rating, bool kBiased>
CURATE_INLINE void run_rates(const MfSgdBlock& block, MfSgdErrors& errors) {
  if (block.non_negative) {
    block.user_rates != nullptr ? run_shape<Rating, kBiased, true, true>(block, errors)
                                : run_shape<Rating, kBiased, false, true>(block, errors);
  } else {
    block.user_rates != nullptr ? run_shape<Rating, kBiased, true, false>(block, errors)
                                : run_shape<Rating, kBiased, false, false>(block, errors);
  }
}

CURATE_INLINE void run(const MfSgdBlock& block, MfSgdErrors& errors) {
  const bool biased = block.item_bias != nullptr;
  if (block.packed) {
    biased ? run_rates<PackedRating, true>(block, errors) : run_rates<PackedRating, false>(block, errors);
  } else {
    biased ? run_rates<WideRating, true>(block, errors) : run_rates<WideRating, false>(block, errors);
  }
}

CURATE_INLINE std::size_t lanes(std::size_t dim, bool common) {
  const auto of_shape = [](auto shape) CURATE_INLINE_LAMBDA { return decltype(shape)::kAllLanes; };
  return common ? for_shape<true>(dim, of_shape) : for_shape<false>(dim, of_shape);
}

}  // namespace
}  // namespace curate::cpu
