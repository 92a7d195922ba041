#include "cli/output.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/progress.h"

namespace curate::cli {

std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& parts) {
  std::string text = fmt::format("{:<10}  {:>8}  {:>8}  {:>8}  {:>15}  {:>11}  {:>7}\n", "", "RMSE", "MSE", "MAE",
                                 "MAE whole stars", "ratings", "cold");
  for (const auto& [name, metrics] : parts) {
    text +=
        fmt::format("{:<10}  {:>8.5f}  {:>8.5f}  {:>8.5f}  {:>15.5f}  {:>11}  {:>7}\n", name, metrics.rmse, metrics.mse,
                    metrics.mae, metrics.mae_whole_stars, grouped(metrics.ratings), grouped(metrics.cold_ratings));
  }
  for (const auto& [name, metrics] : parts) {
    if (metrics.cold_ratings > 0) {
      text += fmt::format(
          "{}: {} cold ratings (user or item not in the training part) predicted by fallback, RMSE {:.5f}; the {} "
          "others, RMSE {:.5f}\n",
          name, grouped(metrics.cold_ratings), metrics.cold_rmse, grouped(metrics.ratings - metrics.cold_ratings),
          metrics.warm_rmse);
    }
  }
  return text;
}

}  // namespace curate::cli
