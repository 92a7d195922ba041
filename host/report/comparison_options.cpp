#include "report/comparison_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "curate/error.h"
#include "support/utf8.h"

namespace curate {
namespace {

using Json = nlohmann::ordered_json;

/// The options that tell most of a run, those that tell more first.
constexpr std::array<const char*, 18> kMainOptions = {
    "model",  "ensemble", "features", "optimizer", "dim",  "lr",    "reg",  "epochs",     "batch",
    "preset", "data",     "test",     "split",     "fold", "folds", "seed", "validation", "device"};

/// What the options would be if only the main ones had been given.
Json default_options(const RunConfig& config) {
  RunConfig base;
  try {
    base.options = preset_options(config.options.preset);
    base.options.model = config.options.model;
    base.options.ensemble = config.options.ensemble;
    base.options.optimizer = config.options.optimizer;
    base.options.dim = config.options.dim;
    base.options.batch = config.options.batch;
    base.options.features = config.options.features;  // which optimizers there are depends on them
    base.options = resolve(base.options);
  } catch (const InputError&) {
    // Options that this version refuses: all of them are shown.
    return Json::object();
  }
  return config_json(base);
}

}  // namespace

std::size_t option_rank(const std::string& key) {
  return static_cast<std::size_t>(std::find(kMainOptions.begin(), kMainOptions.end(), key) - kMainOptions.begin());
}

std::set<std::string> chosen_options(const std::vector<ComparedRun>& runs) {
  std::set<std::string> chosen;
  for (const ComparedRun& run : runs) {
    const Json by_default = default_options(run.config);
    for (const auto& [key, value] : run.options.items()) {
      const auto found = by_default.find(key);
      if (found == by_default.end() || *found != value || option_rank(key) < kMainOptions.size()) {
        chosen.insert(key);
      }
    }
  }
  return chosen;
}

std::string option_text(const Json& value) {
  if (value.is_null()) {
    return "-";
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "on" : "off";
  }
  if (value.is_string()) {
    return printable_utf8(value.get<std::string>());
  }
  return value.is_number_float() ? fmt::format("{}", value.get<double>()) : value.dump();
}

std::string common_options(const RunComparison& comparison) {
  const ComparedRun& run = comparison.runs.front();
  const std::set<std::string> chosen = chosen_options(comparison.runs);
  std::vector<std::string> texts;
  bool rest = false;
  for (const auto& [key, value] : run.options.items()) {
    if (std::find(comparison.differing.begin(), comparison.differing.end(), key) != comparison.differing.end() ||
        value.is_null()) {
      continue;
    }
    if (chosen.count(key) > 0) {
      texts.push_back(fmt::format("{} {}", key, option_text(value)));
    } else {
      rest = true;
    }
  }
  if (rest) {
    texts.emplace_back("all other options at their defaults");
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

}  // namespace curate
