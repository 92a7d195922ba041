#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "curate/dataset.h"
#include "curate/model.h"
#include "solvers/bias_ridge.h"

namespace curate {

/// Whether the model predicts, rather than a mean.
inline bool is_of_model(PredictionBasis basis) {
  return basis == PredictionBasis::model || basis == PredictionBasis::features;
}

/// Predictions for users and items that training has not seen, and of whom no feature is known either: what the bias
/// model has of the other side.
class Fallback {
 public:
  /// The bias model's.
  Fallback(const BiasFit& fit, const std::vector<Feature>& features);
  /// Of a model, by its fallback.* tensors and counts, which have to outlive it.
  explicit Fallback(const Model::Parts& parts);
  /// What the first kind takes.
  static std::size_t bytes(std::int64_t users, std::int64_t items);
  Fallback(const Fallback&) = delete;  // views of members
  Fallback& operator=(const Fallback&) = delete;

  /// The fallback's rating and what it rests on, if user or item is unknown: outside the ids, or without a training
  /// rating and a feature. If the model can tell, the basis is `model` or `features` and the rating is meaningless.
  Prediction predict(std::int32_t user, std::int32_t item) const;

  double mean() const { return static_cast<double>(mean_); }

  /// Asks the memory for what predict() reads of them. Ids may lie outside.
  void fetch(std::int32_t user, std::int32_t item) const;

  std::vector<std::int64_t> user_counts() const { return {user_counts_.begin(), user_counts_.end()}; }
  std::vector<std::int64_t> item_counts() const { return {item_counts_.begin(), item_counts_.end()}; }

  /// fallback.user, fallback.item, fallback.mean.
  void add_tensors(TensorMap& tensors) const;

 private:
  void describe(const std::vector<Feature>& features);

  float mean_ = 0.0F;
  std::span<const float> user_offset_;
  std::span<const float> item_offset_;
  std::span<const std::int64_t> user_counts_;
  std::span<const std::int64_t> item_counts_;
  std::vector<bool> user_described_;  ///< by a feature; empty: none is
  std::vector<bool> item_described_;
  // Without a model that has them.
  std::vector<float> own_user_offset_;
  std::vector<float> own_item_offset_;
  std::vector<std::int64_t> own_user_counts_;
  std::vector<std::int64_t> own_item_counts_;
};

}  // namespace curate
