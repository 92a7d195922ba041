#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/reference/rating_loss.h"

namespace curate::reference {

/// A prediction or a rating in units, in ratings' own.
inline double in_own_units(double value, const RatingUnits& units) {
  const double sum = units.centre + units.unit * value;
  if (units.transform.kind == TransformKind::none) {
    return sum;
  }
  // log(1 + r - start), mirrored below the start.
  return sum >= 0.0 ? units.transform.start + (std::exp(sum) - 1.0) : units.transform.start - (std::exp(-sum) - 1.0);
}

/// Adds the errors of the first `count` predictions, clamped, against the ratings from `begin` on.
inline void rating_errors(ErrorSums& sums, const std::vector<double>& prediction, const std::vector<double>& ratings,
                          const ErrorScale& scale, std::int64_t begin, std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    const double predicted = in_own_units(prediction.at(static_cast<std::size_t>(b)), scale.units);
    const double clamped =
        std::min(std::max(predicted, static_cast<double>(scale.clip.min)), static_cast<double>(scale.clip.max));
    add_error(sums, clamped, in_own_units(ratings.at(static_cast<std::size_t>(begin + b)), scale.units));
  }
}

}  // namespace curate::reference
