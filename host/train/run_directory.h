#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "curate/metrics.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "support/created_directory.h"

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

/// Reads config.toml onto `base`: keys that the file has replace those of `base` (a preset named in the file comes
/// first). Throws InputError naming file and line for unknown keys, wrong types and broken TOML.
RunConfig read_config(const std::string& path, const RunConfig& base = {});

/// Every option by its name in config.toml, in the order of that file; null where it is not given, or where the model
/// has none such.
nlohmann::ordered_json config_json(const RunConfig& config);

/// Ratings to train on and ratings to test on, as a configuration asks.
struct RunData {
  Dataset dataset;           ///< without its ratings, which are in the parts
  std::int64_t ratings = 0;  ///< read
  RatingTable train;
  std::optional<RatingTable> test;
};

/// Reads and splits, and adds the features that the options name. Of `how` progress and cache count, the rest is the
/// configuration's.
RunData load_run_data(const RunConfig& config, const ReadOptions& how = {});

/// The same for cross-validation: all ratings are in data.dataset.ratings, and there are no parts yet.
RunData load_folds(const RunConfig& config, const ReadOptions& how = {});

/// Parts the ratings in data.dataset.ratings, which stay there: those of config.fold are the test part.
void take_fold(RunData& data, const RunConfig& config);

/// Creates the directory of a run. Throws InputError where it cannot be written to or holds a run already (unless
/// `overwrite`). Until write() has succeeded, a run that was there stays whole and nothing new is left behind.
class RunDirectory {
 public:
  RunDirectory(const std::string& path, bool overwrite);

  const std::string& path() const { return directory_.path(); }

  /// Writes config.toml, history.csv, metrics.json, the model and its id tables.
  void write(const RunConfig& config, const TrainResult& result, const std::optional<Metrics>& test);

 private:
  CreatedDirectory directory_;
};

/// Throws InputError where cross-validation in `out` would touch a run that is there already: a single run always, runs
/// of folds unless `overwrite`.
void check_folds_fit(const std::string& out, std::int32_t folds, bool overwrite);

/// metrics.json.
std::string metrics_json(const TrainResult& result, const std::optional<Metrics>& test);

/// metrics.json of a run, read back.
struct RunMetrics {
  std::optional<Metrics> train;
  std::optional<Metrics> validation;
  std::optional<Metrics> test;
  std::int32_t epochs = 0;      ///< that were run
  std::int32_t best_epoch = 0;  ///< whose model was kept, from 1
  double seconds = 0.0;
  std::string device;
};

/// Throws InputError naming the file, and the line of broken JSON or the value that is not as it should be.
RunMetrics read_metrics(const std::string& path);

/// history.csv of a run, an epoch after the other. `best` is not in the file. Throws InputError naming file and line.
std::vector<EpochRecord> read_history(const std::string& path);

/// A directory name under runs/ that is not taken: runs/<data>-<model>, then with -2, -3, ...
std::string free_run_name(const std::string& data, const std::string& model);

}  // namespace curate
