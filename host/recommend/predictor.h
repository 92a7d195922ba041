#pragma once

#include <memory>
#include <span>
#include <vector>

#include "curate/model.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "train/fallback.h"

namespace curate {

/// Predicts with a model that stays on a device. The device and the parts have to outlive it.
class Predictor {
 public:
  /// Uploads the parameters.
  Predictor(Device& device, const Model::Parts& parts);
  /// With a model that is there already, as a training leaves it: its parameters are those of `parts`.
  Predictor(Device& device, const Model::Parts& parts, std::unique_ptr<RatingModel> resident);

  /// As Model::predict.
  std::vector<Prediction> predict(std::span<const RawPair> pairs);

  /// As Model::evaluate.
  Metrics evaluate(const RatingTable& ratings);

 private:
  Device* device_;
  const Model::Parts* parts_;
  Fallback fallback_;
  ClipRange clip_;
  std::unique_ptr<RatingModel> resident_;
};

}  // namespace curate
