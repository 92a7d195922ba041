#pragma once

#include <cmath>
#include <cstdint>

#include "support/host_device.h"

namespace curate {

/// Ratings that are the lowest one and whole steps above it, so that a byte holds a place among them.
struct RatingGrid {
  static constexpr float kPlaces = 256.0F;
  /// Of stars, if nothing is known of the ratings.
  static constexpr float kHalfStar = 0.5F;

  float start = 0.0F;
  float step = kHalfStar;
  float tolerance = 0.0F;  ///< how far off a place a rating may be

  /// With steps of `step`, on which ratings are but for rounding; 0: of half stars, exactly.
  CURATE_HOST_DEVICE static RatingGrid of_step(float start, float step) {
    constexpr float kRounding = 1e-4F;
    return step > 0.0F ? RatingGrid{start, step, kRounding * step} : RatingGrid{start, kHalfStar, 0.0F};
  }

  CURATE_HOST_DEVICE float rating_at(float place) const { return start + step * place; }
  CURATE_HOST_DEVICE float place_of(float rating) const { return std::nearbyint((rating - start) * (1.0F / step)); }
  /// False for NaN.
  CURATE_HOST_DEVICE bool has(float rating) const {
    const float place = place_of(rating);
    return place < kPlaces && std::abs(rating_at(place) - rating) <= tolerance;
  }
};

}  // namespace curate
