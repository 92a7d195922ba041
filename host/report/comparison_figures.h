#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "report/compare_runs.h"

namespace curate {

/// A figure of a run, and its column in a table.
struct Figure {
  const char* key;    ///< "test_rmse"
  const char* title;  ///< of the column, in one line or two
  bool lowest_is_best;
  std::optional<double> (*value)(const ComparedRun&);
};

/// All figures, in the order of their columns.
const std::array<Figure, 8>& comparison_figures();

/// Null if no figure has that key.
const Figure* find_figure(std::string_view key);

bool any_has(const std::vector<ComparedRun>& runs, const Figure& figure);

/// The lowest value of a figure; nothing if that would say nothing: one run, or other ratings.
std::optional<double> best_of(const RunComparison& comparison, const Figure& figure);

}  // namespace curate
