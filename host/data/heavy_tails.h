#pragma once

#include <cstdint>
#include <optional>

#include "curate/dataset.h"

namespace curate {

/// Ratings of which a few lie far from all others: a mistake in the data, or counts. A far rating lies more than
/// kDeviations standard deviations and, if ratings lie on a grid, more than kSteps steps from the mean. On a scale like
/// 1..10 or -10..10 no rating does, however few users give the lowest or the highest grade.
struct HeavyTails {
  static constexpr double kDeviations = 10.0;
  static constexpr double kSteps = 20.0;

  // The farthest rating, of equally far ones the first in the table.
  std::int32_t user = 0;
  std::int32_t item = 0;
  float rating = 0.0F;
  double deviations = 0.0;  ///< its distance from the mean in standard deviations

  double mean = 0.0;       ///< of all ratings
  std::int64_t count = 0;  ///< far ratings, this one too

  bool above() const { return static_cast<double>(rating) > mean; }
};

/// Nothing if no rating is far. `scale` is that of the ratings, or a wider one.
std::optional<HeavyTails> find_heavy_tails(const RatingTable& ratings, const RatingScale& scale);

}  // namespace curate
