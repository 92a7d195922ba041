#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "curate/feature.h"

namespace curate {

/// What features.json of a run holds: names, values, and what every user or item has of them. Throws InputError for
/// text that is not UTF-8.
std::string features_json(const std::vector<Feature>& features);

/// Reads features.json; nothing if the file is not there. Throws InputError naming the file if it is not as
/// features_json() writes it, or has other numbers of users and items.
std::vector<Feature> read_features_json(const std::string& path, std::int64_t users, std::int64_t items);

}  // namespace curate
