#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/delimited_format.h"

namespace curate {

/// Columns as read: raw ids, in file order, duplicates included. `ratings` is empty for pairs, `timestamps` if the text
/// has none. For an id that is text the column holds its place in the text: see field_text().
struct RawRatings {
  std::vector<std::int64_t> users;
  std::vector<std::int64_t> items;
  std::vector<float> ratings;
  std::vector<std::int64_t> timestamps;
};

inline constexpr std::size_t kMostIdBytes = 1024;

/// Whether a text may be an id: it has 1 to kMostIdBytes bytes and no control character.
bool may_be_id(std::string_view text);

/// The id that stands at `reference` (of RawRatings) in `text`. If it is quoted and has quotes in it, what is returned
/// lies in `unquoted`.
std::string_view field_text(std::string_view text, std::int64_t reference, std::string& unquoted);

/// What is wrong with a row, before anybody knows its line.
struct RowError {
  std::size_t offset = 0;  ///< in the text parsed
  std::string what;
  std::string remedy;
};

/// The one parser of rows: takes every quirk that is allowed, and says what is wrong with the rest. RowScanner reads
/// the plain rows of a file ahead of it, with the same result.
class RowParser {
 public:
  /// Rows of `text` are appended to `rows`. A rating that is not finite or lies outside `rating_range` is an error.
  /// `last`: the text ends with its file. All but `last` has to outlive the parser.
  RowParser(std::string_view text, const DelimitedFormat& format,
            const std::optional<std::pair<float, float>>& rating_range, bool last, RawRatings& rows);

  /// All rows in [begin, end), both at starts of lines (or the end of the text). Throws RowError.
  void parse(std::size_t begin, std::size_t end);

  // The two ways in which parse() reads a line. Where both read it they give the same row.

  /// The fast one, for a line at `begin` that has user, item, rating and perhaps timestamp in this order, as numbers
  /// with nothing around them. Moves `begin` to the next line; false for every other line, right or wrong.
  bool parse_plain(std::size_t& begin, std::size_t end);

  /// The careful one, for any line of the text, without its end. Throws RowError.
  void parse_any(std::string_view line);

 private:
  /// Ids as RawRatings holds them.
  struct Row {
    std::int64_t user = 0;
    std::int64_t item = 0;
    float rating = 0.0F;
    std::int64_t timestamp = 0;
  };

  void append(const Row& row);
  bool is_accepted(float rating) const;
  std::string_view field(int column) const { return fields_[static_cast<std::size_t>(column)]; }
  std::int64_t id(int column, bool as_text, std::string_view name) const;
  std::int64_t integer(int column, std::string_view name, std::string_view remedy) const;
  float rating() const;
  std::size_t offset() const { return static_cast<std::size_t>(line_.data() - text_.data()); }
  [[noreturn]] void fail(std::string_view what, std::string_view remedy) const;
  [[noreturn]] void fail_field_count() const;
  [[noreturn]] void fail_text_id(std::string_view text, std::string_view name) const;

  std::string_view text_;
  const DelimitedFormat& format_;
  const std::optional<std::pair<float, float>>& rating_range_;
  bool last_;
  bool rated_;
  bool timed_;
  bool plain_;  ///< whether parse_plain() can read any line of the format
  RawRatings& rows_;
  std::string_view line_;
  std::vector<std::string_view> fields_;  ///< of line_
};

}  // namespace curate
