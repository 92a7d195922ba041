#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "curate/feature.h"

namespace curate {

/// A feature by its sizes, and what is uploaded of it.
struct FeatureSource {
  std::string name;
  FeatureSide side = FeatureSide::item;
  std::int64_t values = 0;
  std::int64_t rows = 0;          ///< users or items
  std::int64_t ids = 0;           ///< values of all rows
  const Feature* data = nullptr;  ///< outlives the making of a model; null: only memory is planned

  /// Of its tensors in a model: Feature::prefix().
  std::string prefix() const;
};

FeatureSource source_of(const Feature& feature);
std::vector<FeatureSource> sources_of(const std::vector<Feature>& features);

}  // namespace curate
