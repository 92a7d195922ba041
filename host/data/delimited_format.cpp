#include "data/delimited_format.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <functional>
#include <system_error>

#include "data/delimited_text.h"
#include "data/text_table.h"

namespace curate {
namespace {

// In order of preference if a header has several of them.
constexpr std::array<std::string_view, 4> kUserNames = {"userId", "user_id", "uid", "user"};
constexpr std::array<std::string_view, 6> kItemNames = {"movieId", "movie_id", "itemId", "item_id", "item", "movie"};
constexpr std::array<std::string_view, 3> kRatingNames = {"rating", "score", "stars"};
constexpr std::array<std::string_view, 3> kTimestampNames = {"timestamp", "ts", "time"};

template <std::size_t kCount>
std::string names(const std::array<std::string_view, kCount>& list) {
  return fmt::format("{}", fmt::join(list, ", "));
}

bool is_number(std::string_view field) {
  double value = 0.0;
  if (!field.empty() && field.front() == '+') {
    field.remove_prefix(1);
  }
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  return error != std::errc::invalid_argument && end == field.data() + field.size();
}

/// Whether the field is there and is not a whole number of 64 bits.
bool is_text_id(const std::vector<std::string_view>& row, int column) {
  if (static_cast<std::size_t>(column) >= row.size() || row[static_cast<std::size_t>(column)].empty()) {
    return false;
  }
  const std::string_view field = without_plus(row[static_cast<std::size_t>(column)]);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  return error != std::errc() || end != field.data() + field.size();
}

template <std::size_t kCount>
int find_column(const std::vector<std::string_view>& header, const std::array<std::string_view, kCount>& accepted) {
  for (const std::string_view name : accepted) {
    for (std::size_t column = 0; column < header.size(); ++column) {
      if (lower_case(header[column]) == lower_case(name)) {
        return static_cast<int>(column);
      }
    }
  }
  return kNoColumn;
}

/// Throws InputError for the first line.
using Refuse = std::function<void(std::string_view what, std::string_view remedy)>;

/// Sets the separator and returns the line's fields. Takes the first separator that yields numbers, else the first one
/// that yields enough fields: a header may hold anything, and 1;2;3,5;4,0 has commas.
std::vector<std::string_view> choose_separator(std::string_view line, DelimitedContent content, DelimitedFormat& format,
                                               const Refuse& refuse) {
  const bool pairs = content == DelimitedContent::pairs;
  const std::size_t needed = pairs ? 2 : 3;
  std::vector<std::string_view> fields;
  std::vector<std::string_view> chosen;
  bool numbers = false;
  for (const Separator separator : kSeparators) {
    if (numbers || !split_fields(line, separator, fields) || fields.size() < needed) {
      continue;
    }
    numbers = std::all_of(fields.begin(), fields.begin() + static_cast<std::ptrdiff_t>(needed), is_number);
    if (chosen.empty() || numbers) {
      format.separator = separator;
      chosen = fields;
    }
  }
  if (chosen.empty()) {
    refuse(pairs ? "no two fields on the first line" : "no three fields on the first line",
           fmt::format("write user, item{} separated by tab, `::`, comma, semicolon, `|` or space",
                       pairs ? "" : ", rating and, if known, timestamp"));
  }
  return chosen;
}

/// Sets the columns by the names in the header.
void find_columns(const std::vector<std::string_view>& header, DelimitedContent content, DelimitedFormat& format,
                  const Refuse& refuse) {
  const auto require = [&](int column, std::string_view what, const std::string& accepted) {
    if (column == kNoColumn) {
      refuse(fmt::format("no number on the first line, so it is taken as a header, but it names no {} column", what),
             fmt::format("name that column one of {}, or start with a line of numbers", accepted));
    }
  };
  format.user = find_column(header, kUserNames);
  format.item = find_column(header, kItemNames);
  require(format.user, "user", names(kUserNames));
  require(format.item, "item", names(kItemNames));
  if (content == DelimitedContent::ratings) {
    format.rating = find_column(header, kRatingNames);
    format.timestamp = find_column(header, kTimestampNames);
    require(format.rating, "rating", names(kRatingNames));
  }
}

}  // namespace

std::string_view separator_text(Separator separator) {
  constexpr std::array<std::string_view, 6> kText = {"\t", "::", ",", ";", "|", " "};
  return kText[static_cast<std::size_t>(separator)];
}

std::string_view separator_name(Separator separator) {
  constexpr std::array<std::string_view, 6> kNames = {"tab", "`::`", "comma", "semicolon", "`|`", "space"};
  return kNames[static_cast<std::size_t>(separator)];
}

bool split_fields(std::string_view line, Separator separator, std::vector<std::string_view>& fields) {
  fields.clear();
  const std::string_view mark = separator_text(separator);
  if (separator == Separator::space) {
    line = trimmed(line);  // a run of spaces separates once, and none at the ends
  }
  std::size_t at = 0;
  while (true) {
    while (at < line.size() && is_blank(line[at]) && (separator != Separator::tab || line[at] != '\t')) {
      ++at;
    }
    std::size_t next = 0;
    if (at < line.size() && line[at] == '"') {
      std::size_t close = at + 1;
      while (true) {
        close = line.find('"', close);
        if (close == std::string_view::npos) {
          return false;
        }
        if (close + 1 < line.size() && line[close + 1] == '"') {
          close += 2;
          continue;
        }
        break;
      }
      fields.push_back(line.substr(at + 1, close - at - 1));
      next = line.find(mark, close + 1);
      if (!trimmed(line.substr(close + 1, next == std::string_view::npos ? next : next - close - 1)).empty()) {
        return false;
      }
    } else {
      next = line.find(mark, at);
      fields.push_back(trimmed(line.substr(at, next == std::string_view::npos ? next : next - at)));
    }
    if (next == std::string_view::npos) {
      return true;
    }
    at = next + mark.size();
  }
}

DelimitedFormat detect_format(std::string_view text, const std::string& file, DelimitedContent content) {
  check_is_text(text, file);
  std::size_t offset = byte_order_mark(text);
  std::size_t start = offset;
  std::string_view line;
  do {
    start = offset;
    line = next_line(text, offset);
  } while (trimmed(line).empty());  // check_is_text saw a line that is not
  const Refuse refuse = [&](std::string_view what, std::string_view remedy) {
    throw_input_error(file, line_number(text, start), fmt::format("{} ({})", what, excerpt(line)), remedy);
  };

  DelimitedFormat format;
  std::vector<std::string_view> fields = choose_separator(line, content, format, refuse);
  format.fields = fields.size();
  format.header = std::none_of(fields.begin(), fields.end(), is_number);
  if (format.header) {
    format.body = offset;
    find_columns(fields, content, format, refuse);
    std::string_view row;
    while (trimmed(row).empty() && offset < text.size()) {
      row = next_line(text, offset);
    }
    if (!split_fields(row, format.separator, fields)) {
      return format;
    }
  } else {
    format.body = start;
    format.user = 0;
    format.item = 1;
    if (content == DelimitedContent::ratings) {
      format.rating = 2;
      format.timestamp = fields.size() > 3 ? 3 : kNoColumn;
    }
  }
  format.user_text = is_text_id(fields, format.user);
  format.item_text = is_text_id(fields, format.item);
  return format;
}

}  // namespace curate
