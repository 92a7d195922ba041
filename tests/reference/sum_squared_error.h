#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/reference/mf.h"
#include "tests/reference/rating_loss.h"

namespace curate::reference {

/// Adds the errors of all ratings to sums. Returns the clamped predictions.
inline std::vector<double> sum_squared_error(ErrorSums& sums, const Mf& mf, const std::vector<std::int32_t>& users,
                                             const std::vector<std::int32_t>& items, const std::vector<float>& ratings,
                                             ClipRange clip) {
  std::vector<double> predictions;
  for (std::size_t j = 0; j < ratings.size(); ++j) {
    const double clamped =
        std::clamp(predict(mf, users.at(j), items.at(j)), static_cast<double>(clip.min), static_cast<double>(clip.max));
    predictions.push_back(clamped);
    add_error(sums, clamped, static_cast<double>(ratings.at(j)));
  }
  return predictions;
}

}  // namespace curate::reference
