#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "curate/dataset.h"

namespace curate {

/// A line of a file of ratings.
struct RatingPlace {
  std::string file;       ///< as messages call it
  std::int64_t line = 0;  ///< from 1
};

/// The line of the source of `dataset` that a rating was read from: tables keep no lines, so the source is read once
/// more. Ids are dense ones of `dataset`. If the pair is repeated, the line is that of the rating that was kept.
/// Nothing if the source cannot tell: made-up data, a pipe, or a file that has changed since.
std::optional<RatingPlace> find_rating_place(const Dataset& dataset, std::int32_t user, std::int32_t item,
                                             float rating);

}  // namespace curate
