#pragma once

#include <optional>
#include <string>
#include <vector>

#include "curate/feature.h"

namespace curate {

/// One feature that the option `features` asks for: by name, or as a column of a file. It says where the feature is,
/// not what it holds.
struct FeatureRequest {
  std::string name;  ///< of what the data set's own files say, or of the column
  std::string file;  ///< empty: the data set's own
  std::optional<FeatureKind> kind;

  /// As in the list: NAME or FILE:COLUMN[:KIND].
  std::string text() const;
};

/// The parts of a list with commas. Throws InputError if one is missing or is no request.
std::vector<FeatureRequest> parse_feature_requests(const std::string& list);

/// Throws InputError for an empty name and for control characters, which break lines of text.
void check_feature_name(const std::string& name);

}  // namespace curate
