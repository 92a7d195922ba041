#include "curate/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <string_view>
#include <type_traits>
#include <utility>

#include "curate/error.h"
#include "device/cuda_engine.h"
#include "models/option_lists.h"
#include "solvers/solver.h"
#include "support/printable.h"
#include "support/toml_text.h"
#include "train/option_visit.h"

namespace curate {
namespace {

constexpr double kAuto = -1.0;

void require_choice(const OptionInfo& info, const std::string& value, const std::string& part) {
  if (std::find(info.choices.begin(), info.choices.end(), part) == info.choices.end()) {
    throw InputError(std::string(info.key), printable(value),
                     fmt::format("not one of {}", fmt::join(info.choices, ", ")));
  }
}

/// Keys of options that are "auto" where nothing is given.
std::set<std::string_view> auto_keys() {
  std::set<std::string_view> keys;
  visit_options(TrainOptions(), [&](const auto& value, const OptionInfo& info) {
    if (is_auto(info.key, value)) {
      keys.insert(info.key);
    }
  });
  return keys;
}

/// Values that the option table refuses, whatever the model. "Auto" is taken.
void check_values(const TrainOptions& options) {
  static const std::set<std::string_view> may_be_auto = auto_keys();
  visit_options(options, [](const auto& value, const OptionInfo& info) {
    using T = std::decay_t<decltype(value)>;
    if (is_auto(info.key, value) && may_be_auto.contains(info.key)) {
      return;
    }
    if constexpr (std::is_same_v<T, std::string>) {
      if (info.type == OptionType::choice) {
        require_choice(info, value, value);
      } else if (info.type == OptionType::choices) {
        for (const std::string& part : split_list(value)) {
          require_choice(info, value, part);
        }
      }
    } else if constexpr (!std::is_same_v<T, bool>) {
      const auto number = static_cast<double>(value);
      if (!(std::isfinite(number) && number >= info.least && number <= info.most)) {
        throw InputError(std::string(info.key), fmt::format("{}", value), fmt::format("must be {}", info.values));
      }
    }
  });
}

/// What only the mlp model has.
void resolve_network(TrainOptions& options) {
  const auto fill = [](std::string& value, const char* by_default) {
    if (value.empty()) {
      value = by_default;
    }
  };
  options.user_dim = options.user_dim == -1 ? options.dim : options.user_dim;
  options.item_dim = options.item_dim == -1 ? options.dim : options.item_dim;
  fill(options.layers, "64,32");
  fill(options.activations, "relu");
  fill(options.output, "linear");
  fill(options.dropout, "0.4");
  if (options.layers != "none") {
    for (const std::string& width : split_list(options.layers)) {
      const std::optional<double> number = parse_number(width);
      require(number && *number >= 1.0 && *number <= 8192.0 && *number == std::floor(*number), "layers", options.layers,
              "write widths from 1 to 8192 with commas between them, like 100,50,20, or none");
    }
  }
  const std::size_t hidden = layer_widths(options).size() - 1;
  const std::vector<std::string> activations = split_list(options.activations);
  require(activations.size() == 1 || activations.size() == hidden, "activations", options.activations,
          fmt::format("give one for all hidden layers or {}, one for each", hidden).c_str());
  const std::vector<std::string> rates = split_list(options.dropout);
  for (const std::string& rate : rates) {
    const std::optional<double> number = parse_number(rate);
    require(number && *number >= 0.0 && *number <= 0.95, "dropout", options.dropout, "rates must be 0 to 0.95");
  }
  require(rates.size() <= 2, "dropout", options.dropout, "give one rate, or two: USER,ITEM");
  options.dense_dropout = options.dense_dropout == kAuto ? 0.0 : options.dense_dropout;
  options.dense_reg = options.dense_reg == kAuto ? 0.0 : options.dense_reg;
  fill(options.products, "f32");
  options.biases = false;
  if (options.model == "neumf") {
    options.factors = options.factors == -1 ? options.dim : options.factors;
    require(options.output == "linear", "output", options.output,
            "neumf adds a dot product to the output, which is linear; leave it out, or give `model` mlp");
  } else {
    require(options.factors == -1, "factors", fmt::format("{}", options.factors),
            "only the neumf model has them; give `model` neumf as well, or `dim` for the embeddings");
  }
}

void resolve_features(TrainOptions& options, bool network) {
  if (options.features.empty()) {
    constexpr const char* kRemedy = "there are no features; give `features` as well";
    require(options.feature_dim.empty(), "feature_dim", options.feature_dim, kRemedy);
    require(options.feature_dropout == kAuto, "feature_dropout", fmt::format("{}", options.feature_dropout), kRemedy);
    require(options.feature_reg == kAuto, "feature_reg", fmt::format("{}", options.feature_reg), kRemedy);
    return;
  }
  options.feature_reg = options.feature_reg == kAuto ? (network ? 0.001 : 0.01) : options.feature_reg;
  if (network) {
    parse_feature_dims(options.feature_dim);
    options.feature_dropout = options.feature_dropout == kAuto ? 0.0 : options.feature_dropout;
    return;
  }
  require(options.feature_dim.empty(), "feature_dim", options.feature_dim,
          "in mf features have the columns of users and items; give `dim` alone");
  require(options.feature_dropout == kAuto, "feature_dropout", fmt::format("{}", options.feature_dropout),
          "only networks have that; give `model` mlp as well");
}

/// A model without layers takes none of the options of layers.
void refuse_network_options(const TrainOptions& options) {
  constexpr const char* kRemedy = "only the mlp model has that; give `model` mlp as well";
  require(options.user_dim == -1, "user_dim", fmt::format("{}", options.user_dim), kRemedy);
  require(options.item_dim == -1, "item_dim", fmt::format("{}", options.item_dim), kRemedy);
  require(options.layers.empty(), "layers", options.layers, kRemedy);
  require(options.activations.empty(), "activations", options.activations, kRemedy);
  require(options.output.empty(), "output", options.output, kRemedy);
  require(options.dropout.empty(), "dropout", options.dropout, kRemedy);
  require(options.dense_dropout == kAuto, "dense_dropout", fmt::format("{}", options.dense_dropout), kRemedy);
  require(options.dense_reg == kAuto, "dense_reg", fmt::format("{}", options.dense_reg), kRemedy);
  require(options.factors == -1, "factors", fmt::format("{}", options.factors),
          "those of mf are `dim`; give that, or `model` neumf as well");
  require(options.products.empty(), "products", options.products, kRemedy);
}

/// Beyond it the most active user or the most popular film may have so many ratings in a batch that SGD overshoots.
constexpr std::int64_t kLargestPlainSgd = 1024;

/// Beyond it an epoch has few steps for Adam as it is in small batches.
constexpr std::int64_t kLargeBatch = 4096;

bool is_large_batch(const TrainOptions& options) {
  return options.batch > kLargeBatch;
}

/// Whether users and items, and nothing that all of them share, are learnt by mini-batch SGD.
bool has_sgd_of_rows(const TrainOptions& options, bool per_rating) {
  return options.optimizer == "sgd+adam" || (options.optimizer == "sgd" && options.model == "mf" && !per_rating);
}

double default_learning_rate(const TrainOptions& options, bool per_rating) {
  if (per_rating) {
    return 0.03;
  }
  const auto batch = static_cast<double>(options.batch);
  if (has_sgd_of_rows(options, per_rating)) {
    // The gradient is a mean over the batch while a row sees few of its ratings: with a rate in proportion to the batch
    // a rating moves its rows as far whatever the batch. default_damping keeps that from overshooting.
    return (options.optimizer == "sgd" ? 0.02 : options.model == "mf" ? 0.012 : 0.01) * batch;
  }
  if (options.optimizer == "adam") {
    // Adam's step is as long whatever the gradient. In a batch k times as large the gradient has 1/sqrt(k) of the
    // noise: the square root rule (Malladi et al. 2022, On the SDEs and scaling rules for adaptive gradient
    // algorithms).
    return 0.005 * (is_large_batch(options) ? std::sqrt(batch / static_cast<double>(kLargeBatch)) : 1.0);
  }
  return 0.05;
}

/// Auto where there is none, so that runs of plain SGD say nothing of it.
double default_damping(const TrainOptions& options, bool per_rating) {
  // A row with n ratings in the batch steps n times as far as for one of them, all from the same point: with n beyond
  // 1 / (rate per rating) it overshoots and diverges, however slowly the rate rises before. Rows with few ratings must
  // keep the whole rate, or they learn too little in the few steps there are.
  return options.batch > kLargestPlainSgd && has_sgd_of_rows(options, per_rating) ? 0.1 : kAuto;
}

/// Adam's decay of the first and second moment. With a few steps an epoch, 0.999 would average over the whole run, and
/// a momentum of 0.9 is stale by the time it acts. Not in sgd+adam: dense layers and features gained nothing from it.
std::pair<double, double> default_betas(const TrainOptions& options) {
  return options.optimizer == "adam" && is_large_batch(options) ? std::pair(0.5, 0.9) : std::pair(0.9, 0.999);
}

double default_reg(const TrainOptions& options, bool per_rating) {
  const bool mixed = options.optimizer == "sgd+adam";
  if (options.model != "mf") {
    return !mixed ? 0.1 : options.model == "neumf" ? 0.04 : 0.01;
  }
  return mixed ? 0.045 : per_rating ? 0.055 : 0.07;
}

}  // namespace

std::vector<std::string> preset_names() {
  return {"notebook-mf", "notebook-mlp"};
}

TrainOptions preset_options(const std::string& name) {
  TrainOptions options;
  if (name.empty()) {
    return options;
  }
  if (name == "notebook-mf") {
    options.preset = name;
    options.optimizer = "adam";
    options.learning_rate = 0.001;
    options.schedule = "constant";
    options.epsilon = 1e-7;  // Keras's
    options.dense_updates = true;
    options.batch = 32;
    options.epochs = 50;
    options.dim = 3;
    options.reg = 0.0;
    options.biases = false;
    options.global_mean = false;
    options.non_negative = true;
    options.init = "uniform";
    options.init_scale = 0.05;
    return options;
  }
  if (name == "notebook-mlp") {
    options.preset = name;
    options.model = "mlp";
    options.optimizer = "adam";
    options.loss = "mae";
    options.learning_rate = 0.005;
    options.schedule = "constant";
    options.epsilon = 1e-7;
    options.dense_updates = true;
    options.batch = 32;
    options.epochs = 250;
    options.patience = 50;
    options.user_dim = 5;
    options.item_dim = 8;
    options.layers = "100,50,20";
    options.activations = "linear,linear,relu";
    options.output = "relu";
    options.dropout = "0.2";
    options.reg = 0.0;
    options.global_mean = false;
    options.init = "uniform";
    options.init_scale = 0.05;
    return options;
  }
  throw InputError("preset", printable(name),
                   fmt::format("no such preset; there is {}", fmt::join(preset_names(), ", ")));
}

TrainOptions resolve(const TrainOptions& given) {
  check_values(given);
  TrainOptions options = given;
  const bool mlp = options.model != "mf";
  const bool featured_mf = !mlp && !options.features.empty();
  if (options.optimizer.empty()) {
    options.optimizer = mlp || featured_mf ? "sgd+adam" : "sgd";
  }
  const bool mixed = options.optimizer == "sgd+adam";
  require(!mixed || mlp || featured_mf, "optimizer", options.optimizer,
          "mf without features has nothing for Adam; give sgd or adam, or `features` as well");
  require(is_device_name(options.device), "device", options.device,
          "not one of auto, cpu, cuda, cuda:N for the GPU numbered N");
  if (options.dim == -1) {
    options.dim = mlp ? 32 : 64;
  }
  if (mlp) {
    resolve_network(options);
  } else {
    refuse_network_options(options);
  }
  resolve_features(options, mlp);
  if (options.epochs == -1) {
    options.epochs = mlp ? 25 : 20;
  }
  if (options.init_scale == kAuto) {
    options.init_scale = mlp ? 0.05 : 0.02;
  }
  require(options.patience == 0 || options.validation > 0.0, "patience", fmt::format("{}", options.patience),
          "needs a validation slice: give `validation` 0.05 as well");

  if (options.batch == 0) {
    options.batch = mlp ? 512 : options.optimizer == "sgd" && !featured_mf ? 1 : 1024;
  }
  require(!featured_mf || options.batch > 1, "batch", fmt::format("{}", options.batch),
          "features are trained in mini-batches; give `batch` 1024, or leave it out");
  const bool per_rating = solver_of(options) == SolverKind::per_rating_sgd;
  require(options.loss == "mse" || !per_rating, "loss", options.loss,
          "per-rating SGD has mse only; give `batch` 1024 or `optimizer` adam as well");
  require(options.weight_decay == 0.0 || !per_rating, "weight_decay", fmt::format("{}", options.weight_decay),
          "per-rating SGD has `reg` only; give `batch` 1024 or `optimizer` adam as well");
  if (options.schedule.empty()) {
    options.schedule = "linear";
  }
  if (options.learning_rate == kAuto) {
    options.learning_rate = default_learning_rate(options, per_rating);
  }
  if (mixed) {
    options.adam_lr = options.adam_lr == kAuto ? (mlp ? 0.005 : 0.004) : options.adam_lr;
  } else {
    require(options.adam_lr == kAuto, "adam_lr", fmt::format("{}", options.adam_lr),
            "only the optimizer sgd+adam has that beside `lr`; give `optimizer` sgd+adam, or `lr`");
  }
  options.damping = options.damping == kAuto ? default_damping(options, per_rating) : options.damping;
  if (options.damping != kAuto) {
    require(options.damping == 0.0 || options.optimizer.starts_with("sgd"), "damping",
            fmt::format("{}", options.damping), "only SGD has it; give `optimizer` sgd, or leave it out");
    require(options.damping == 0.0 || !per_rating, "damping", fmt::format("{}", options.damping),
            "per-rating SGD steps on one rating at a time and has `rate_decay`; give `batch` 1024 as well");
  }
  const auto [beta1, beta2] = default_betas(options);
  options.beta1 = options.beta1 == kAuto ? beta1 : options.beta1;
  options.beta2 = options.beta2 == kAuto ? beta2 : options.beta2;
  require(options.warmup <= static_cast<double>(options.epochs), "warmup", fmt::format("{}", options.warmup),
          fmt::format("must be 0 to the {} epochs of the run", options.epochs).c_str());
  require(options.warmup == 0.0 || !per_rating, "warmup", fmt::format("{}", options.warmup),
          "per-rating SGD has one rate an epoch; give `batch` 1024 or `optimizer` adam as well");
  parse_sgd_kernel(options.sgd_kernel);
  require(options.sgd_kernel.empty() || per_rating, "sgd_kernel", options.sgd_kernel,
          "only per-rating SGD of mf has it; remove it, or leave out `batch`, `optimizer` and `model`");
  require(options.rate_decay == 0.0 || per_rating, "rate_decay", fmt::format("{}", options.rate_decay),
          featured_mf ? "only per-rating SGD has it, which takes no features; remove one of the two"
                      : "only per-rating SGD has it: give `model` mf `optimizer` sgd `batch` 1; adagrad and adam have "
                        "rates of their own");
  if (options.reg == kAuto) {
    options.reg = default_reg(options, per_rating);
  }
  check_values(options);  // what was filled in
  return options;
}

std::string to_toml(const TrainOptions& options) {
  std::string text;
  if (!options.preset.empty()) {
    text += fmt::format("preset = \"{}\"\n", options.preset);
  }
  visit_options(options, [&](const auto& value, const OptionInfo& info) {
    const std::string_view key = info.key;
    using T = std::decay_t<decltype(value)>;
    if (is_auto(key, value)) {
      return;
    }
    if constexpr (std::is_same_v<T, std::string>) {
      text += fmt::format("{} = {}\n", key, toml_text(value));
    } else if constexpr (std::is_same_v<T, double>) {
      // TOML tells floats from integers by the point or the exponent.
      std::string digits = fmt::format("{}", value);
      if (digits.find_first_of(".e") == std::string::npos) {
        digits += ".0";
      }
      text += fmt::format("{} = {}\n", key, digits);
    } else if constexpr (std::is_same_v<T, std::uint64_t>) {
      // TOML's integers end at 2^63 - 1; larger ones are digits in quotes.
      text += std::in_range<std::int64_t>(value) ? fmt::format("{} = {}\n", key, value)
                                                 : fmt::format("{} = \"{}\"\n", key, value);
    } else {
      text += fmt::format("{} = {}\n", key, value);
    }
  });
  return text;
}

}  // namespace curate
