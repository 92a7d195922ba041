#pragma once

#include <cmath>

#include "curate/kinds.h"
#include "support/host_device.h"

namespace curate {

/// The units in which ratings are learnt: transformed rating = centre + unit * value. A spread of 1 around 0 whatever
/// the ratings are, so that learning rates and L2 mean the same on 1..5, 0..100 and -10..10.
struct RatingUnits {
  double centre = 0.0;
  double unit = 1.0;  ///< > 0
  RatingTransform transform = {};

  bool operator==(const RatingUnits&) const = default;
};

/// Those of a transformed rating that is not in units of a spread: what a saved model predicts.
inline RatingUnits units_of(const RatingTransform& transform) {
  return {0.0, 1.0, transform};
}

/// log(1 + r - start) for a rating at or above the start. Below it the curve is mirrored, so that a test rating which
/// is lower than any other has a finite value.
CURATE_HOST_DEVICE inline double transformed(double rating, const RatingTransform& transform) {
  if (transform.kind == TransformKind::none) {
    return rating;
  }
  const double above = rating - transform.start;
  return std::copysign(std::log1p(std::abs(above)), above);
}

/// The inverse of transformed().
CURATE_HOST_DEVICE inline double untransformed(double value, const RatingTransform& transform) {
  if (transform.kind == TransformKind::none) {
    return value;
  }
  return transform.start + std::copysign(std::expm1(std::abs(value)), value);
}

/// In ratings' own units.
CURATE_HOST_DEVICE inline float to_rating(float value, const RatingUnits& units) {
  return static_cast<float>(untransformed(units.centre + units.unit * static_cast<double>(value), units.transform));
}

/// In units.
inline float to_exact_units(float rating, const RatingUnits& units) {
  const double value = transformed(static_cast<double>(rating), units.transform);
  return static_cast<float>((value - units.centre) / units.unit);
}

/// In units, in steps of 2^-15. Ratings that only their scale tells apart, like 3 and 0.03, then have the same value,
/// bit by bit, and a training gives the same model. Without a change of units nothing is rounded, and neither are
/// logarithms, which promise no such thing: a step would be several ratings for large counts.
inline float to_units(float rating, const RatingUnits& units) {
  constexpr double kSteps = 32768.0;
  if (units == RatingUnits() || units.transform.kind != TransformKind::none) {
    return to_exact_units(rating, units);
  }
  const double value = (static_cast<double>(rating) - units.centre) / units.unit;
  return static_cast<float>(std::nearbyint(kSteps * value) / kSteps);
}

}  // namespace curate
