#include "data/statistics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace curate {
namespace {

TailStatistics tail(const Column<std::int32_t>& ids, std::int32_t size) {
  TailStatistics statistics;
  if (size == 0) {
    return statistics;
  }
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size));
  for (const std::int32_t id : ids) {
    ++counts[static_cast<std::size_t>(id)];
  }
  std::sort(counts.begin(), counts.end());
  const auto total = static_cast<double>(ids.size());
  for (std::size_t q = 0; q < statistics.ratings.size(); ++q) {
    const double rank = std::ceil(TailStatistics::kQuantiles[q] * static_cast<double>(size));
    statistics.ratings[q] = counts[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
  }
  statistics.mean = total / static_cast<double>(size);
  const auto top = static_cast<std::ptrdiff_t>((counts.size() + 9) / 10);
  const auto top_total = std::accumulate(counts.end() - top, counts.end(), std::int64_t{0});
  statistics.top_share = total > 0.0 ? static_cast<double>(top_total) / total : 0.0;
  return statistics;
}

}  // namespace

DatasetStatistics compute_statistics(const Dataset& dataset) {
  const RatingTable& table = dataset.ratings;
  DatasetStatistics statistics;
  statistics.ratings = table.size();
  statistics.users = dataset.users.size();
  statistics.items = dataset.items.size();
  const auto count = static_cast<double>(table.size());
  std::map<float, std::int64_t> values;
  bool few_values = true;
  double sum = 0.0;
  for (const float rating : table.ratings) {
    sum += static_cast<double>(rating);
    if (few_values) {
      ++values[rating];
      few_values = values.size() <= DatasetStatistics::kMostValues;
    }
  }
  if (count > 0.0) {
    statistics.density =
        count / (static_cast<double>(dataset.users.size()) * static_cast<double>(dataset.items.size()));
    statistics.mean = sum / count;
    double squared = 0.0;
    for (const float rating : table.ratings) {
      const double deviation = static_cast<double>(rating) - statistics.mean;
      squared += deviation * deviation;
    }
    statistics.standard_deviation = std::sqrt(squared / count);
  }
  if (few_values) {
    statistics.histogram.assign(values.begin(), values.end());
  }
  statistics.per_user = tail(table.users, dataset.users.size());
  statistics.per_item = tail(table.items, dataset.items.size());
  if (table.has_timestamps()) {
    const auto [first, last] = std::minmax_element(table.timestamps.begin(), table.timestamps.end());
    statistics.first_time = *first;
    statistics.last_time = *last;
  }
  return statistics;
}

}  // namespace curate
