#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "curate/dataset.h"

namespace curate {

enum class Separator { tab, double_colon, comma, semicolon, pipe, space };

inline constexpr std::array<Separator, 6> kSeparators = {
    Separator::tab, Separator::double_colon, Separator::comma, Separator::semicolon, Separator::pipe, Separator::space};

/// As it stands in a file.
std::string_view separator_text(Separator separator);
/// As messages call it, e.g. "tab" or "`::`".
std::string_view separator_name(Separator separator);

/// What a caller needs of every line.
enum class DelimitedContent { ratings, pairs };

inline constexpr int kNoColumn = -1;

/// How a delimited text is laid out.
struct DelimitedFormat {
  Separator separator = Separator::comma;
  bool header = false;
  std::size_t fields = 0;  ///< on every line
  int user = kNoColumn;
  int item = kNoColumn;
  int rating = kNoColumn;
  int timestamp = kNoColumn;
  std::size_t body = 0;  ///< offset of the first line that may hold data
  // Ids as text, see ReadOptions::text_ids.
  bool user_text = false;
  bool item_text = false;
  bool release = false;  ///< of MovieLens: ids are always numbers
};

/// Columns as read: raw ids, in file order, duplicates included. `ratings` is empty for pairs, `timestamps` if the text
/// has none. For an id that is text the column holds its place in the text: see field_text().
struct RawRatings {
  std::vector<std::int64_t> users;
  std::vector<std::int64_t> items;
  std::vector<float> ratings;
  std::vector<std::int64_t> timestamps;
};

inline constexpr std::size_t kMostIdBytes = 1024;

/// The id that stands at `reference` (of RawRatings) in `text`. If it is quoted and has quotes in it, what is returned
/// lies in `unquoted`.
std::string_view field_text(std::string_view text, std::int64_t reference, std::string& unquoted);

/// Bytes in double quotes, cut at about 40 characters, anything but printable ASCII escaped.
std::string excerpt(std::string_view bytes);

/// Throws InputError "FILE:LINE: what; remedy".
[[noreturn]] void throw_input_error(std::string_view file, std::int64_t line, std::string_view what,
                                    std::string_view remedy);

/// 1-based line of an offset.
std::int64_t line_number(std::string_view text, std::size_t offset);

/// The line that starts at `offset`, without its end; moves `offset` to the start of the next.
std::string_view next_line(std::string_view text, std::size_t& offset);

/// Without the spaces, tabs and carriage returns around it.
std::string_view trimmed(std::string_view text);

/// Length of a UTF-8 byte order mark at the start, 0 or 3.
std::size_t byte_order_mark(std::string_view text);

/// Throws InputError if the text is empty or starts like an archive, UTF-16 or other binary data.
void check_is_text(std::string_view text, const std::string& file);

/// The whole file. Throws InputError with a remedy for one that is missing, a folder or unreadable.
std::string read_text(const std::string& path);

/// Tells separator, header and columns from the first line that is not empty, and whether ids are text from the first
/// row. `file` is for messages.
DelimitedFormat detect_format(std::string_view text, const std::string& file, DelimitedContent content);

/// Appends the rows in [begin, end) of `text`, both at starts of lines (or the end of the text). Pieces may be parsed
/// apart, in any order: nothing is carried from one to the next.
void parse_rows(std::string_view text, const std::string& file, const DelimitedFormat& format, std::size_t begin,
                std::size_t end, const std::optional<std::pair<float, float>>& rating_range, RawRatings& rows);

/// What is wrong with a row, before anybody knows its line.
struct RowError {
  std::size_t offset = 0;  ///< in the text parsed
  std::string what;
  std::string remedy;
};

/// The same for a piece of a larger text; `last`: the text ends with it. Throws RowError.
void parse_piece(std::string_view text, const DelimitedFormat& format, std::size_t begin, std::size_t end,
                 const std::optional<std::pair<float, float>>& rating_range, bool last, RawRatings& rows);

/// All rows of a text whose format is known; at least one. Throws InputError.
RawRatings parse_delimited(std::string_view text, const std::string& file, const DelimitedFormat& format,
                           const ReadOptions& options);

}  // namespace curate
