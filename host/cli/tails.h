#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "curate/dataset.h"
#include "data/heavy_tails.h"
#include "data/rating_place.h"

namespace curate::cli {

/// Of the farthest rating; reads the source once more.
std::optional<RatingPlace> place_of(const Dataset& dataset, const HeavyTails& tails);

/// One line: which rating is far from all others, how many are, and what to do.
std::string warning_of(const HeavyTails& tails, const std::optional<RatingPlace>& place);

nlohmann::ordered_json to_json(const Dataset& dataset, const HeavyTails& tails,
                               const std::optional<RatingPlace>& place);

}  // namespace curate::cli
