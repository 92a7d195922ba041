#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/metrics.h"

namespace curate::cli {

/// The baseline's row, below that of the part that it is of.
inline constexpr const char* kBaselineRow = "bias model";

/// A table of metrics, a row per part ("test", ...), for standard output. Cold ratings get a line of their own, but not
/// those of kBaselineRow, which are the same.
std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& parts);

/// Bytes in MB or GB, with three significant digits.
std::string short_bytes(std::int64_t bytes);

/// Throws InputError if --plot cannot be written. A plot that is there will be replaced.
void check_plot_place(const std::string& plot);

/// Throws InputError if a command may not write a data set to --out: if files of some layout are there, unless
/// `overwrite`, or if other files there describe the data set that was there before.
void check_layout_folder(const std::string& out, bool overwrite);

}  // namespace curate::cli
