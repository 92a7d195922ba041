#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/metrics.h"
#include "curate/options.h"
#include "curate/trainer.h"

namespace curate::cli {

/// Rows for metrics_table(): the parts of a training, the baseline's errors below those of validation and test.
std::vector<std::pair<std::string, Metrics>> result_rows(const TrainResult& result, const std::optional<Metrics>& test);

/// One line that says so if a model is worse than its baseline, and what to try; else empty.
std::string worse_than_baseline(const TrainOptions& options, const TrainResult& result,
                                const std::optional<Metrics>& test);

}  // namespace curate::cli
