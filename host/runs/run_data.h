#pragma once

#include <cstdint>
#include <optional>

#include "curate/dataset.h"
#include "data/heavy_tails.h"
#include "runs/run_config.h"

namespace curate {

/// Ratings to train on and ratings to test on, as a configuration asks.
struct RunData {
  Dataset dataset;           ///< without its ratings, which are in the parts
  std::int64_t ratings = 0;  ///< read
  RatingTable train;
  std::optional<RatingTable> test;
  std::optional<HeavyTails> tails;  ///< of all ratings read from the data set, before they were parted
};

/// Reads and splits, and adds the features that the options name. Of `how` progress and cache count, the rest is the
/// configuration's.
RunData load_run_data(const RunConfig& config, const ReadOptions& how = {});

/// The same for cross-validation: all ratings are in data.dataset.ratings, and there are no parts yet.
RunData load_folds(const RunConfig& config, const ReadOptions& how = {});

/// Parts the ratings in data.dataset.ratings, which stay there: those of config.fold are the test part.
void take_fold(RunData& data, const RunConfig& config);

}  // namespace curate
