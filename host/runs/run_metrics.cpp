#include "runs/run_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/json_text.h"
#include "support/printable.h"
#include "train/metrics_json.h"

namespace curate {
namespace {

nlohmann::ordered_json part_json(const std::optional<Metrics>& metrics) {
  return metrics ? to_json(*metrics) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json baseline_json(const Baseline& baseline) {
  nlohmann::ordered_json json;
  json["validation"] = part_json(baseline.validation);
  json["test"] = part_json(baseline.test);
  // Infinity is no JSON: null says that users, or items, do not differ.
  const auto ridge = [](double value) { return std::isfinite(value) ? nlohmann::ordered_json(value) : nullptr; };
  json["user_ridge"] = ridge(baseline.user_ridge);
  json["item_ridge"] = ridge(baseline.item_ridge);
  return json;
}

nlohmann::ordered_json json_of(const MemberResult& member) {
  nlohmann::ordered_json json;
  json["model"] = name_of(member.model);
  json["seed"] = member.seed;
  json["train"] = to_json(member.train);
  json["validation"] = part_json(member.validation);
  json["best_epoch"] = member.best_epoch;
  json["epochs"] = member.epochs;
  json["refit_epochs"] =
      member.refit_epochs ? nlohmann::ordered_json(*member.refit_epochs) : nlohmann::ordered_json(nullptr);
  json["seconds"] = member.seconds;
  return json;
}

}  // namespace

std::string metrics_json(const TrainResult& result, const std::optional<Metrics>& test) {
  nlohmann::ordered_json json;
  json["train"] = to_json(result.train);
  json["validation"] = part_json(result.validation);
  json["test"] = part_json(test);
  json["baseline"] = result.baseline ? baseline_json(*result.baseline) : nlohmann::ordered_json(nullptr);
  json["best_epoch"] =
      result.members.empty() ? nlohmann::ordered_json(result.best_epoch) : nlohmann::ordered_json(nullptr);
  json["epochs"] = result.history.size();
  json["seconds"] = result.seconds;
  json["refit"] =
      result.refit
          ? nlohmann::ordered_json({{"epochs", result.refit->history.size()}, {"seconds", result.refit->seconds}})
          : nlohmann::ordered_json(nullptr);
  json["divergences"] = nlohmann::ordered_json::array();
  for (const Divergence& divergence : result.divergences) {
    json["divergences"].push_back(to_json(divergence));
  }
  json["device"] = result.device;
  if (!result.members.empty()) {
    nlohmann::ordered_json members = nlohmann::ordered_json::array();
    for (const MemberResult& member : result.members) {
      members.push_back(json_of(member));
    }
    json["ensemble"] = {{"members", std::move(members)}};
  }
  return json_text(json);
}

namespace {

constexpr const char* kTrainAgain = "train the run again";

/// A value of metrics.json.
template <typename T>
T value_of(const nlohmann::json& json, const std::string& path, const char* key, T least) {
  const auto found = json.find(key);
  const bool sound = found != json.end() && (std::is_integral_v<T> ? found->is_number_integer() : found->is_number());
  const double value = sound ? found->template get<double>() : 0.0;
  if (!sound || !(value >= static_cast<double>(least)) || value > static_cast<double>(std::numeric_limits<T>::max())) {
    throw InputError(fmt::format("{}: {} is not {} of {} or more; {}", path, key,
                                 std::is_integral_v<T> ? "a whole number" : "a number", least, kTrainAgain));
  }
  return found->template get<T>();
}

std::optional<Metrics> metrics_of(const nlohmann::json& json, const std::string& path, const char* part) {
  const auto found = json.find(part);
  if (found == json.end() || found->is_null()) {
    return std::nullopt;
  }
  if (!found->is_object()) {
    throw InputError(fmt::format("{}: {} is not an object of metrics; {}", path, part, kTrainAgain));
  }
  Metrics metrics;
  metrics.rmse = value_of(*found, path, "rmse", 0.0);
  metrics.mse = value_of(*found, path, "mse", 0.0);
  metrics.mae = value_of(*found, path, "mae", 0.0);
  metrics.mae_whole_stars = value_of(*found, path, "mae_whole_stars", 0.0);
  metrics.ratings = value_of<std::int64_t>(*found, path, "ratings", 0);
  metrics.cold_ratings = value_of<std::int64_t>(*found, path, "cold_ratings", 0);
  metrics.warm_rmse = value_of(*found, path, "warm_rmse", 0.0);
  metrics.cold_rmse = value_of(*found, path, "cold_rmse", 0.0);
  if (found->contains("log_rmse")) {
    metrics.log_rmse = value_of(*found, path, "log_rmse", 0.0);
  }
  return metrics;
}

}  // namespace

RunMetrics read_metrics(const std::string& path) {
  const std::string content = read_file(path);
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(content);
  } catch (const nlohmann::json::parse_error& error) {
    const auto at = std::min<std::size_t>(content.size(), error.byte);
    const auto line = 1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    throw InputError(fmt::format("{}:{}: not JSON; {}", path, line, kTrainAgain));
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("{}: {}; {}", path, printable(error.what()), kTrainAgain));
  }
  if (!json.is_object()) {
    throw InputError(fmt::format("{}: not the metrics of a run; {}", path, kTrainAgain));
  }
  RunMetrics metrics;
  metrics.train = metrics_of(json, path, "train");
  metrics.validation = metrics_of(json, path, "validation");
  metrics.test = metrics_of(json, path, "test");
  metrics.epochs = value_of<std::int32_t>(json, path, "epochs", 1);
  if (const auto ensemble = json.find("ensemble"); ensemble != json.end()) {
    const auto members = ensemble->is_object() ? ensemble->find("members") : ensemble->end();
    if (!ensemble->is_object() || members == ensemble->end() || !members->is_array() || members->size() < 2) {
      throw InputError(fmt::format("{}: ensemble has no list of members; {}", path, kTrainAgain));
    }
    metrics.members = static_cast<std::int32_t>(members->size());
  } else {
    metrics.best_epoch = value_of<std::int32_t>(json, path, "best_epoch", 0);
  }
  metrics.seconds = value_of(json, path, "seconds", 0.0);
  if (const auto device = json.find("device"); device != json.end() && device->is_string()) {
    metrics.device = device->get<std::string>();
  }
  if (metrics.best_epoch > metrics.epochs) {
    throw InputError(
        fmt::format("{}: best_epoch {} of {} epochs; {}", path, metrics.best_epoch, metrics.epochs, kTrainAgain));
  }
  return metrics;
}

}  // namespace curate
