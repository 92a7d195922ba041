#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "curate/export.h"

namespace curate {

/// Whether a feature describes users or items.
enum class FeatureSide : std::uint8_t { user, item };

enum class FeatureKind : std::uint8_t {
  category,  ///< one of the vocabulary per row
  multi,     ///< any number of the vocabulary per row
  number,    ///< one number per row
  vector,    ///< several numbers per row; models do not take them
};

CURATE_API const char* name_of(FeatureSide side);
CURATE_API const char* name_of(FeatureKind kind);

/// Something known of users or items beside ratings, as a model takes it: every row (a dense id) has one or several of
/// `values`, each of which has an embedding; several are averaged.
struct CURATE_API Feature {
  std::string name;  ///< "genres"
  FeatureSide side = FeatureSide::item;
  FeatureKind kind = FeatureKind::category;  ///< of what it was made; numbers lie in buckets
  std::vector<std::string> values;           ///< values[0] stands for rows of which nothing is known
  std::vector<std::int32_t> starts;          ///< [rows + 1]: row r has ids[starts[r]] .. ids[starts[r + 1] - 1]
  std::vector<std::int32_t> ids;             ///< indices into `values`; one per row at least

  std::int64_t rows() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  /// Whether anything is known of that row, which may lie outside.
  bool knows(std::int32_t row) const;
  /// Of its tensors in a model: "item.genres".
  std::string prefix() const;
};

/// Throws InputError if two features of one side have the same name, if a name is empty or has control characters, and
/// if the parts of a feature do not fit together or do not fit the numbers of users and items.
CURATE_API void check_features(const std::vector<Feature>& features, std::int64_t users, std::int64_t items);

}  // namespace curate
