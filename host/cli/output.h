#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "curate/metrics.h"
#include "report/progress.h"

namespace curate::cli {

/// A table of metrics, a row per part ("test", ...), for standard output.
std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& parts);

/// Progress of reading a file, as a live line.
ReadProgress reading_progress(LiveLine& line);

}  // namespace curate::cli
