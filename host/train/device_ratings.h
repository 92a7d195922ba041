#pragma once

#include "curate/dataset.h"
#include "curate/metrics.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "train/fallback.h"

namespace curate {

/// Users, items and ratings in device memory.
class DeviceRatings {
 public:
  /// Uninitialised room for `count` ratings.
  DeviceRatings(Device& device, std::int64_t count);
  DeviceRatings(Device& device, const RatingTable& table);

  std::int64_t size() const { return count_; }
  RatingsView view() const;

 private:
  std::int64_t count_;
  Buffer users_;
  Buffer items_;
  Buffer ratings_;
};

/// Metrics from summed errors of warm and of cold ratings.
Metrics to_metrics(const ErrorSums& warm, const ErrorSums& cold);

/// Evaluates models on one rating set again and again: the warm ratings stay on the device, the cold ones are summed on
/// the host once.
class Evaluator {
 public:
  Evaluator(Device& device, const RatingTable& ratings, const Fallback& fallback, ClipRange clip);

  Metrics evaluate(RatingModel& model) const;

 private:
  Device* device_;
  ClipRange clip_;
  ErrorSums cold_;
  DeviceRatings warm_;
  Buffer sums_;
};

}  // namespace curate
