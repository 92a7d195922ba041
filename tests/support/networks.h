#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "device/dropout_mask.h"
#include "models/rating_model.h"
#include "tests/support/devices.h"
#include "tests/support/features.h"
#include "tests/support/set_option.h"

namespace curate::test {

// Small networks, and what they compute written down in double precision.

inline constexpr std::int64_t kUsers = 4;
inline constexpr std::int64_t kItems = 5;
inline constexpr RatingScale kScale = {0.5F, 5.0F, 0.5F};

inline const HostRatings kRatings = {{0, 1, 1, 2, 0, 3}, {0, 0, 4, 2, 3, 3}, {4.0F, 1.5F, 5.0F, 2.0F, 3.5F, 0.5F}};

struct Network {
  const char* layers;
  const char* activations;
  const char* output;
  bool features = false;
  std::int32_t factors = 0;  ///< of neumf
  bool product = false;      ///< of the embeddings
};

/// Between them: every activation, no hidden layer, a layer of one, features and dot products, alone and together.
inline const std::vector<Network> kNetworks = {
    {"6,4", "tanh,linear", "sigmoid"},
    {"5", "relu", "linear"},
    {"7,1,3", "sigmoid,tanh,tanh", "relu"},
    {"none", "relu", "linear"},
    {"6,4", "tanh,linear", "sigmoid", true},
    {"none", "relu", "linear", true},
    {"6,4", "tanh,linear", "linear", false, 4},
    {"none", "relu", "linear", false, 1},
    {"6,4", "tanh,linear", "linear", false, 0, true},
    {"5", "relu", "linear", true, 0, true},
    {"5", "relu", "linear", true, 3},
};
inline const Network& kProduct = kNetworks[8];
inline const Network& kFeaturesAndFactors = kNetworks.back();

inline std::string label_of(const Network& network) {
  return std::string(network.layers) + (network.features ? " features" : "") + " factors " +
         std::to_string(network.factors) + (network.product ? " product" : "");
}

inline TrainOptions options_of(const Network& network) {
  TrainOptions options;
  options.model = network.factors > 0 ? ModelKind::neumf : ModelKind::mlp;
  options.user_dim = network.product ? 3 : 2;
  options.item_dim = 3;
  set_or_clear(options, "layers", network.layers);
  set_or_clear(options, "activations", network.activations);
  set_or_clear(options, "output", network.output);
  options.init_scale = 0.7;
  options.seed = 3;
  if (network.factors > 0) {
    options.factors = network.factors;
  } else {
    options.product = network.product;
  }
  if (network.features) {
    options.features = "genre,age,tags";
    options.feature_dim = {{"genre", 3}, {"age", 4}, {"tags", 1}};
  }
  return resolve(options);
}

struct Start {
  ModelSpec spec;
  TensorMap tensors;
};

inline Start start_of(const Network& network) {
  const TrainOptions options = options_of(network);
  Start start;
  start.spec = model_spec(options, kScale);
  if (network.features) {
    start.spec.features = three_features();
  }
  start.tensors = initial_parameters(options, start.spec, kUsers, kItems, 3.0);
  // Biases that are all different, for a formula that mixes them up; in wide layers no larger for that.
  for (auto& [name, tensor] : start.tensors) {
    if (name.find(".bias") != std::string::npos) {
      for (std::size_t e = 0; e < tensor.values.size(); ++e) {
        tensor.values[e] += 0.1F * static_cast<float>(e % 7 + 1);
      }
    }
  }
  return start;
}

inline double activate(const std::string& activation, double z, double low, double high) {
  if (activation == "relu") {
    return std::max(z, low);
  }
  if (activation == "tanh") {
    return std::tanh(z);
  }
  return activation == "sigmoid" ? low + (high - low) / (1.0 + std::exp(-z)) : z;
}

/// Rates of dropout in a training step.
struct Dropout {
  float user = 0.0F;
  float item = 0.0F;
  float feature = 0.0F;
  float dense = 0.0F;
};

inline RandomPurpose numbered(RandomPurpose first, std::size_t number) {
  return static_cast<RandomPurpose>(static_cast<std::uint32_t>(first) + static_cast<std::uint32_t>(number));
}

/// Multiplies the values from `first` on by the mask of the batch's row `position` in a TestEpoch, as device.h has it.
inline void drop(std::vector<double>& values, std::size_t first, float rate, RandomPurpose purpose,
                 std::int64_t position) {
  constexpr std::uint64_t kSeed = 1;  // of a TestEpoch
  const std::size_t cols = values.size() - first;
  for (std::size_t c = 0; c < cols && rate > 0.0F; ++c) {
    const PhiloxWords words =
        dropout_words(kSeed, position, static_cast<std::int64_t>(cols), static_cast<std::int64_t>(c / 4), 0, purpose);
    values[first + c] *= words.word[c % 4] < dropout_threshold(rate) ? 0.0 : 1.0 / (1.0 - static_cast<double>(rate));
  }
}

/// What goes into the first layer.
inline std::vector<double> inputs_of(const Start& start, std::int32_t user, std::int32_t item, const Dropout& dropout,
                                     std::int64_t position) {
  std::vector<double> values;
  for (const char* const side : {"user", "item"}) {
    const bool is_user = std::string(side) == "user";
    const std::size_t first = values.size();
    const Tensor& table = start.tensors.at(std::string(side) + ".embedding");
    for (std::int64_t k = 0; k < table.shape[1]; ++k) {
      const std::int64_t row = is_user ? user : item;
      values.push_back(static_cast<double>(table.values[static_cast<std::size_t>(row * table.shape[1] + k)]));
    }
    drop(values, first, is_user ? dropout.user : dropout.item,
         is_user ? RandomPurpose::dropout_user : RandomPurpose::dropout_item, position);
  }
  for (std::size_t f = 0; f < start.spec.features.size(); ++f) {
    const Feature& feature = start.spec.features[f];
    const std::size_t first = values.size();
    const Tensor& table = start.tensors.at(feature.prefix() + ".embedding");
    for (std::size_t k = 0; k < static_cast<std::size_t>(table.shape[1]); ++k) {
      values.push_back(mean_of_values(feature, table, feature.side == FeatureSide::user ? user : item, k));
    }
    drop(values, first, dropout.feature, numbered(RandomPurpose::dropout_feature, f), position);
  }
  return values;
}

/// The network written down in double precision; with dropout as it trains on the batch's row `position`.
inline double predict(const Start& start, std::int32_t user, std::int32_t item, const Dropout& dropout = {},
                      std::int64_t position = 0) {
  std::vector<double> values = inputs_of(start, user, item, dropout, position);
  double product = 0.0;
  if (start.spec.product) {
    const auto dim = static_cast<std::size_t>(start.tensors.at("user.embedding").shape[1]);
    for (std::size_t k = 0; k < dim; ++k) {
      product += values[k] * values[dim + k];
    }
  }
  for (std::size_t layer = 0; layer < start.spec.activations.size(); ++layer) {
    const std::string name = "dense." + std::to_string(layer);
    const Tensor& weight = start.tensors.at(name + ".weight");
    const bool last = layer + 1 == start.spec.activations.size();
    std::vector<double> next;
    for (std::size_t j = 0; j < static_cast<std::size_t>(weight.shape[0]); ++j) {
      double z = static_cast<double>(start.tensors.at(name + ".bias").values[j]);
      for (std::size_t k = 0; k < values.size(); ++k) {
        z += static_cast<double>(weight.values[j * values.size() + k]) * values[k];
      }
      const std::string& activation = start.spec.activations[layer];
      const float low = activation == "relu" ? start.spec.output_floor : start.spec.output_min;
      next.push_back(activate(activation, z, last ? static_cast<double>(low) : 0.0,
                              last ? static_cast<double>(start.spec.output_max) : 1.0));
    }
    values = next;
    if (!last) {
      drop(values, 0, dropout.dense, numbered(RandomPurpose::dropout_dense, layer), position);
    }
  }
  double sum = values.at(0) + product;
  if (start.spec.kind == "neumf") {
    const Tensor& factors = start.tensors.at("user.factors");
    const auto count = static_cast<std::size_t>(factors.shape[1]);
    for (std::size_t k = 0; k < count; ++k) {
      sum += static_cast<double>(factors.values[static_cast<std::size_t>(user) * count + k]) *
             static_cast<double>(start.tensors.at("item.factors").values[static_cast<std::size_t>(item) * count + k]);
    }
  }
  return sum;
}

struct Objective {
  LossKind loss = LossKind::mse;
  double reg = 0.0;
  double dense_reg = 0.0;
  double feature_reg = 0.0;
};

inline double squares(const Tensor& tensor, std::size_t begin, std::size_t count) {
  double sum = 0.0;
  for (std::size_t e = begin; e < begin + count; ++e) {
    sum += static_cast<double>(tensor.values[e]) * static_cast<double>(tensor.values[e]);
  }
  return sum;
}

inline double squares_of_row(const Tensor& table, std::int32_t row) {
  const auto cols = static_cast<std::size_t>(table.shape[1]);
  return squares(table, static_cast<std::size_t>(row) * cols, cols);
}

/// mean(loss + reg (|p|^2 + |q|^2)) + dense_reg sum |W|^2 + feature_reg sum |F|^2, where p and q have the factors too.
inline double objective(const Start& start, const Objective& params, const Dropout& dropout = {}) {
  double sum = 0.0;
  for (std::size_t n = 0; n < kRatings.ratings.size(); ++n) {
    const double error = predict(start, kRatings.users[n], kRatings.items[n], dropout, static_cast<std::int64_t>(n)) -
                         static_cast<double>(kRatings.ratings[n]);
    sum += params.loss == LossKind::mse ? error * error : std::abs(error);
    for (const char* what : {"embedding", "factors"}) {
      if (start.tensors.count(std::string("user.") + what) > 0) {
        sum += params.reg * squares_of_row(start.tensors.at(std::string("user.") + what), kRatings.users[n]);
        sum += params.reg * squares_of_row(start.tensors.at(std::string("item.") + what), kRatings.items[n]);
      }
    }
  }
  sum /= static_cast<double>(kRatings.size());
  for (const auto& [name, tensor] : start.tensors) {
    if (name.find(".weight") != std::string::npos) {
      sum += params.dense_reg * squares(tensor, 0, tensor.values.size());
    }
  }
  for (const Feature& feature : start.spec.features) {
    const Tensor& table = start.tensors.at(feature.prefix() + ".embedding");
    sum += params.feature_reg * squares(table, 0, table.values.size());
  }
  return sum;
}

/// Every user with every item: known and unknown to the features. Ratings are made up.
inline HostRatings all_pairs() {
  HostRatings pairs;
  for (std::int32_t user = 0; user < kUsers; ++user) {
    for (std::int32_t item = 0; item < kItems; ++item) {
      pairs.users.push_back(user);
      pairs.items.push_back(item);
      pairs.ratings.push_back(0.5F * static_cast<float>(1 + (3 * user + 7 * item) % 10));
    }
  }
  return pairs;
}

}  // namespace curate::test
