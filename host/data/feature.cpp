#include "curate/feature.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "curate/error.h"
#include "support/printable.h"

namespace curate {

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

void check_feature(const Feature& feature, std::int64_t rows) {
  const auto fail = [&](const char* problem) {
    throw InputError(fmt::format("feature {}: {}; make the features again from the same data",
                                 printable(feature.prefix()), problem));
  };
  if (feature.rows() != rows) {
    fail(fmt::format("{} rows, but there are {} {}s", std::max<std::int64_t>(feature.rows(), 0), rows,
                     name_of(feature.side))
             .c_str());
  }
  if (feature.starts.front() != 0 || feature.starts.back() != static_cast<std::int64_t>(feature.ids.size()) ||
      std::adjacent_find(feature.starts.begin(), feature.starts.end(), std::greater_equal<>()) !=
          feature.starts.end()) {
    fail("its rows do not follow each other, or one has no value");
  }
  const auto values = static_cast<std::int64_t>(feature.values.size());
  if (!std::all_of(feature.ids.begin(), feature.ids.end(),
                   [values](std::int32_t id) { return id >= 0 && id < values; })) {
    fail("a value that it does not have");
  }
}

}  // namespace curate
