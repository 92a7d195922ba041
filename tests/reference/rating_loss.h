#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"

namespace curate::reference {

inline double round_half_to_even(double value) {
  const double below = std::floor(value);
  const double rest = value - below;
  if (rest != 0.5) {
    return rest < 0.5 ? below : below + 1.0;
  }
  return std::fmod(below, 2.0) == 0.0 ? below : below + 1.0;
}

inline void add_error(ErrorSums& sums, double prediction, double rating) {
  const double error = prediction - rating;
  sums.squared += error * error;
  sums.absolute += std::abs(error);
  sums.absolute_whole_stars += std::abs(round_half_to_even(prediction) - rating);
  sums.count += 1;
}

/// The mean loss of all predictions.
inline double mean_loss(const std::vector<double>& prediction, const std::vector<double>& ratings, LossKind kind) {
  double sum = 0.0;
  for (std::size_t b = 0; b < prediction.size(); ++b) {
    const double error = prediction.at(b) - ratings.at(b);
    sum += kind == LossKind::mse ? error * error : std::abs(error);
  }
  return sum / static_cast<double>(prediction.size());
}

/// The gradient of mean_loss by each prediction.
inline std::vector<double> rating_loss(const std::vector<double>& prediction, const std::vector<double>& ratings,
                                       LossKind kind) {
  const auto n = static_cast<double>(prediction.size());
  std::vector<double> grad;
  for (std::size_t b = 0; b < prediction.size(); ++b) {
    const double error = prediction.at(b) - ratings.at(b);
    if (kind == LossKind::mse) {
      grad.push_back(2.0 * error / n);
    } else {
      const double sign = error > 0.0 ? 1.0 : (error < 0.0 ? -1.0 : 0.0);
      grad.push_back(sign / n);
    }
  }
  return grad;
}

}  // namespace curate::reference
