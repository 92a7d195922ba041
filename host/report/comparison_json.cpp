#include <algorithm>
#include <optional>
#include <utility>

#include "report/compare_runs.h"
#include "report/comparison_differences.h"
#include "report/comparison_figures.h"
#include "train/metrics_json.h"

namespace curate {
namespace {

using Json = nlohmann::ordered_json;

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json metrics_or_null(const std::optional<Metrics>& metrics) {
  return metrics ? to_json(*metrics) : Json();
}

Json json_of(const ComparedRun& run) {
  Json json;
  json["run"] = run.path;
  json["name"] = run.name;
  json["options"] = run.options;
  json["epochs"] = run.metrics.epochs;
  json["best_epoch"] = run.metrics.members == 0 ? Json(run.metrics.best_epoch) : Json();
  json["parameters"] = run.parameters;
  json["seconds"] = run.metrics.seconds;
  json["device"] = run.metrics.device;
  json["train"] = metrics_or_null(run.metrics.train);
  json["validation"] = metrics_or_null(run.metrics.validation);
  json["test"] = metrics_or_null(run.metrics.test);
  json["tested_on"] = run.metrics.test ? Json(test_source(run.config)) : Json();
  Json history = Json::array();
  for (const EpochRecord& record : run.history) {
    history.push_back({{"epoch", record.epoch},
                       {"seconds", record.seconds},
                       {"train_rmse", record.train_rmse},
                       {"validation_rmse", optional_json(record.validation_rmse)},
                       {"learning_rate", record.learning_rate},
                       {"ratings_per_second", record.ratings_per_second}});
    if (record.member > 0) {
      history.back()["member"] = record.member;
    }
  }
  json["history"] = std::move(history);
  return json;
}

}  // namespace

nlohmann::ordered_json comparison_json(const RunComparison& comparison) {
  Json json;
  json["sorted_by"] = comparison.sorted_by;
  json["differing_options"] = comparison.differing;
  json["same_test_ratings"] = comparison.same_test;
  json["same_validation_ratings"] = comparison.same_validation;
  json["warnings"] = comparison.warnings;
  json["best"] = Json::object();
  for (const Figure& figure : comparison_figures()) {
    const std::optional<double> best = best_of(comparison, figure);
    if (best) {
      const auto run = std::find_if(comparison.runs.begin(), comparison.runs.end(),
                                    [&](const ComparedRun& one) { return figure.value(one) == best; });
      json["best"][figure.key] = run->path;
    }
  }
  json["runs"] = Json::array();
  for (const ComparedRun& run : comparison.runs) {
    json["runs"].push_back(json_of(run));
  }
  return json;
}

}  // namespace curate
