#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "curate/dataset.h"

namespace curate {

/// Quantiles of the number of ratings per user or per item.
struct TailStatistics {
  static constexpr std::array<double, 7> kQuantiles = {0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0};
  std::array<std::int64_t, 7> ratings{};  ///< at kQuantiles, nearest rank
  double mean = 0.0;
  double top_share = 0.0;  ///< share of all ratings that the most rated (or most active) 10 % have
};

struct DatasetStatistics {
  std::int64_t ratings = 0;
  std::int32_t users = 0;
  std::int32_t items = 0;
  double density = 0.0;  ///< ratings / (users * items)
  double mean = 0.0;
  double standard_deviation = 0.0;
  /// Value and how often, ascending; empty if there are more than kMostValues different ones.
  std::vector<std::pair<float, std::int64_t>> histogram;
  TailStatistics per_user;
  TailStatistics per_item;
  std::int64_t first_time = 0;  ///< seconds since 1970; both 0 without timestamps
  std::int64_t last_time = 0;

  static constexpr std::size_t kMostValues = 64;
};

DatasetStatistics compute_statistics(const Dataset& dataset);

}  // namespace curate
