#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "curate/error.h"
#include "curate/options.h"

namespace curate {

/// A run as config.toml describes it: the training options and which ratings are trained and tested on.
struct RunConfig {
  std::string data;          ///< absolute path
  std::string test;          ///< absolute path of the test ratings; "" with a split
  std::string split;         ///< "random:0.1", "time:0.1", "none"; "" with a test file
  std::int32_t folds = 0;    ///< cross-validation; 0: none
  std::int32_t fold = 0;     ///< which fold this run tests on, from 1; 0: none
  std::string rating_range;  ///< "1:5"; "" for the data set's own
  bool text_ids = false;     ///< see ReadOptions
  TrainOptions options;
};

std::string to_toml(const RunConfig& config);

/// What an error says of an option that stands in a config.toml: by its key, which an interface would otherwise write
/// its own way, as a flag. An error about no option says what it says.
std::string message_in_config(const InputError& error);

/// Reads config.toml onto `base`: keys that the file has replace those of `base` (a preset named in the file comes
/// first). Throws InputError naming file and line for unknown keys, wrong types and broken TOML.
RunConfig read_config(const std::string& path, const RunConfig& base = {});

/// Every option by its name in config.toml, in the order of that file; null where it is not given, or where the model
/// has none such.
nlohmann::ordered_json config_json(const RunConfig& config);

}  // namespace curate
