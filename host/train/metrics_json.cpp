#include "train/metrics_json.h"

namespace curate {

nlohmann::ordered_json to_json(const Metrics& metrics) {
  nlohmann::ordered_json json;
  json["rmse"] = metrics.rmse;
  json["mse"] = metrics.mse;
  json["mae"] = metrics.mae;
  json["mae_whole_stars"] = metrics.mae_whole_stars;
  json["ratings"] = metrics.ratings;
  json["cold_ratings"] = metrics.cold_ratings;
  json["warm_rmse"] = metrics.warm_rmse;
  json["cold_rmse"] = metrics.cold_rmse;
  return json;
}

}  // namespace curate
