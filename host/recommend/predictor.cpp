#include "recommend/predictor.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "solvers/device_ratings.h"
#include "train/evaluator.h"

namespace curate {

Predictor::Predictor(Device& device, const Model::Parts& parts)
    : Predictor(device, parts, make_model(device, parts.spec, parts.tensors)) {}

Predictor::Predictor(Device& device, const Model::Parts& parts, std::unique_ptr<RatingModel> resident)
    : device_(&device),
      parts_(&parts),
      fallback_(parts),
      clip_(clip_range(parts.clip, parts.scale)),
      resident_(std::move(resident)) {}

std::vector<Prediction> Predictor::predict(std::span<const RawPair> pairs) {
  std::vector<Prediction> predictions(pairs.size());
  std::vector<std::size_t> warm;
  RatingTable table;
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    const std::int32_t user = parts_->users.find(pairs[n].user).value_or(-1);
    const std::int32_t item = parts_->items.find(pairs[n].item).value_or(-1);
    predictions[n] = fallback_.predict(user, item);
    if (predictions[n].basis == PredictionBasis::model || predictions[n].basis == PredictionBasis::features) {
      warm.push_back(n);
      table.users.push_back(user);
      table.items.push_back(item);
      table.ratings.push_back(0.0F);
    }
  }
  if (!warm.empty()) {
    const DeviceRatings on_device(*device_, table);
    const std::vector<float> values = resident_->predict(on_device.view().users, on_device.view().items);
    for (std::size_t w = 0; w < warm.size(); ++w) {
      predictions[warm[w]].rating = values[w];
    }
  }
  for (Prediction& prediction : predictions) {
    prediction.rating = std::clamp(prediction.rating, clip_.min, clip_.max);
  }
  return predictions;
}

Metrics Predictor::evaluate(const RatingTable& ratings) {
  return Evaluator(*device_, ratings, fallback_, clip_).evaluate(*resident_);
}

std::vector<Prediction> Model::predict(std::span<const RawPair> pairs, const ComputeOptions& compute) const {
  const auto device = make_device(compute.device, compute.threads);
  return Predictor(*device, parts_).predict(pairs);
}

Metrics Model::evaluate(const RatingTable& ratings, const ComputeOptions& compute) const {
  const auto device = make_device(compute.device, compute.threads);
  return Predictor(*device, parts_).evaluate(ratings);
}

}  // namespace curate
