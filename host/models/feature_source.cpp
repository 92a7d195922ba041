#include "models/feature_source.h"

#include <fmt/format.h>

namespace curate {

std::string FeatureSource::prefix() const {
  return fmt::format("{}.{}", name_of(side), name);
}

FeatureSource source_of(const Feature& feature) {
  return {feature.name,
          feature.side,
          static_cast<std::int64_t>(feature.values.size()),
          feature.rows(),
          static_cast<std::int64_t>(feature.ids.size()),
          &feature};
}

std::vector<FeatureSource> sources_of(const std::vector<Feature>& features) {
  std::vector<FeatureSource> sources;
  for (const Feature& feature : features) {
    sources.push_back(source_of(feature));
  }
  return sources;
}

}  // namespace curate
