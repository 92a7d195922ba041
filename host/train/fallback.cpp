#include "train/fallback.h"

namespace curate {
namespace {

bool is_known(std::int32_t id, std::span<const std::int64_t> counts) {
  return id >= 0 && static_cast<std::size_t>(id) < counts.size() && counts[static_cast<std::size_t>(id)] > 0;
}

bool is_described(std::int32_t id, const std::vector<bool>& described) {
  return id >= 0 && static_cast<std::size_t>(id) < described.size() && described[static_cast<std::size_t>(id)];
}

}  // namespace

Fallback::Fallback(const BiasFit& fit, const std::vector<Feature>& features)
    : mean_(static_cast<float>(fit.mean)),
      own_user_offset_(fit.user.begin(), fit.user.end()),
      own_item_offset_(fit.item.begin(), fit.item.end()),
      own_user_counts_(fit.user_counts),
      own_item_counts_(fit.item_counts) {
  describe(features);
  user_offset_ = own_user_offset_;
  item_offset_ = own_item_offset_;
  user_counts_ = own_user_counts_;
  item_counts_ = own_item_counts_;
}

std::size_t Fallback::bytes(std::int64_t users, std::int64_t items) {
  return static_cast<std::size_t>(users + items) * (sizeof(float) + sizeof(std::int64_t));
}

Fallback::Fallback(const Model::Parts& parts)
    : mean_(parts.tensors.at("fallback.mean").values.at(0)),
      user_offset_(parts.tensors.at("fallback.user").values),
      item_offset_(parts.tensors.at("fallback.item").values),
      user_counts_(parts.user_counts),
      item_counts_(parts.item_counts) {
  describe(parts.spec.features);
}

void Fallback::describe(const std::vector<Feature>& features) {
  for (const Feature& feature : features) {
    std::vector<bool>& described = feature.side == FeatureSide::user ? user_described_ : item_described_;
    described.resize(static_cast<std::size_t>(feature.rows()));
    for (std::int32_t row = 0; row < feature.rows(); ++row) {
      if (feature.knows(row)) {
        described[static_cast<std::size_t>(row)] = true;
      }
    }
  }
}

Prediction Fallback::predict(std::int32_t user, std::int32_t item) const {
  const bool user_known = is_known(user, user_counts_);
  const bool item_known = is_known(item, item_counts_);
  if (user_known && item_known) {
    return {mean_, PredictionBasis::model};
  }
  if ((user_known || is_described(user, user_described_)) && (item_known || is_described(item, item_described_))) {
    return {mean_, PredictionBasis::features};
  }
  if (user_known) {
    return {mean_ + user_offset_[static_cast<std::size_t>(user)], PredictionBasis::user_mean};
  }
  if (item_known) {
    return {mean_ + item_offset_[static_cast<std::size_t>(item)], PredictionBasis::item_mean};
  }
  return {mean_, PredictionBasis::global_mean};
}

void Fallback::fetch(std::int32_t user, std::int32_t item) const {
  if (user >= 0) {
    __builtin_prefetch(user_counts_.data() + user);
  }
  if (item >= 0) {
    __builtin_prefetch(item_counts_.data() + item);
  }
}

void Fallback::add_tensors(TensorMap& tensors) const {
  const auto tensor_of = [](std::span<const float> values) {
    return Tensor{{static_cast<std::int64_t>(values.size())}, {values.begin(), values.end()}};
  };
  tensors["fallback.user"] = tensor_of(user_offset_);
  tensors["fallback.item"] = tensor_of(item_offset_);
  tensors["fallback.mean"] = {{1}, {mean_}};
}

}  // namespace curate
