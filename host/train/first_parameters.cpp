#include "train/first_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace curate {

bool contains_bias_model(const TrainOptions& options) {
  if (!options.global_mean || options.units != UnitsKind::spread || options.transform != TransformKind::none ||
      !options.features.empty()) {
    return false;
  }
  if (!is_network(options.model)) {
    return options.biases;
  }
  if (options.non_negative) {
    return false;  // an offset may be below 0
  }
  return options.model == ModelKind::neumf ? *options.factors > 1
                                           : options.product.value_or(false) && *options.user_dim > 1;
}

bool starts_from_biases(const TrainOptions& options) {
  return options.model == ModelKind::mf && contains_bias_model(options);
}

double error_of_biases(const RatingTable& ratings, const BiasFit& fit, ClipRange clip) {
  double squares = 0.0;
  for (std::size_t n = 0; n < ratings.ratings.size(); ++n) {
    const double prediction = fit.mean + fit.user[static_cast<std::size_t>(ratings.users[n])] +
                              fit.item[static_cast<std::size_t>(ratings.items[n])];
    const double error = std::clamp(prediction, static_cast<double>(clip.min), static_cast<double>(clip.max)) -
                         static_cast<double>(ratings.ratings[n]);
    squares += error * error;
  }
  return ratings.size() == 0 ? 0.0 : std::sqrt(squares / static_cast<double>(ratings.size()));
}

BiasRidges ridges_of(const BiasFit& fit) {
  constexpr double kMost = 1e4;
  const auto ridge = [&](double variance) {
    return static_cast<float>(std::min(kMost, 1.0 / std::max(variance, 1e-30)));
  };
  return {ridge(fit.variances.user), ridge(fit.variances.item)};
}

void clear_unseen(TensorMap& tensors, const char* side, const std::vector<std::int64_t>& counts) {
  for (const char* what : {"embedding", "factors"}) {
    const auto found = tensors.find(fmt::format("{}.{}", side, what));
    if (found == tensors.end()) {
      continue;
    }
    std::vector<float>& values = found->second.values;
    const std::size_t dim = values.size() / std::max<std::size_t>(1, counts.size());
    for (std::size_t row = 0; row < counts.size(); ++row) {
      if (counts[row] == 0) {
        std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(row * dim), dim, 0.0F);
      }
    }
  }
}

void put_biases(TensorMap& tensors, const TrainOptions& options, const BiasFit& fit, const RatingUnits& units) {
  const bool network = is_network(options.model);
  const std::string what = !network ? ".bias" : options.model == ModelKind::neumf ? ".factors" : ".embedding";
  const auto put = [&](const std::string& side, const std::vector<double>& offsets, std::size_t own) {
    Tensor& tensor = tensors.at(side + what);
    const std::size_t columns = network ? static_cast<std::size_t>(tensor.shape[1]) : 1;
    if (network) {
      std::fill(tensor.values.begin(), tensor.values.end(), 0.0F);
    }
    for (std::size_t row = 0; row < offsets.size(); ++row) {
      tensor.values[row * columns + own] = static_cast<float>(offsets[row] / units.unit);
      if (network) {
        tensor.values[row * columns + 1 - own] = 1.0F;  // the product is b_u * 1 + 1 * b_i
      }
    }
  };
  put("user", fit.user, 0);
  put("item", fit.item, network ? 1 : 0);
  const std::string mean = network ? fmt::format("dense.{}.bias", options.layers->size()) : std::string("global_mean");
  tensors.at(mean).values[0] = static_cast<float>((fit.mean - units.centre) / units.unit);
}

}  // namespace curate
