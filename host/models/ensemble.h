#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "device/device.h"
#include "models/rating_model.h"

namespace curate {

/// Mean and sample standard deviation of predictions that come one by one, in double precision (Welford, "Note on a
/// method for calculating corrected sums of squares and products", Technometrics 1962). Predictions that are all the
/// same have just that mean, and no spread.
class MeanAndSpread {
 public:
  void add(float prediction) {
    ++count_;
    const double from_mean = static_cast<double>(prediction) - mean_;
    mean_ += from_mean / static_cast<double>(count_);
    squares_ += from_mean * (static_cast<double>(prediction) - mean_);
  }

  float mean() const { return static_cast<float>(mean_); }
  /// 0 for less than two.
  float spread() const {
    return count_ < 2 ? 0.0F : static_cast<float>(std::sqrt(squares_ / static_cast<double>(count_ - 1)));
  }

 private:
  std::int64_t count_ = 0;
  double mean_ = 0.0;
  double squares_ = 0.0;  ///< of the distances from the mean
};

/// Predicts the mean of its members' predictions, block by block: beyond what the members take it needs memory for one
/// block of pairs, however many members and pairs there are. Sums of errors wait for the device. At least one member.
std::unique_ptr<Scorer> make_ensemble(Device& device, std::vector<std::unique_ptr<Scorer>> members);

/// Whether a device gets parameters in its own layout, or reads them where they are if it can.
enum class ParameterPlace : std::uint8_t { laid_out, where_they_are };

/// What scores with a model or an ensemble on a device. Where they are read in place, the parts have to outlive it.
std::unique_ptr<Scorer> make_scorer(Device& device, const Model::Parts& parts, ParameterPlace place);

}  // namespace curate
