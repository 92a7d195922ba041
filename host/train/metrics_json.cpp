#include "train/metrics_json.h"

#include <cmath>

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
  if (metrics.log_rmse) {
    json["log_rmse"] = *metrics.log_rmse;
  }
  return json;
}

nlohmann::ordered_json to_json(const Divergence& divergence) {
  nlohmann::ordered_json json;
  if (divergence.member > 0) {
    json["member"] = divergence.member;
  }
  json["kind"] = name_of(divergence.kind);
  json["epoch"] = divergence.epoch;
  // JSON has no number for what is not finite.
  json["rmse"] = std::isfinite(divergence.rmse) ? nlohmann::ordered_json(divergence.rmse) : nullptr;
  json["limit"] = divergence.limit;
  json["learning_rate"] = divergence.learning_rate;
  json["next_rate"] = divergence.next_rate ? nlohmann::ordered_json(*divergence.next_rate) : nullptr;
  return json;
}

}  // namespace curate
