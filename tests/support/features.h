#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "curate/feature.h"
#include "curate/model.h"

namespace curate::test {

/// A feature of `values` values whose row r has those of rows[r].
inline Feature make_feature(const std::string& name, FeatureSide side, std::int32_t values,
                            const std::vector<std::vector<std::int32_t>>& rows) {
  Feature feature;
  feature.name = name;
  feature.side = side;
  feature.starts.push_back(0);
  for (const std::vector<std::int32_t>& row : rows) {
    feature.kind = row.size() > 1 ? FeatureKind::multi : feature.kind;
    feature.ids.insert(feature.ids.end(), row.begin(), row.end());
    feature.starts.push_back(static_cast<std::int32_t>(feature.ids.size()));
  }
  for (std::int32_t value = 0; value < values; ++value) {
    feature.values.push_back(name + std::to_string(value));
  }
  return feature;
}

/// Of four users and five items: categories, and one feature of several values of which a row has the same twice. User
/// 2 and item 1 are unknown to all, the first feature does not know item 4. One of users stands between those of items.
inline std::vector<Feature> three_features() {
  return {make_feature("genre", FeatureSide::item, 3, {{1}, {0}, {2}, {1}, {0}}),
          make_feature("age", FeatureSide::user, 3, {{2}, {1}, {0}, {1}}),
          make_feature("tags", FeatureSide::item, 4, {{1}, {0}, {3, 1, 2}, {2, 3, 3}, {2}})};
}

/// Column k of what a row has of a feature in double precision: the mean over its values.
inline double mean_of_values(const Feature& feature, const Tensor& table, std::int32_t row, std::size_t k) {
  const auto at = static_cast<std::size_t>(row);
  const std::size_t cols = table.shape.size() > 1 ? static_cast<std::size_t>(table.shape[1]) : 1;
  double sum = 0.0;
  for (std::int32_t i = feature.starts[at]; i < feature.starts[at + 1]; ++i) {
    const auto value = static_cast<std::size_t>(feature.ids[static_cast<std::size_t>(i)]);
    sum += static_cast<double>(table.values[value * cols + k]);
  }
  return sum / static_cast<double>(feature.starts[at + 1] - feature.starts[at]);
}

}  // namespace curate::test
