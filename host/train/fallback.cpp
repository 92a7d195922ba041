#include "train/fallback.h"

namespace curate {
namespace {

// Koren 2010, "Factor in the neighbors", section 2.1: lambda_2 and lambda_3.
constexpr double kItemDamping = 25.0;
constexpr double kUserDamping = 10.0;

bool is_known(std::int32_t id, std::span<const std::int64_t> counts) {
  return id >= 0 && static_cast<std::size_t>(id) < counts.size() && counts[static_cast<std::size_t>(id)] > 0;
}

bool is_described(std::int32_t id, const std::vector<bool>& described) {
  return id >= 0 && static_cast<std::size_t>(id) < described.size() && described[static_cast<std::size_t>(id)];
}

}  // namespace

Fallback::Fallback(const RatingTable& train, std::int32_t users, std::int32_t items,
                   const std::vector<Feature>& features)
    : own_user_offset_(static_cast<std::size_t>(users)),
      own_item_offset_(static_cast<std::size_t>(items)),
      own_user_counts_(static_cast<std::size_t>(users)),
      own_item_counts_(static_cast<std::size_t>(items)) {
  describe(features);
  const auto count = static_cast<std::size_t>(train.size());
  double total = 0.0;
  for (const float rating : train.ratings) {
    total += static_cast<double>(rating);
  }
  const double mean = count == 0 ? 0.0 : total / static_cast<double>(count);
  mean_ = static_cast<float>(mean);
  std::vector<double> item_sum(own_item_offset_.size());
  for (std::size_t n = 0; n < count; ++n) {
    const auto item = static_cast<std::size_t>(train.items[n]);
    item_sum[item] += static_cast<double>(train.ratings[n]) - mean;
    ++own_item_counts_[item];
    ++own_user_counts_[static_cast<std::size_t>(train.users[n])];
  }
  std::vector<double> item_offset(item_sum.size());
  for (std::size_t item = 0; item < item_sum.size(); ++item) {
    item_offset[item] = item_sum[item] / (static_cast<double>(own_item_counts_[item]) + kItemDamping);
    own_item_offset_[item] = static_cast<float>(item_offset[item]);
  }
  std::vector<double> user_sum(own_user_offset_.size());
  for (std::size_t n = 0; n < count; ++n) {
    user_sum[static_cast<std::size_t>(train.users[n])] +=
        static_cast<double>(train.ratings[n]) - mean - item_offset[static_cast<std::size_t>(train.items[n])];
  }
  for (std::size_t user = 0; user < user_sum.size(); ++user) {
    own_user_offset_[user] =
        static_cast<float>(user_sum[user] / (static_cast<double>(own_user_counts_[user]) + kUserDamping));
  }
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
