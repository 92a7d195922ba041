#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/compare_runs.h"
#include "report/comparison_options.h"

namespace curate {
namespace {

bool has_validation(const ComparedRun& run) {
  return std::all_of(run.history.begin(), run.history.end(),
                     [](const EpochRecord& record) { return record.validation_rmse.has_value(); });
}

struct Curve {
  std::vector<double> seconds;  ///< since the start, at the end of every epoch
  std::vector<double> rmse;
};

/// Of an ensemble the mean error of the members that were trained for so many epochs, after the time that all took.
Curve curve_of(const ComparedRun& run) {
  const bool validated = has_validation(run);
  Curve curve;
  std::vector<double> members;
  for (const EpochRecord& record : run.history) {
    const auto epoch = static_cast<std::size_t>(record.epoch - 1);
    if (epoch == curve.rmse.size()) {
      curve.rmse.push_back(0.0);
      curve.seconds.push_back(0.0);
      members.push_back(0.0);
    }
    curve.rmse[epoch] += validated ? *record.validation_rmse : record.train_rmse;
    curve.seconds[epoch] += record.seconds;
    members[epoch] += 1.0;
  }
  double seconds = 0.0;
  for (std::size_t epoch = 0; epoch < members.size(); ++epoch) {
    curve.rmse[epoch] /= members[epoch];
    curve.seconds[epoch] = seconds += curve.seconds[epoch];
  }
  return curve;
}

/// Where to cut off first epochs that would press all later ones into a strip; nothing if no epoch does.
std::optional<double> error_limit(const std::vector<Curve>& curves) {
  constexpr double kRoom = 1.25;
  constexpr double kWorthCutting = 1.8;
  double low = std::numeric_limits<double>::infinity();
  double worst_end = 0.0;
  std::vector<double> all;
  for (const Curve& curve : curves) {
    const double least = *std::min_element(curve.rmse.begin(), curve.rmse.end());
    low = std::min(low, least);
    worst_end = std::max(worst_end, least);
    all.insert(all.end(), curve.rmse.begin(), curve.rmse.end());
  }
  std::sort(all.begin(), all.end());
  const double high = all.back();
  const double most = all[static_cast<std::size_t>(0.9 * static_cast<double>(all.size() - 1))];
  const double limit = low + kRoom * (std::max(most, worst_end) - low);
  return high - low > kWorthCutting * (limit - low) && limit > low ? std::optional(limit) : std::nullopt;
}

/// An axis of seconds on which all curves can be told apart: on a linear one fast runs would be at its left end.
void choose_seconds_axis(LinePanel& panel, const std::vector<Curve>& curves) {
  constexpr double kFarApart = 10.0;
  double shortest = std::numeric_limits<double>::infinity();
  double longest = 0.0;
  double first = shortest;
  for (const Curve& curve : curves) {
    shortest = std::min(shortest, curve.seconds.back());
    longest = std::max(longest, curve.seconds.back());
    first = std::min(first, curve.seconds.front());
  }
  const bool logarithmic = first > 0.0 && longest > kFarApart * shortest;
  panel.x_scale = logarithmic ? LinePanel::Scale::logarithmic : LinePanel::Scale::linear;
  panel.x_label = logarithmic ? "seconds of training (logarithmic)" : "seconds of training";
}

/// Adds a run's curve to both panels.
void add_curve(const ComparedRun& run, const Curve& curve, const std::string& name, LinePanel& by_epoch,
               LinePanel& by_seconds) {
  LineSeries line;
  line.name = name;
  if (run.metrics.members == 0) {
    line.ring = static_cast<std::size_t>(std::max(1, run.metrics.best_epoch) - 1);
  }
  LineSeries timed = line;
  for (std::size_t k = 0; k < curve.rmse.size(); ++k) {
    line.points.emplace_back(static_cast<double>(k + 1), curve.rmse[k]);
    timed.points.emplace_back(curve.seconds[k], curve.rmse[k]);
  }
  by_epoch.series.push_back(std::move(line));
  by_seconds.series.push_back(std::move(timed));
}

}  // namespace

PlotPage comparison_plot(const RunComparison& comparison) {
  const std::vector<ComparedRun>& runs = comparison.runs;
  const auto validated = std::count_if(runs.begin(), runs.end(), has_validation);
  const bool all_validated = validated == static_cast<std::ptrdiff_t>(runs.size());
  LinePanel by_epoch;
  by_epoch.title = "Error by epoch";
  by_epoch.x_label = "epoch";
  by_epoch.x_scale = LinePanel::Scale::whole_numbers;
  by_epoch.y_label = all_validated    ? "RMSE on ratings held out"
                     : validated == 0 ? "RMSE on ratings learnt"
                                      : "RMSE on ratings held out (or learnt)";
  LinePanel by_seconds;
  by_seconds.title = "Error over training time";
  by_seconds.y_label = by_epoch.y_label;
  std::vector<Curve> curves;
  for (const ComparedRun& run : runs) {
    const std::string name = run.name + (has_validation(run) || validated == 0 ? "" : " (learnt)") +
                             (run.metrics.members == 0 ? "" : fmt::format(" (mean of {})", run.metrics.members));
    add_curve(run, curves.emplace_back(curve_of(run)), name, by_epoch, by_seconds);
  }
  choose_seconds_axis(by_seconds, curves);
  by_epoch.y_limit = by_seconds.y_limit = error_limit(curves);
  PlotPage page;
  page.title = runs.size() == 1 ? runs.front().name : fmt::format("{} runs", runs.size());
  page.note = fmt::format("{}. Rings: the epoch whose model was kept.{}", common_options(comparison),
                          by_epoch.y_limit ? " The highest errors are cut off." : "");
  for (const std::string& warning : comparison.warnings) {
    page.note += fmt::format(" Warning: {}.", warning);
  }
  page.shared_legend = true;
  page.panels = {std::move(by_epoch), std::move(by_seconds)};
  return page;
}

}  // namespace curate
