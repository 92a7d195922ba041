#pragma once

#include <cstdint>
#include <optional>

#include "curate/export.h"

namespace curate {

/// Errors of predictions against ratings. All ratings count: the fallback predicts the cold ones. In the ratings' own
/// unit (stars), `mse` in its square; 0 if there are no ratings to take the mean of.
struct CURATE_API Metrics {
  double rmse = 0.0;
  double mse = 0.0;
  double mae = 0.0;
  double mae_whole_stars = 0.0;  ///< mean |round(prediction) - rating|, halves to even
  std::int64_t ratings = 0;
  std::int64_t cold_ratings = 0;  ///< the user or the item has no training rating
  double warm_rmse = 0.0;         ///< over the ratings that are not cold
  double cold_rmse = 0.0;         ///< over the cold ones
  /// Of a model that learns logarithms (see TrainOptions::transform): the RMSE of log(1 + rating - lowest rating),
  /// which is what the best epoch has least of.
  std::optional<double> log_rmse = {};
};

}  // namespace curate
