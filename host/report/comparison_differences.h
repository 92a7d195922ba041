#pragma once

#include <string>

#include "report/compare_runs.h"

namespace curate {

/// Where a run's test ratings are from: a file, a fold, or a part of its data.
std::string test_source(const RunConfig& config);

/// Fills in the options that differ, and whether the runs were tested and validated on the same ratings, with a warning
/// if not. There must be a run.
void find_differences(RunComparison& comparison);

}  // namespace curate
