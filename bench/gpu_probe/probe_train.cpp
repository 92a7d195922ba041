#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

#include "bench/gpu_probe/probes.h"
#include "curate/error.h"
#include "curate/trainer.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "train/option_text.h"

namespace curate::probe {
namespace {

bool is_key(const std::string& text) {
  const std::vector<OptionInfo>& table = option_table();
  return std::any_of(table.begin(), table.end(), [&](const OptionInfo& info) { return text == info.key; });
}

/// Switches as config.toml has them, too: "true" is "on".
void set(TrainOptions& options, const std::string& key, const std::string& value) {
  set_option(options, key, value == "true" ? "on" : value == "false" ? "off" : value);
}

/// What is measured of a training: epochs up to the end, or to where the time is over.
Json train(const Report& report, const TrainOptions& options, const Dataset& dataset) {
  std::vector<EpochRecord> epochs;
  TrainEvents events;
  const auto stop_in_time = [&] {
    if (report.out_of_time()) {
      throw Cut();
    }
  };
  events.on_progress = [&](std::int32_t, std::int64_t, std::int64_t) { stop_in_time(); };
  events.on_epoch = [&](const EpochRecord& record) {
    epochs.push_back(record);
    if (record.epoch < options.epochs.value()) {
      stop_in_time();
    }
  };
  events.on_divergence = [&](const Divergence& divergence) {
    if (divergence.kind != DivergenceKind::above_start) {
      throw Error(fmt::format("training diverged in epoch {} at learning rate {:.3g}", divergence.epoch,
                              divergence.learning_rate));
    }
    epochs.clear();
  };
  TrainOptions once = options;
  once.refit = false;
  std::optional<std::size_t> device_bytes;
  try {
    device_bytes = Trainer(once).train(dataset, dataset.ratings, events).device_bytes;
  } catch (const Cut&) {
    if (epochs.size() < 2) {
      throw;
    }
  }
  std::vector<double> milliseconds;
  for (std::size_t e = epochs.size() > 1 ? 1 : 0; e < epochs.size(); ++e) {
    milliseconds.push_back(1e3 * epochs[e].seconds);
  }
  // Without those held out.
  const std::int64_t ratings = std::llround(epochs.front().ratings_per_second * epochs.front().seconds);
  Json figures = {{"ratings", ratings},
                  {"epochs", milliseconds.size()},
                  {"epoch_ms", spread(milliseconds)},
                  {"first_epoch_ms", 1e3 * epochs.front().seconds},
                  {"ratings_per_second", 1e3 * static_cast<double>(ratings) / median(milliseconds)},
                  {"first_train_rmse", epochs.front().train_rmse},
                  {"train_rmse", epochs.back().train_rmse}};
  if (epochs.back().validation_rmse) {
    figures["validation_rmse"] = *epochs.back().validation_rmse;
  }
  if (device_bytes) {
    figures["device_bytes"] = *device_bytes;
  } else {
    figures["shortened"] = true;
  }
  return figures;
}

}  // namespace

TrainOptions parse_options(const std::string& text) {
  TrainOptions options;
  std::string key;
  std::string value;
  for (const std::string& part : split_list(text)) {
    const std::size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    if (equals != std::string::npos && is_key(name)) {
      if (!key.empty()) {
        set(options, key, value);
      }
      key = name;
      value = part.substr(equals + 1);
    } else if (key.empty()) {
      throw InputError(
          fmt::format("'{}' is no option set: write key=value,key=value with the keys of config.toml, like "
                      "optimizer=adam,batch=4096",
                      printable(text)));
    } else if (equals != std::string::npos && key != "sgd_kernel" && key != "feature_dim") {
      throw InputError(fmt::format("'{}' is no training option: write one of config.toml's keys", printable(name)));
    } else {
      value += "," + part;
    }
  }
  if (!key.empty()) {
    set(options, key, value);
  }
  return options;
}

void probe_train(Report& report, const Gpu& gpu, const std::vector<OptionSet>& sets, const Dataset& dataset) {
  for (const OptionSet& set : sets) {
    report.measure(
        {{"probe", "train"}, {"set", set.text}}, [&] { return train(report, resolve(set.options), dataset); },
        [&] { return gpu.works(); });
  }
}

}  // namespace curate::probe
