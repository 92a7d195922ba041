#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/movielens_like.h"
#include "support/output_folder.h"

namespace curate {

struct MovielensLikeReport {
  std::int64_t ratings = 0;
  double mean = 0.0;
  double best_rmse = 0.0;  ///< as SyntheticDataset::best_rmse
  std::int32_t most_active = 0;
  std::int64_t most_rated = 0;
  std::vector<std::int64_t> histogram;  ///< by index into RatingGrid::values
  std::vector<std::string> files;
  std::int64_t bytes = 0;  ///< of the ratings
};

/// Stages the files of the data set in the layout of its release, ratings sorted by user, then item. Draws and writes
/// piece by piece on `threads` threads (0: all cores). The bytes do not depend on the number of threads, the memory
/// does not depend on the number of ratings. Throws Error if a file cannot be written.
MovielensLikeReport write_movielens_like(const MovielensLike& like, OutputFolder& folder, int threads,
                                         const GenerateProgress& progress);

}  // namespace curate
