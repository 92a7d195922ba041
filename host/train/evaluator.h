#pragma once

#include <functional>
#include <optional>

#include "curate/dataset.h"
#include "curate/metrics.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "solvers/device_ratings.h"
#include "train/fallback.h"

namespace curate {

/// The scale, or without `clip` all numbers.
ClipRange clip_range(bool clip, const RatingScale& scale);

/// Metrics from summed errors of warm and of cold ratings.
Metrics to_metrics(const ErrorSums& warm, const ErrorSums& cold);

/// Metrics::log_rmse, if scale.units have a transform: of what `errors_in` sums in the scale that it is given, and of
/// `cold`, whose errors are of logarithms.
std::optional<double> log_rmse(const ErrorScale& scale, const ErrorSums& cold,
                               const std::function<ErrorSums(const ErrorScale&)>& errors_in);

/// Evaluates models that predict in scale.units on one rating set again and again. Ratings that the model predicts stay
/// on the device; the errors of cold ratings without features are summed on the host once.
class Evaluator {
 public:
  /// Ratings by what predicts them, those of the model in its units; `cold` has the errors of those that no model
  /// predicts.
  struct Parts {
    Parts(const RatingTable& ratings, const Fallback& fallback, const ErrorScale& scale);
    RatingTable warm;
    RatingTable described;
    ErrorSums cold;
    ErrorSums cold_logs;  ///< the same errors of logarithms, if the units have that transform
  };

  /// Room for so many ratings, whatever predicts them; before load() they all count as warm.
  Evaluator(Device& device, std::int64_t ratings, const ErrorScale& scale);
  Evaluator(Device& device, const RatingTable& ratings, const Fallback& fallback, const ErrorScale& scale);
  Evaluator(Device& device, const Parts& parts, const ErrorScale& scale);

  /// Uploads them. Throws std::out_of_range if they are more than there is room for.
  void load(const Parts& parts);

  Metrics evaluate(Scorer& model) const;

 private:
  ErrorSums errors_of(Scorer& model, const RatingsView& ratings, const ErrorScale& scale) const;

  Device* device_;
  ErrorScale scale_;
  ErrorSums cold_;
  ErrorSums cold_logs_;
  DeviceRatings ratings_;  ///< warm ones, then the cold ones that features stand in for
  std::int64_t warm_;
  std::int64_t described_ = 0;
  Buffer sums_;
};

}  // namespace curate
