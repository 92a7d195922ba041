#pragma once

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

/// Evaluates models on one rating set again and again. Ratings that the model predicts stay on the device; the errors
/// of cold ratings without features are summed on the host once.
class Evaluator {
 public:
  /// Ratings by what predicts them; `cold` has the errors of those that no model predicts.
  struct Parts {
    Parts(const RatingTable& ratings, const Fallback& fallback, ClipRange clip);
    RatingTable warm;
    RatingTable described;
    ErrorSums cold;
  };

  Evaluator(Device& device, const RatingTable& ratings, const Fallback& fallback, ClipRange clip);
  Evaluator(Device& device, const Parts& parts, ClipRange clip);

  Metrics evaluate(Scorer& model) const;

 private:
  ErrorSums errors_of(Scorer& model, const DeviceRatings& ratings) const;

  Device* device_;
  ClipRange clip_;
  ErrorSums cold_;
  DeviceRatings warm_;
  DeviceRatings described_;  ///< cold ratings that features stand in for
  Buffer sums_;
};

}  // namespace curate
