#pragma once

#include <cmath>

#include "support/host_device.h"

namespace curate {

/// The units in which ratings are learnt: rating = centre + unit * value. A spread of 1 around 0 whatever the ratings
/// are, so that learning rates and L2 mean the same on 1..5, 0..100 and -10..10.
struct RatingUnits {
  double centre = 0.0;
  double unit = 1.0;  ///< > 0

  bool operator==(const RatingUnits&) const = default;
};

/// In ratings' own units.
CURATE_HOST_DEVICE inline float to_rating(float value, const RatingUnits& units) {
  return static_cast<float>(units.centre + units.unit * static_cast<double>(value));
}

/// In units.
inline float to_exact_units(float rating, const RatingUnits& units) {
  return static_cast<float>((static_cast<double>(rating) - units.centre) / units.unit);
}

/// In units, in steps of 2^-15. Ratings that only their scale tells apart, like 3 and 0.03, then have the same value,
/// bit by bit, and a training gives the same model. Without a change of units nothing is rounded.
inline float to_units(float rating, const RatingUnits& units) {
  constexpr double kSteps = 32768.0;
  if (units == RatingUnits()) {
    return rating;
  }
  const double value = (static_cast<double>(rating) - units.centre) / units.unit;
  return static_cast<float>(std::nearbyint(kSteps * value) / kSteps);
}

}  // namespace curate
