#pragma once

#include <Random123/philox.h>

#include <cmath>
#include <cstdint>
#include <numbers>

#include "support/host_device.h"

namespace curate {

/// What a random number is for. It is part of the counter, so that two uses with one seed never share numbers. The
/// values are part of reproducibility: never renumber them.
enum class RandomPurpose : std::uint32_t {
  shuffle = 1,
  split = 2,
  validation = 3,
  folds = 4,
  initial_user_embedding = 5,
  initial_item_embedding = 6,
  dropout_user = 7,
  dropout_item = 8,
  initial_dense = 9,
  mf_plan = 10,
  mf_order = 11,
  initial_user_factors = 12,
  initial_item_factors = 13,
  initial_features = 14,
  rounding_user = 15,
  synthetic_factors = 16,
  synthetic_popularity = 17,
  synthetic_activity = 18,
  synthetic_pairs = 19,
  synthetic_noise = 20,
  synthetic_bias = 21,
  synthetic_time = 22,
  like_items = 23,
  like_users = 24,
  like_pairs = 25,
  like_noise = 26,
  like_time = 27,
  like_centroids = 28,
  like_pilot = 29,
  rounding_item = 30,
  rounding_user_factors = 31,
  rounding_item_factors = 32,
  member_seed = 64,
  dropout_dense = 256,    ///< plus the number of the layer
  dropout_feature = 512,  ///< plus the number of the feature
};

/// Four 32-bit random words of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
/// Key: seed. Counter: (element, step, purpose). Same numbers on every device and for every number of threads.
struct PhiloxWords {
  std::uint32_t word[4];

  CURATE_HOST_DEVICE std::uint64_t low64() const { return (std::uint64_t{word[1]} << 32U) | word[0]; }
  CURATE_HOST_DEVICE std::uint64_t high64() const { return (std::uint64_t{word[3]} << 32U) | word[2]; }
};

CURATE_HOST_DEVICE inline PhiloxWords philox(std::uint64_t seed, std::uint64_t element, std::uint32_t step,
                                             RandomPurpose purpose) {
  const r123::Philox4x32::ctr_type counter = {{static_cast<std::uint32_t>(element),
                                               static_cast<std::uint32_t>(element >> 32U), step,
                                               static_cast<std::uint32_t>(purpose)}};
  const r123::Philox4x32::key_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)}};
  r123::Philox4x32 generator;
  const r123::Philox4x32::ctr_type words = generator(counter, key);
  return {{words.v[0], words.v[1], words.v[2], words.v[3]}};
}

/// Uniform in [0, 1) with 24 random bits, exact in float.
CURATE_HOST_DEVICE inline float uniform_float(std::uint32_t word) {
  return static_cast<float>(word >> 8U) * 0x1.0p-24F;
}

/// Uniform in [0, 1) with 53 random bits.
CURATE_HOST_DEVICE inline double uniform_double(std::uint64_t word) {
  return static_cast<double>(word >> 11U) * 0x1.0p-53;
}

/// Standard normal (Box and Muller 1958), host only: libm's digits may differ between devices.
inline double normal_double(const PhiloxWords& words) {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform_double(words.low64())));
  return radius * std::cos(2.0 * std::numbers::pi * uniform_double(words.high64()));
}

}  // namespace curate
