#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/reference/mf.h"
#include "tests/reference/rating_errors.h"
#include "tests/reference/rating_loss.h"

namespace curate::reference {

/// Adds the errors of all ratings to sums. Returns the clamped predictions.
inline std::vector<double> sum_squared_error(ErrorSums& sums, const Mf& mf, const std::vector<std::int32_t>& users,
                                             const std::vector<std::int32_t>& items, const std::vector<float>& ratings,
                                             const ErrorScale& scale) {
  std::vector<double> predictions;
  for (std::size_t j = 0; j < ratings.size(); ++j) {
    const double clamped = std::clamp(in_own_units(predict(mf, users.at(j), items.at(j)), scale.units),
                                      static_cast<double>(scale.clip.min), static_cast<double>(scale.clip.max));
    predictions.push_back(clamped);
    add_error(sums, clamped, in_own_units(static_cast<double>(ratings.at(j)), scale.units));
  }
  return predictions;
}

}  // namespace curate::reference
