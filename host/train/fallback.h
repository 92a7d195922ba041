#pragma once

#include <cstdint>
#include <vector>

#include "curate/dataset.h"
#include "curate/model.h"

namespace curate {

/// Predictions for users and items that training has not seen, and of whom no feature is known either.
class Fallback {
 public:
  /// From training ratings over `users` and `items` dense ids.
  Fallback(const RatingTable& train, std::int32_t users, std::int32_t items, const std::vector<Feature>& features);
  /// From a saved model's fallback.* tensors and counts.
  explicit Fallback(const Model::Parts& parts);

  /// The fallback's rating and what it rests on, if user or item is unknown: outside the ids, or without a training
  /// rating and a feature. If the model can tell, the basis is `model` or `features` and the rating is meaningless.
  Prediction predict(std::int32_t user, std::int32_t item) const;

  double mean() const { return static_cast<double>(mean_); }

  const std::vector<std::int64_t>& user_counts() const { return user_counts_; }
  const std::vector<std::int64_t>& item_counts() const { return item_counts_; }

  /// fallback.user, fallback.item, fallback.mean.
  void add_tensors(TensorMap& tensors) const;

 private:
  void describe(const std::vector<Feature>& features);

  float mean_ = 0.0F;
  std::vector<float> user_offset_;
  std::vector<float> item_offset_;
  std::vector<std::int64_t> user_counts_;
  std::vector<std::int64_t> item_counts_;
  std::vector<bool> user_described_;  ///< by a feature; empty: none is
  std::vector<bool> item_described_;
};

}  // namespace curate
