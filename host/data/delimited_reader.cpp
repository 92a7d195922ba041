#include "data/delimited_reader.h"

#include <algorithm>

#include "data/delimited_text.h"

namespace curate {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{8} << 20U;  // between two reports of progress

}  // namespace

void parse_rows(std::string_view text, const std::string& file, const DelimitedFormat& format, std::size_t begin,
                std::size_t end, const std::optional<std::pair<float, float>>& rating_range, RawRatings& rows) {
  try {
    RowParser(text, format, rating_range, true, rows).parse(begin, end);
  } catch (const RowError& error) {
    throw_input_error(file, line_number(text, error.offset), error.what, error.remedy);
  }
}

RawRatings parse_delimited(std::string_view text, const std::string& file, const DelimitedFormat& format,
                           const ReadOptions& options) {
  RawRatings rows;
  const std::string_view body = text.substr(format.body);
  const auto lines = static_cast<std::size_t>(std::count(body.begin(), body.end(), '\n')) + 1;
  rows.users.reserve(lines);
  rows.items.reserve(lines);
  if (format.rating != kNoColumn) {
    rows.ratings.reserve(lines);
  }
  if (format.timestamp != kNoColumn) {
    rows.timestamps.reserve(lines);
  }

  std::size_t begin = format.body;
  while (begin < text.size()) {
    std::size_t end = text.size();
    if (text.size() - begin > kPieceBytes) {
      const std::size_t newline = text.find('\n', begin + kPieceBytes);
      end = newline == std::string_view::npos ? text.size() : newline + 1;
    }
    parse_rows(text, file, format, begin, end, options.rating_range, rows);
    begin = end;
    if (options.progress) {
      options.progress("reading", static_cast<std::int64_t>(begin), static_cast<std::int64_t>(text.size()));
    }
  }
  if (rows.users.empty()) {
    throw_input_error(file, line_number(text, format.body == 0 ? 0 : format.body - 1), "nothing follows the header",
                      "add lines of data below it");
  }
  return rows;
}

}  // namespace curate
