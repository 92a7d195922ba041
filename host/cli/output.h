#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/metrics.h"

namespace curate::cli {

/// A table of metrics, a row per part ("test", ...), for standard output.
std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& parts);

}  // namespace curate::cli
