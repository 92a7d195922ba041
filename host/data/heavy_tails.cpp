#include "data/heavy_tails.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace curate {

std::optional<HeavyTails> find_heavy_tails(const RatingTable& ratings, const RatingScale& scale) {
  const double fewest = HeavyTails::kSteps * static_cast<double>(scale.step);
  // Most data sets end here, unread.
  if (ratings.size() == 0 || static_cast<double>(scale.max) - static_cast<double>(scale.min) <= fewest) {
    return std::nullopt;
  }
  const auto count = static_cast<double>(ratings.size());
  HeavyTails tails;
  double sum = 0.0;
  for (const float rating : ratings.ratings) {
    sum += static_cast<double>(rating);
  }
  tails.mean = sum / count;
  double squared = 0.0;
  for (const float rating : ratings.ratings) {
    const double offset = static_cast<double>(rating) - tails.mean;
    squared += offset * offset;
  }
  const double deviation = std::sqrt(squared / count);
  const double limit = std::max(HeavyTails::kDeviations * deviation, fewest);
  double farthest = 0.0;
  std::size_t place = 0;
  for (std::size_t k = 0; k < ratings.ratings.size(); ++k) {
    const double distance = std::abs(static_cast<double>(ratings.ratings[k]) - tails.mean);
    tails.count += distance > limit ? 1 : 0;
    if (distance > farthest) {
      farthest = distance;
      place = k;
    }
  }
  if (tails.count == 0) {
    return std::nullopt;
  }
  tails.user = ratings.users[place];
  tails.item = ratings.items[place];
  tails.rating = ratings.ratings[place];
  tails.deviations = farthest / deviation;
  return tails;
}

}  // namespace curate
