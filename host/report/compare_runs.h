#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report/svg_plot.h"
#include "runs/run_config.h"
#include "runs/run_history.h"
#include "runs/run_metrics.h"

namespace curate {

/// A run directory as read.
struct ComparedRun {
  std::string path;  ///< as given or found
  std::string name;  ///< the end of the path that tells it from the other runs
  RunConfig config;
  nlohmann::ordered_json options;  ///< see config_json
  RunMetrics metrics;
  std::vector<EpochRecord> history;
  std::int64_t parameters = 0;  ///< of the model, without the means that cold ratings are predicted from
};

/// Runs side by side.
struct RunComparison {
  std::vector<ComparedRun> runs;       ///< sorted
  std::string sorted_by;               ///< "test_rmse", ...
  std::vector<std::string> differing;  ///< options that are not the same in all runs, in the order of config.toml
  std::vector<std::string> warnings;   ///< why figures of the runs cannot be held against each other; whole sentences
  bool same_test = true;               ///< no two were tested on different ratings
  bool same_validation = true;         ///< no two were validated on different ratings
};

/// The run directories that paths name: a run itself, or all runs in a folder (those of cross-validations in it
/// included), by name. Throws InputError for what is no run and holds none, and for a run that is named twice.
std::vector<std::string> find_runs(const std::vector<std::string>& paths);

/// What runs can be sorted by: "test-rmse", ...
std::vector<std::string> comparison_sort_names();

/// Reads the runs. Sorted by `sort`, lowest first; "": by test RMSE, then runs without one by validation RMSE. Throws
/// InputError naming the file of a run that is not sound, or if no run has the figure to sort by.
RunComparison compare_runs(const std::vector<std::string>& paths, const std::string& sort = "");

struct TableStyle {
  std::size_t width = 0;  ///< columns of options are left out of wider tables; 0: no limit
  bool bold = false;      ///< the best in bold, by ANSI escape sequences
};

/// Options that all runs share, a row for every run, and what keeps them from being comparable.
std::string comparison_table(const RunComparison& comparison, const TableStyle& style = {});

nlohmann::ordered_json comparison_json(const RunComparison& comparison);

/// RMSE by epoch and by seconds, in which the runs have the order of the table.
PlotPage comparison_plot(const RunComparison& comparison);

}  // namespace curate
