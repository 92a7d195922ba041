#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/options.h"
#include "device/device.h"

namespace curate {

/// Throws InputError for an option's value, with the remedy, unless the condition holds.
void require(bool condition, const char* key, const std::string& value, const char* remedy);

/// The number that `text` is as a whole.
std::optional<double> parse_number(const std::string& text);

/// A list like "100,50,20": the parts between the commas.
std::vector<std::string> split_list(const std::string& list);

/// "8" or "genres=8,age=4": names (empty: all) and columns. Throws InputError.
std::vector<std::pair<std::string, std::int64_t>> parse_feature_dims(const std::string& text);

/// "lanes=8,ahead=4", as TrainOptions::sgd_kernel has it. Throws InputError.
MfKernelOptions parse_sgd_kernel(const std::string& text);

/// The widths in options.layers, resolved.
std::vector<std::int64_t> layer_widths(const TrainOptions& resolved);

/// The rates in options.dropout, resolved: after the user's and the item's embedding.
std::vector<double> dropout_rates(const TrainOptions& resolved);

}  // namespace curate
