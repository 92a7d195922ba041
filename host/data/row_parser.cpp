#include "data/row_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "data/delimited_text.h"

namespace curate {
namespace {

constexpr std::string_view kIdRemedy = "write ids as whole numbers of at most 64 bits";
constexpr std::string_view kTextIdRemedy =
    "write ids as whole numbers of at most 64 bits as in the first row, or give `text_ids`";

// References to fields: offset and length in one number.
constexpr std::uint32_t kLengthBits = 11;
static_assert(kMostIdBytes < (std::size_t{1} << kLengthBits));

/// Moves `at` behind the number that starts there. False if none does that fits.
template <typename Number>
bool take_number(const char*& at, const char* end, Number& number) {
  const auto [next, error] = std::from_chars(at, end, number);
  at = next;
  return error == std::errc{};
}

/// Moves `at` behind the separator. False if something else is there, or nothing behind it.
bool take_separator(const char*& at, const char* end, std::string_view mark) {
  if (static_cast<std::size_t>(end - at) <= mark.size() || std::string_view(at, mark.size()) != mark) {
    return false;
  }
  at += mark.size();
  return true;
}

}  // namespace

bool may_be_id(std::string_view text) {
  return !text.empty() && text.size() <= kMostIdBytes &&
         std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

std::string_view field_text(std::string_view text, std::int64_t reference, std::string& unquoted) {
  const auto packed = static_cast<std::size_t>(reference);
  const std::size_t offset = packed >> kLengthBits;
  const std::string_view field = text.substr(offset, packed & ((std::size_t{1} << kLengthBits) - 1));
  if (offset == 0 || text[offset - 1] != '"' || field.find('"') == std::string_view::npos) {
    return field;
  }
  // Within quotes, two stand for one.
  unquoted.clear();
  for (std::size_t at = 0; at < field.size(); ++at) {
    unquoted += field[at];
    at += field[at] == '"' && at + 1 < field.size() ? 1 : 0;
  }
  return unquoted;
}

RowParser::RowParser(std::string_view text, const DelimitedFormat& format,
                     const std::optional<std::pair<float, float>>& rating_range, bool last, RawRatings& rows)
    : text_(text),
      format_(format),
      rating_range_(rating_range),
      last_(last),
      rated_(format.rating != kNoColumn),
      timed_(format.timestamp != kNoColumn),
      plain_(!format.user_text && !format.item_text && format.user == 0 && format.item == 1 && format.rating == 2 &&
             ((format.fields == 3 && !timed_) || (format.fields == 4 && format.timestamp == 3))),
      rows_(rows) {}

void RowParser::parse(std::size_t begin, std::size_t end) {
  while (begin < end) {
    if (!plain_ || !parse_plain(begin, end)) {
      parse_any(next_line(text_, begin));
    }
  }
}

bool RowParser::parse_plain(std::size_t& begin, std::size_t end) {
  const char* at = text_.data() + begin;
  const char* const stop = text_.data() + end;
  const std::string_view mark = separator_text(format_.separator);
  Row row;
  if (!plain_ || !take_number(at, stop, row.user) || !take_separator(at, stop, mark) ||
      !take_number(at, stop, row.item) || !take_separator(at, stop, mark) || !take_number(at, stop, row.rating) ||
      (timed_ && !(take_separator(at, stop, mark) && take_number(at, stop, row.timestamp)))) {
    return false;
  }
  at += at != stop && *at == '\r' ? 1 : 0;
  if ((at != stop && *at != '\n') || !std::isfinite(row.rating) || !is_accepted(row.rating)) {
    return false;
  }
  append(row);
  begin = static_cast<std::size_t>(at - text_.data()) + (at != stop ? 1 : 0);
  return true;
}

void RowParser::parse_any(std::string_view line) {
  if (trimmed(line).empty()) {
    return;
  }
  line_ = line;
  if (!split_fields(line, format_.separator, fields_)) {
    fail(fmt::format("a quoted field does not end ({})", excerpt(line)),
         "close the quote, or remove it if the fields are not quoted");
  }
  if (fields_.size() != format_.fields) {
    fail_field_count();
  }
  Row row;
  row.user = id(format_.user, format_.user_text, "the user id");
  row.item = id(format_.item, format_.item_text, "the item id");
  if (rated_) {
    row.rating = rating();
  }
  if (timed_) {
    row.timestamp =
        integer(format_.timestamp, "the timestamp",
                "write whole seconds since 1970, or name the columns in a header if this is not the timestamp");
  }
  append(row);
}

void RowParser::append(const Row& row) {
  rows_.users.push_back(row.user);
  rows_.items.push_back(row.item);
  if (rated_) {
    rows_.ratings.push_back(row.rating);
  }
  if (timed_) {
    rows_.timestamps.push_back(row.timestamp);
  }
}

bool RowParser::is_accepted(float rating) const {
  return !rating_range_ || (rating >= rating_range_->first && rating <= rating_range_->second);
}

std::int64_t RowParser::id(int column, bool as_text, std::string_view name) const {
  if (!as_text) {
    return integer(column, name, format_.release ? kIdRemedy : kTextIdRemedy);
  }
  const std::string_view text = field(column);
  if (!may_be_id(text)) {
    fail_text_id(text, name);
  }
  return static_cast<std::int64_t>(static_cast<std::size_t>(text.data() - text_.data()) << kLengthBits | text.size());
}

std::int64_t RowParser::integer(int column, std::string_view name, std::string_view remedy) const {
  if (field(column).empty()) {
    fail(fmt::format("{} is missing ({})", name, excerpt(line_)), remedy);
  }
  const std::string_view digits = without_plus(field(column));
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size() || error == std::errc::invalid_argument) {
    fail(fmt::format("{} is not a whole number ({})", name, excerpt(digits)), remedy);
  }
  if (error == std::errc::result_out_of_range) {
    fail(fmt::format("{} does not fit 64 bits ({})", name, excerpt(digits)), remedy);
  }
  return value;
}

float RowParser::rating() const {
  const std::string_view whole = field(format_.rating);
  if (whole.empty()) {
    fail(fmt::format("the rating is missing ({})", excerpt(line_)), "give every line a rating or remove the line");
  }
  const std::string_view digits = without_plus(whole);
  // Through double if float overflows or underflows, so that 1e-50 is a (tiny) number and 1e50 an error.
  float value = 0.0F;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range) {
    double wide = 0.0;
    error = std::from_chars(digits.data(), digits.data() + digits.size(), wide).ec;
    value = static_cast<float>(wide);
  }
  if (end != digits.data() + digits.size() || error == std::errc::invalid_argument) {
    const bool decimal_comma = std::count(digits.begin(), digits.end(), ',') == 1;
    fail(fmt::format("the rating is not a number ({})", excerpt(whole)),
         decimal_comma ? "write decimals with a point, as in 3.5" : "correct the line or remove it");
  }
  if (error == std::errc::result_out_of_range || !std::isfinite(value)) {
    fail(fmt::format("the rating is not a finite number ({})", excerpt(whole)), "correct the line or remove it");
  }
  if (!is_accepted(value)) {
    fail(
        fmt::format("the rating is outside {} to {} ({})", rating_range_->first, rating_range_->second, excerpt(whole)),
        "correct the line, or give the range that the ratings have (a file named itself, not by its MovieLens "
        "folder, may have any)");
  }
  return value;
}

void RowParser::fail(std::string_view what, std::string_view remedy) const {
  throw RowError{offset(), std::string(what), std::string(remedy)};
}

void RowParser::fail_field_count() const {
  const std::size_t found = fields_.size();
  std::vector<std::string_view> others;
  for (const Separator other : kSeparators) {
    if (other != format_.separator && split_fields(line_, other, others) && others.size() == format_.fields) {
      fail(fmt::format("the fields are separated by {} but by {} on the first line ({})", separator_name(other),
                       separator_name(format_.separator), excerpt(line_)),
           "use one separator in the whole file");
    }
  }
  const std::string what = fmt::format("{} field{} separated by {} instead of {} ({})", found, found == 1 ? "" : "s",
                                       separator_name(format_.separator), format_.fields, excerpt(line_));
  const std::string_view rest = text_.substr(offset() + line_.size());
  if (last_ && found < format_.fields && rest.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    fail("truncated last line? " + what, "complete or remove the line, or fetch the file again");
  }
  fail(what, "give every line the same fields as the first");
}

void RowParser::fail_text_id(std::string_view text, std::string_view name) const {
  if (text.empty()) {
    fail(fmt::format("{} is missing ({})", name, excerpt(line_)), "give every line both ids or remove the line");
  }
  if (text.size() > kMostIdBytes) {
    fail(fmt::format("{} has {} bytes ({})", name, text.size(), excerpt(text)),
         fmt::format("use ids of at most {} bytes", kMostIdBytes));
  }
  fail(fmt::format("{} has a control character ({})", name, excerpt(text)), "remove it");
}

}  // namespace curate
