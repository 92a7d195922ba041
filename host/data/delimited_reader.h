#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "curate/dataset.h"
#include "data/delimited_format.h"
#include "data/row_parser.h"

namespace curate {

/// Appends the rows in [begin, end) of `text`, both at starts of lines (or the end of the text). Pieces may be parsed
/// apart, in any order: nothing is carried from one to the next. Throws InputError.
void parse_rows(std::string_view text, const std::string& file, const DelimitedFormat& format, std::size_t begin,
                std::size_t end, const std::optional<std::pair<float, float>>& rating_range, RawRatings& rows);

/// All rows of a text whose format is known; at least one. Throws InputError.
RawRatings parse_delimited(std::string_view text, const std::string& file, const DelimitedFormat& format,
                           const ReadOptions& options);

}  // namespace curate
