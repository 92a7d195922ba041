#include "curate/feature.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "curate/error.h"
#include "data/feature_request.h"
#include "support/printable.h"

namespace curate {
namespace {

[[noreturn]] void fail(const Feature& feature, const std::string& problem) {
  throw InputError(fmt::format("feature {}: {}; make it with add_features of the same data, and train again",
                               printable(feature.prefix()), problem));
}

void check_parts(const Feature& feature, std::int64_t rows) {
  if (feature.kind == FeatureKind::vector) {
    fail(feature, "models take no vectors");
  }
  if (feature.rows() != rows) {
    fail(feature, fmt::format("{} rows, but there are {} {}s", std::max<std::int64_t>(feature.rows(), 0), rows,
                              name_of(feature.side)));
  }
  const bool in_order =
      std::adjacent_find(feature.starts.begin(), feature.starts.end(), std::greater_equal<>()) == feature.starts.end();
  if (!in_order || feature.starts.front() != 0 ||
      feature.starts.back() != static_cast<std::int64_t>(feature.ids.size())) {
    fail(feature, "its rows do not follow each other, or one has no value");
  }
  const auto values = static_cast<std::int64_t>(feature.values.size());
  const bool known =
      std::all_of(feature.ids.begin(), feature.ids.end(), [values](std::int32_t id) { return id >= 0 && id < values; });
  if (values == 0 || !known) {
    fail(feature, "a row has a value that the feature does not have");
  }
}

}  // namespace

const char* name_of(FeatureSide side) {
  return side == FeatureSide::user ? "user" : "item";
}

const char* name_of(FeatureKind kind) {
  switch (kind) {
    case FeatureKind::category:
      return "category";
    case FeatureKind::multi:
      return "multi";
    case FeatureKind::number:
      return "number";
    case FeatureKind::vector:
      return "vector";
  }
  return "unknown";
}

bool Feature::knows(std::int32_t row) const {
  if (row < 0 || row >= rows()) {
    return false;
  }
  const auto at = static_cast<std::size_t>(row);
  return std::any_of(ids.begin() + starts[at], ids.begin() + starts[at + 1], [](std::int32_t id) { return id != 0; });
}

std::string Feature::prefix() const {
  return fmt::format("{}.{}", name_of(side), name);
}

void check_features(const std::vector<Feature>& features, std::int64_t users, std::int64_t items) {
  std::set<std::string> prefixes;
  for (const Feature& feature : features) {
    check_feature_name(feature.name);
    if (!prefixes.insert(feature.prefix()).second) {
      fail(feature, "it comes twice");
    }
    check_parts(feature, feature.side == FeatureSide::user ? users : items);
  }
}

}  // namespace curate
