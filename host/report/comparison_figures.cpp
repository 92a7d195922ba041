#include "report/comparison_figures.h"

#include <algorithm>

namespace curate {
namespace {

using Part = std::optional<Metrics> RunMetrics::*;

template <Part part, double Metrics::*metric>
std::optional<double> metric_of(const ComparedRun& run) {
  const std::optional<Metrics>& metrics = run.metrics.*part;
  return metrics ? std::optional((*metrics).*metric) : std::nullopt;
}

constexpr std::array<Figure, 8> kFigures = {{
    {"epochs", "epochs\nrun", false, [](const ComparedRun& run) { return std::optional<double>(run.metrics.epochs); }},
    {"best_epoch", "best\nepoch", false,
     [](const ComparedRun& run) {
       return run.metrics.members == 0 ? std::optional<double>(run.metrics.best_epoch) : std::nullopt;
     }},
    {"parameters", "parameters", false,
     [](const ComparedRun& run) { return std::optional(static_cast<double>(run.parameters)); }},
    {"seconds", "seconds", true, [](const ComparedRun& run) { return std::optional(run.metrics.seconds); }},
    {"test_rmse", "test\nRMSE", true, metric_of<&RunMetrics::test, &Metrics::rmse>},
    {"test_mae", "test\nMAE", true, metric_of<&RunMetrics::test, &Metrics::mae>},
    {"test_mae_whole_stars", "whole\nstars", true, metric_of<&RunMetrics::test, &Metrics::mae_whole_stars>},
    {"validation_rmse", "validation\nRMSE", true, metric_of<&RunMetrics::validation, &Metrics::rmse>},
}};

}  // namespace

const std::array<Figure, 8>& comparison_figures() {
  return kFigures;
}

const Figure* find_figure(std::string_view key) {
  const auto* found = std::find_if(kFigures.begin(), kFigures.end(), [&](const Figure& one) { return one.key == key; });
  return found == kFigures.end() ? nullptr : found;
}

bool any_has(const std::vector<ComparedRun>& runs, const Figure& figure) {
  return std::any_of(runs.begin(), runs.end(), [&](const ComparedRun& run) { return figure.value(run).has_value(); });
}

std::optional<double> best_of(const RunComparison& comparison, const Figure& figure) {
  const std::string_view key = figure.key;
  const bool comparable = !(key.starts_with("test") && !comparison.same_test) &&
                          !(key.starts_with("validation") && !comparison.same_validation);
  std::optional<double> best;
  std::size_t runs = 0;
  for (const ComparedRun& run : comparison.runs) {
    if (const std::optional<double> value = figure.value(run)) {
      best = std::min(best.value_or(*value), *value);
      ++runs;
    }
  }
  return figure.lowest_is_best && comparable && runs > 1 ? best : std::nullopt;
}

}  // namespace curate
