#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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

/// Splits a line into fields, without the blanks and quotes around them. False if a quoted field does not end, or does
/// not end at a separator.
bool split_fields(std::string_view line, Separator separator, std::vector<std::string_view>& fields);

/// A number's field without the plus that may stand before a digit or point.
inline std::string_view without_plus(std::string_view field) {
  return field.size() > 1 && field[0] == '+' && field[1] != '-' ? field.substr(1) : field;
}

/// Tells separator, header and columns from the first line that is not empty, and whether ids are text from the first
/// row. `file` is for messages.
DelimitedFormat detect_format(std::string_view text, const std::string& file, DelimitedContent content);

}  // namespace curate
