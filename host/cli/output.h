#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/metrics.h"

namespace curate::cli {

/// A table of metrics, a row per part ("test", ...), for standard output.
std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& parts);

/// Bytes in MB or GB, with three digits that count.
std::string short_bytes(std::int64_t bytes);

/// Whether --plot can be written: throws InputError where not. A plot that is there is replaced.
void check_plot_place(const std::string& plot);

/// Whether a command may write a data set to --out: throws InputError where files of some layout are there, unless
/// `overwrite`, and where other files are that would go on telling of the data set that was there.
void check_layout_folder(const std::string& out, bool overwrite);

}  // namespace curate::cli
