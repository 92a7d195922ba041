#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/reference/rating_loss.h"

namespace curate::reference {

/// Adds the errors of the first `count` predictions, clamped, against the ratings from `begin` on.
inline void rating_errors(ErrorSums& sums, const std::vector<double>& prediction, const std::vector<double>& ratings,
                          ClipRange clip, std::int64_t begin, std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    const double clamped = std::min(std::max(prediction.at(static_cast<std::size_t>(b)), static_cast<double>(clip.min)),
                                    static_cast<double>(clip.max));
    add_error(sums, clamped, ratings.at(static_cast<std::size_t>(begin + b)));
  }
}

}  // namespace curate::reference
