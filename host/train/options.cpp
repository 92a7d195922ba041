#include "curate/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "curate/error.h"
#include "train/option_table.h"

namespace curate {
namespace {

constexpr double kAuto = -1.0;

void require(bool condition, const char* option, const std::string& value, const char* remedy) {
  if (!condition) {
    throw InputError(fmt::format("--{} {}: {}", option, value, remedy));
  }
}

void require_one_of(const char* option, const std::string& value, std::initializer_list<const char*> allowed) {
  const bool found = std::any_of(allowed.begin(), allowed.end(), [&](const char* name) { return value == name; });
  if (!found) {
    throw InputError(fmt::format("--{} {}: not one of {}", option, value, fmt::join(allowed, ", ")));
  }
}

template <typename T>
void require_at_least(const char* option, T value, T least) {
  require(value >= least, option, fmt::format("{}", value), fmt::format("must be {} or more", least).c_str());
}

/// Open or closed interval of finite reals.
void require_in(const char* option, double value, double low, double high, const char* remedy) {
  require(std::isfinite(value) && value >= low && value <= high, option, fmt::format("{}", value), remedy);
}

}  // namespace

std::vector<std::string> preset_names() {
  return {"notebook-mf"};
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
  throw InputError(fmt::format("--preset {}: no such preset; there is {}", name, fmt::join(preset_names(), ", ")));
}

TrainOptions resolve(const TrainOptions& given) {
  TrainOptions options = given;
  require_one_of("model", options.model, {"mf"});
  require_one_of("optimizer", options.optimizer, {"sgd", "adagrad", "adam"});
  require_one_of("loss", options.loss, {"mse", "mae"});
  require_one_of("init", options.init, {"normal", "uniform"});
  require_one_of("device", options.device, {"auto", "cpu", "cuda"});
  require_one_of("precision", options.precision, {"f32"});
  require(options.dim >= 1 && options.dim <= 1024, "dim", fmt::format("{}", options.dim), "must be 1 to 1024");
  require_at_least("epochs", options.epochs, 1);
  require_at_least("patience", options.patience, 0);
  require_at_least("threads", options.threads, 0);
  require(options.batch >= 0 && options.batch <= (std::int64_t{1} << 30), "batch", fmt::format("{}", options.batch),
          "must be 1 to 2^30");
  require_in("init-scale", options.init_scale, 0.0, 1e6, "must be 0 or more");
  require_in("beta1", options.beta1, 0.0, 1.0 - 1e-7, "must be in [0, 1)");
  require_in("beta2", options.beta2, 0.0, 1.0 - 1e-7, "must be in [0, 1)");
  require_in("epsilon", options.epsilon, 1e-30, 1.0, "must be above 0");
  require_in("validation", options.validation, 0.0, 0.9, "must be 0 to 0.9");
  require(options.patience == 0 || options.validation > 0.0, "patience", fmt::format("{}", options.patience),
          "needs a validation slice: give --validation 0.05 as well");

  if (options.batch == 0) {
    options.batch = options.optimizer == "sgd" ? 1 : 1024;
  }
  const bool per_rating = options.optimizer == "sgd" && options.batch == 1;
  require(options.loss == "mse" || !per_rating, "loss", options.loss,
          "per-rating SGD has mse only; give --batch 1024 or --optimizer adam as well");
  if (options.schedule.empty()) {
    options.schedule = "linear";
  }
  require_one_of("schedule", options.schedule, {"constant", "linear"});
  if (options.learning_rate == kAuto) {
    if (per_rating) {
      options.learning_rate = 0.05;
    } else if (options.optimizer == "sgd") {
      // The gradient is a mean over the batch while a row sees few of its ratings: the step grows with the batch.
      options.learning_rate = 0.02 * static_cast<double>(options.batch);
    } else {
      options.learning_rate = options.optimizer == "adam" ? 0.005 : 0.05;
    }
  }
  require_in("lr", options.learning_rate, 1e-12, 1e6, "must be above 0");
  if (options.reg == kAuto) {
    options.reg = 0.07;
  }
  require_in("reg", options.reg, 0.0, 1e6, "must be 0 or more");
  return options;
}

std::string to_toml(const TrainOptions& options) {
  std::string text;
  if (!options.preset.empty()) {
    text += fmt::format("preset = \"{}\"\n", options.preset);
  }
  visit_options(options, [&](const char* key, const auto& value, const char* /*help*/) {
    using T = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<T, std::string>) {
      text += fmt::format("{} = \"{}\"\n", key, value);
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
