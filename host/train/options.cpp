#include "curate/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/cuda_engine.h"
#include "solvers/solver.h"
#include "support/printable.h"
#include "support/toml_text.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {
namespace {

/// Throws InputError for an option's value, with the remedy, unless the condition holds.
template <typename T>
void require(bool condition, const char* key, const T& value, const std::string& remedy) {
  if (!condition) {
    throw InputError(key, printable(text_of(value)), remedy);
  }
}

/// Refuses an option that is given.
template <typename T>
void refuse(const char* key, const std::optional<T>& value, const char* remedy) {
  require(!value, key, value, remedy);
}

template <typename T>
void fill(std::optional<T>& value, const T& by_default) {
  if (!value) {
    value = by_default;
  }
}

template <typename T>
constexpr bool kIsOptional = false;
template <typename T>
constexpr bool kIsOptional<std::optional<T>> = true;

template <typename T>
void check(const OptionInfo& info, const T& value) {
  if constexpr (kIsOptional<T>) {
    if (value) {
      check(info, *value);
    }
  } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    const auto number = static_cast<double>(value);
    if (!(std::isfinite(number) && number >= info.least && number <= info.most)) {
      throw InputError(std::string(info.key), text_of(value), fmt::format("must be {}", values_of(info)));
    }
  } else if constexpr (NamedKind<T>) {
    const auto rank = static_cast<std::size_t>(value);
    const std::string name = rank < kKindNames<T>.size() ? text_of(value) : fmt::format("number {}", rank);
    if (std::find(info.choices.begin(), info.choices.end(), name) == info.choices.end()) {
      refuse_choice(info, name);
    }
  } else if constexpr (requires { check_value(info, value); }) {
    check_value(info, value);
  }
}

/// Values that the option table refuses, whatever the model.
void check_values(const TrainOptions& options) {
  visit_options(options, [](const auto& value, const OptionInfo& info) { check(info, value); });
}

constexpr const char* kDeviceNames = "not one of auto, cpu, cuda, cuda:N for the GPU numbered N";

/// The bias model is solved, not trained: it takes none of the options of training.
void refuse_training_options(const TrainOptions& options) {
  constexpr std::array<std::string_view, 8> kTaken = {"model",           "validation", "clip",    "seed",
                                                      "validation_seed", "device",     "threads", "deterministic"};
  std::vector<std::string> defaults;
  visit_options(TrainOptions(),
                [&](const auto& value, const OptionInfo& /*info*/) { defaults.push_back(text_of(value)); });
  auto by_default = defaults.cbegin();
  visit_options(options, [&](const auto& value, const OptionInfo& info) {
    const bool same = text_of(value) == *by_default++;
    const bool taken = std::find(kTaken.begin(), kTaken.end(), info.key) != kTaken.end();
    require(taken || same, std::string(info.key).c_str(), value,
            "the bias model is solved exactly and has no such option; leave it out, or give `model` mf");
  });
}

void resolve_product(TrainOptions& options) {
  if (options.model == ModelKind::neumf) {
    refuse("product", options.product, "neumf has one of its own factors; leave it out, or give `model` mlp");
    return;
  }
  const bool fits = *options.user_dim == *options.item_dim && options.output == ActivationKind::linear;
  require(!options.product.value_or(false) || fits, "product", options.product,
          "both embeddings need the same number of columns, and the output has to be linear; give `dim` in place of "
          "`user_dim` and `item_dim`, and leave out `output`");
  if (options.units == UnitsKind::spread) {
    fill(options.product, fits);
  }
}

/// What only networks have.
void resolve_network(TrainOptions& options) {
  fill(options.user_dim, *options.dim);
  fill(options.item_dim, *options.dim);
  fill(options.layers, {64, 32});
  const std::size_t hidden = options.layers->size();
  if (options.activations.empty()) {
    options.activations = {ActivationKind::relu};
  }
  require(options.activations.size() == 1 || options.activations.size() == hidden, "activations", options.activations,
          fmt::format("give one for all hidden layers or {}, one for each", hidden));
  fill(options.output, ActivationKind::linear);
  resolve_product(options);
  const double rate = options.product == true ? 0.5 : 0.4;
  fill(options.dropout, {rate, rate});
  fill(options.dense_dropout, 0.0);
  if (options.units == UnitsKind::raw) {
    fill(options.dense_reg, 0.0);  // else by the number of ratings: fit_to_ratings()
  }
  fill(options.products, ProductPrecision::f32);
  options.biases = false;
  if (options.model == ModelKind::neumf) {
    fill(options.factors, *options.dim);
    require(options.output == ActivationKind::linear, "output", options.output,
            "neumf adds a dot product to the output, which is linear; leave it out, or give `model` mlp");
  } else {
    refuse("factors", options.factors,
           "only the neumf model has them; give `model` neumf as well, or `dim` for the embeddings");
  }
}

void resolve_features(TrainOptions& options) {
  if (options.features.empty()) {
    constexpr const char* kRemedy = "there are no features; give `features` as well";
    require(options.feature_dim.empty(), "feature_dim", options.feature_dim, kRemedy);
    refuse("feature_dropout", options.feature_dropout, kRemedy);
    refuse("feature_reg", options.feature_reg, kRemedy);
    return;
  }
  if (is_network(options.model)) {
    fill(options.feature_reg, 0.001);
    fill(options.feature_dropout, 0.0);
    return;
  }
  fill(options.feature_reg, 0.01);
  require(options.feature_dim.empty(), "feature_dim", options.feature_dim,
          "in mf features have the columns of users and items; give `dim` alone");
  refuse("feature_dropout", options.feature_dropout, "only networks have that; give `model` mlp or neumf as well");
}

/// A model without layers takes none of the options of layers.
void refuse_network_options(const TrainOptions& options) {
  constexpr const char* kRemedy = "only networks have that; give `model` mlp or neumf as well";
  refuse("user_dim", options.user_dim, kRemedy);
  refuse("item_dim", options.item_dim, kRemedy);
  refuse("layers", options.layers, kRemedy);
  require(options.activations.empty(), "activations", options.activations, kRemedy);
  refuse("output", options.output, kRemedy);
  refuse("dropout", options.dropout, kRemedy);
  refuse("dense_dropout", options.dense_dropout, kRemedy);
  refuse("dense_reg", options.dense_reg, kRemedy);
  refuse("factors", options.factors, "those of mf are `dim`; give that, or `model` neumf as well");
  refuse("product", options.product, kRemedy);
  refuse("products", options.products, kRemedy);
}

/// Beyond it the most active user or the most popular film may have so many ratings in a batch that SGD overshoots.
constexpr std::int64_t kLargestPlainSgd = 1024;

/// Beyond it an epoch has too few steps for Adam as it is in small batches.
constexpr std::int64_t kLargeBatch = 4096;

bool is_large_batch(const TrainOptions& options) {
  return *options.batch > kLargeBatch;
}

/// Whether users and items, and nothing that all of them share, are learnt by mini-batch SGD.
bool has_sgd_of_rows(const TrainOptions& options, bool per_rating) {
  return options.optimizer == OptimizerChoice::sgd_and_adam ||
         (options.optimizer == OptimizerChoice::sgd && options.model == ModelKind::mf && !per_rating);
}

double default_learning_rate(const TrainOptions& options, bool per_rating) {
  if (per_rating) {
    return options.units == UnitsKind::raw ? 0.03 : 0.045;
  }
  const auto batch = static_cast<double>(*options.batch);
  if (has_sgd_of_rows(options, per_rating)) {
    // The gradient is a mean over the batch, and a row has few of the batch's ratings. With a rate in proportion to the
    // batch a rating moves its rows as far in any batch. default_damping keeps that from overshooting.
    const bool neumf = options.model == ModelKind::neumf && options.units == UnitsKind::spread;
    return (options.optimizer == OptimizerChoice::sgd || options.product == true ? 0.02
            : options.model == ModelKind::mf                                     ? 0.012
            : neumf                                                              ? 0.0234
                                                                                 : 0.01) *
           batch;
  }
  if (options.optimizer == OptimizerChoice::adam) {
    // Adam's step is as long whatever the gradient. In a batch k times as large the gradient has 1/sqrt(k) of the
    // noise: the square root rule (Malladi et al. 2022, On the SDEs and scaling rules for adaptive gradient
    // algorithms).
    return 0.005 * (is_large_batch(options) ? std::sqrt(batch / static_cast<double>(kLargeBatch)) : 1.0);
  }
  return 0.05;
}

/// Nothing if there is none, so that runs of plain SGD say nothing of it.
std::optional<double> default_damping(const TrainOptions& options, bool per_rating) {
  // A row with n ratings in the batch steps n times as far as with one, all from the same point. With n beyond 1 /
  // (rate per rating) it overshoots and diverges, however slowly the rate rises before. Rows with few ratings must keep
  // the whole rate, or they learn too little in the few steps there are.
  return *options.batch > kLargestPlainSgd && has_sgd_of_rows(options, per_rating) ? std::optional(0.1) : std::nullopt;
}

/// Adam's decay of the first and second moment. With a few steps an epoch, 0.999 would average over the whole run, and
/// a momentum of 0.9 is stale by the time it acts. Not in sgd+adam: dense layers and features gained nothing from it.
std::pair<double, double> default_betas(const TrainOptions& options) {
  return options.optimizer == OptimizerChoice::adam && is_large_batch(options) ? std::pair(0.5, 0.9)
                                                                               : std::pair(0.9, 0.999);
}

double default_reg(const TrainOptions& options, bool per_rating) {
  const bool mixed = options.optimizer == OptimizerChoice::sgd_and_adam;
  if (is_network(options.model)) {
    const bool raw = options.units == UnitsKind::raw;
    return !mixed                              ? 0.1
           : options.model == ModelKind::neumf ? (raw ? 0.04 : 0.07)
           : options.product == true           ? 0.03
           : raw                               ? 0.01
                                               : 0.02;
  }
  return mixed ? 0.045 : !per_rating ? 0.07 : options.units == UnitsKind::raw ? 0.055 : 0.04;
}

/// Rows of few ratings need more than an L2 per rating. It is meant in units of spread.
void resolve_row_reg(TrainOptions& options, bool per_rating) {
  if (per_rating) {
    fill(options.row_reg, options.units == UnitsKind::raw ? 0.0 : 3.0);
  } else {
    refuse("row_reg", options.row_reg,
           "only per-rating SGD has it: give `model` mf `optimizer` sgd `batch` 1, or `reg` alone");
  }
}

void resolve_damping(TrainOptions& options, bool per_rating) {
  if (!options.damping) {
    options.damping = default_damping(options, per_rating);
  }
  if (options.damping.value_or(0.0) != 0.0) {
    require(options.optimizer == OptimizerChoice::sgd_and_adam || options.optimizer == OptimizerChoice::sgd, "damping",
            options.damping, "only SGD has it; give `optimizer` sgd, or leave it out");
    require(!per_rating, "damping", options.damping,
            "per-rating SGD steps on one rating at a time and has `rate_decay`; give `batch` 1024 as well");
  }
}

/// mf with features is trained in mini-batches, its features by Adam unless another optimizer is chosen.
bool is_featured_mf(const TrainOptions& options) {
  return options.model == ModelKind::mf && !options.features.empty();
}

void resolve_optimizer(TrainOptions& options) {
  const bool shared = is_network(options.model) || is_featured_mf(options);  // layers or features: what Adam learns
  fill(options.optimizer, shared ? OptimizerChoice::sgd_and_adam : OptimizerChoice::sgd);
  require(shared || options.optimizer != OptimizerChoice::sgd_and_adam, "optimizer", options.optimizer,
          "mf without features has nothing for Adam; give sgd or adam, or `features` as well");
}

void resolve_batch(TrainOptions& options) {
  const bool featured_mf = is_featured_mf(options);
  const bool per_rating = options.optimizer == OptimizerChoice::sgd && !featured_mf;
  fill(options.batch, std::int64_t{is_network(options.model) ? 512 : per_rating ? 1 : 1024});
  require(!featured_mf || *options.batch > 1, "batch", options.batch,
          "features are trained in mini-batches; give `batch` 1024, or leave it out");
}

/// Refuses what only mini-batches have; resolve_damping refuses damping.
void refuse_mini_batch_options(const TrainOptions& options) {
  require(options.loss == LossKind::mse, "loss", options.loss,
          "per-rating SGD has mse only; give `batch` 1024 or `optimizer` adam as well");
  require(options.weight_decay == 0.0, "weight_decay", options.weight_decay,
          "per-rating SGD has `reg` only; give `batch` 1024 or `optimizer` adam as well");
  require(options.warmup == 0.0, "warmup", options.warmup,
          "per-rating SGD has one rate an epoch; give `batch` 1024 or `optimizer` adam as well");
}

/// Refuses what only per-rating SGD has.
void refuse_per_rating_options(const TrainOptions& options) {
  refuse("sgd_kernel", options.sgd_kernel,
         "only per-rating SGD of mf has it; remove it, or leave out `batch`, `optimizer` and `model`");
  require(options.rate_decay == 0.0, "rate_decay", options.rate_decay,
          is_featured_mf(options)
              ? "only per-rating SGD has it, which takes no features; remove one of the two"
              : "only per-rating SGD has it: give `model` mf `optimizer` sgd `batch` 1; adagrad and "
                "adam have rates of their own");
}

/// Learning rates, and what changes them from step to step.
void resolve_rates(TrainOptions& options, bool per_rating) {
  fill(options.learning_rate, default_learning_rate(options, per_rating));
  if (options.optimizer == OptimizerChoice::sgd_and_adam) {
    fill(options.adam_lr, !is_network(options.model) ? 0.004 : options.units == UnitsKind::raw ? 0.005 : 0.0015);
  } else {
    refuse("adam_lr", options.adam_lr,
           "only the optimizer sgd+adam has that beside `lr`; give `optimizer` sgd+adam, or `lr`");
  }
  resolve_damping(options, per_rating);
  const auto [beta1, beta2] = default_betas(options);
  fill(options.beta1, beta1);
  fill(options.beta2, beta2);
  require(options.warmup <= static_cast<double>(*options.epochs), "warmup", options.warmup,
          fmt::format("must be 0 to the {} epochs of the run", *options.epochs));
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
    options.units = UnitsKind::raw;
    options.refit = false;
    options.optimizer = OptimizerChoice::adam;
    options.learning_rate = 0.001;
    options.schedule = ScheduleKind::constant;
    options.epsilon = 1e-7;  // Keras's
    options.dense_updates = true;
    options.batch = 32;
    options.epochs = 50;
    options.dim = 3;
    options.reg = 0.0;
    options.biases = false;
    options.global_mean = false;
    options.non_negative = true;
    options.init = InitKind::uniform;
    options.init_scale = 0.05;
    return options;
  }
  if (name == "notebook-mlp") {
    options.preset = name;
    options.units = UnitsKind::raw;
    options.refit = false;
    options.model = ModelKind::mlp;
    options.optimizer = OptimizerChoice::adam;
    options.loss = LossKind::mae;
    options.learning_rate = 0.005;
    options.schedule = ScheduleKind::constant;
    options.epsilon = 1e-7;
    options.dense_updates = true;
    options.batch = 32;
    options.epochs = 250;
    options.patience = 50;
    options.user_dim = 5;
    options.item_dim = 8;
    options.layers = {100, 50, 20};
    options.activations = {ActivationKind::linear, ActivationKind::linear, ActivationKind::relu};
    options.output = ActivationKind::relu;
    options.dropout = {0.2, 0.2};
    options.reg = 0.0;
    options.global_mean = false;
    options.init = InitKind::uniform;
    options.init_scale = 0.05;
    return options;
  }
  throw InputError("preset", printable(name),
                   fmt::format("no such preset; there is {}", fmt::join(preset_names(), ", ")));
}

namespace {

/// Of one model.
TrainOptions resolve_one(const TrainOptions& given) {
  TrainOptions options = given;
  if (options.model == ModelKind::bias) {
    refuse_training_options(options);
    require(is_device_name(options.device), "device", options.device, kDeviceNames);
    return options;
  }
  const bool network = is_network(options.model);
  resolve_optimizer(options);
  require(is_device_name(options.device), "device", options.device, kDeviceNames);
  fill(options.dim, network ? 32 : 64);
  if (network) {
    resolve_network(options);
  } else {
    refuse_network_options(options);
  }
  resolve_features(options);
  fill(options.epochs, network ? 25 : 20);
  const bool small_start = options.model == ModelKind::neumf && options.units == UnitsKind::spread;
  fill(options.init_scale, network && !small_start ? 0.05 : 0.02);
  require(options.patience == 0 || options.validation > 0.0, "patience", options.patience,
          "needs a validation slice: give `validation` 0.05 as well");
  resolve_batch(options);
  const bool per_rating = solver_of(options) == SolverKind::per_rating_sgd;
  if (per_rating) {
    refuse_mini_batch_options(options);
  } else {
    refuse_per_rating_options(options);
  }
  resolve_rates(options, per_rating);
  fill(options.reg, default_reg(options, per_rating));
  resolve_row_reg(options, per_rating);
  check_values(options);  // what was filled in
  return options;
}

/// The kinds of an ensemble's members, each once.
std::vector<ModelKind> kinds_of(const TrainOptions& options) {
  std::vector<ModelKind> kinds;
  for (const EnsemblePart& part : options.ensemble) {
    kinds.push_back(part.kind.value_or(options.model));
  }
  return kinds;
}

/// What each kind's members have. Throws InputError that names the kind if some kinds refuse what others take.
std::vector<TrainOptions> resolve_kinds(const TrainOptions& given, const std::vector<ModelKind>& kinds) {
  std::vector<TrainOptions> resolved;
  std::vector<std::pair<ModelKind, InputError>> refusals;
  for (const ModelKind kind : kinds) {
    TrainOptions options = given;
    options.model = kind;
    options.ensemble.clear();
    try {
      resolved.push_back(resolve_one(options));
    } catch (const InputError& error) {
      refusals.emplace_back(kind, error);
    }
  }
  if (refusals.empty()) {
    return resolved;
  }
  const auto& [kind, error] = refusals.front();
  if (resolved.empty() || error.key().empty()) {
    throw error;
  }
  throw InputError(error.key(), error.problem(),
                   fmt::format("{} members of `ensemble` do not take it; leave it out, or give kinds that all do ({})",
                               name_of(kind), error.remedy()));
}

/// Fills in what is not given where all kinds have the same.
void fill_alike(TrainOptions& options, const std::vector<TrainOptions>& kinds) {
  std::map<std::string, std::set<std::string>, std::less<>> texts;
  for (const TrainOptions& kind : kinds) {
    visit_options(kind, [&](const auto& value, const OptionInfo& info) {
      texts[std::string(info.key)].insert(is_given(value) ? text_of(value) : "");
    });
  }
  visit_options(options, [&](auto& member, const OptionInfo& info) {
    const std::set<std::string>& all = texts.find(info.key)->second;
    if (!is_given(member) && all.size() == 1 && !all.begin()->empty()) {
      read_text(info, *all.begin(), member);
    }
  });
}

TrainOptions resolve_ensemble(const TrainOptions& given) {
  constexpr std::array<ModelKind, 3> kKinds = {ModelKind::mf, ModelKind::mlp, ModelKind::neumf};
  const std::vector<ModelKind> kinds = kinds_of(given);
  for (const ModelKind kind : kinds) {
    require(std::find(kKinds.begin(), kKinds.end(), kind) != kKinds.end(), "ensemble", given.ensemble,
            fmt::format("members are of the kinds mf, mlp and neumf, not {}", name_of(kind)));
  }
  // A model that is named besides has to be one of them; mf may be there by default.
  require(given.model == ModelKind::mf || std::find(kinds.begin(), kinds.end(), given.model) != kinds.end(), "model",
          given.model, "`ensemble` has no members of that kind; leave out `model`, or name the kind in `ensemble`");
  const std::vector<TrainOptions> of_kinds = resolve_kinds(given, kinds);
  const bool one_model = given.ensemble.size() == 1 && given.ensemble.front().members == 1;
  TrainOptions options = kinds.size() == 1 ? of_kinds.front() : given;
  options.model = kinds.front();
  options.ensemble = one_model ? std::vector<EnsemblePart>() : given.ensemble;
  fill_alike(options, of_kinds);
  return options;
}

}  // namespace

TrainOptions resolve(const TrainOptions& given) {
  check_values(given);
  return given.ensemble.empty() ? resolve_one(given) : resolve_ensemble(given);
}

namespace {

/// As TOML has it.
template <typename T>
std::string toml_value(const T& value) {
  if constexpr (kIsOptional<T>) {
    return toml_value(*value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, double>) {
    // TOML tells floats from integers by the point or the exponent.
    const std::string digits = text_of(value);
    return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    // TOML's integers end at 2^63 - 1; larger ones are digits in quotes.
    return std::in_range<std::int64_t>(value) ? text_of(value) : fmt::format("\"{}\"", value);
  } else if constexpr (std::is_integral_v<T>) {
    return text_of(value);
  } else {
    return toml_text(text_of(value));
  }
}

}  // namespace

std::string to_toml(const TrainOptions& options) {
  std::string text;
  if (!options.preset.empty()) {
    text += fmt::format("preset = \"{}\"\n", options.preset);
  }
  visit_options(options, [&](const auto& value, const OptionInfo& info) {
    if (is_given(value)) {
      text += fmt::format("{} = {}\n", info.key, toml_value(value));
    }
  });
  return text;
}

}  // namespace curate
