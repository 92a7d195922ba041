#include "data/delimited_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "curate/error.h"
#include "support/atomic_file.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kExcerptLength = 40;
constexpr std::size_t kPieceBytes = std::size_t{8} << 20U;  // between two reports of progress

// In order of preference if a header has several of them.
constexpr std::array<std::string_view, 4> kUserNames = {"userId", "user_id", "uid", "user"};
constexpr std::array<std::string_view, 6> kItemNames = {"movieId", "movie_id", "itemId", "item_id", "item", "movie"};
constexpr std::array<std::string_view, 3> kRatingNames = {"rating", "score", "stars"};
constexpr std::array<std::string_view, 3> kTimestampNames = {"timestamp", "ts", "time"};

constexpr std::string_view kIdRemedy = "write ids as whole numbers of at most 64 bits";
constexpr std::string_view kTextIdRemedy =
    "write ids as whole numbers of at most 64 bits as in the first row, or give `text_ids`";

// References to fields: offset and length in one number.
constexpr std::uint32_t kLengthBits = 11;
static_assert(kMostIdBytes < (std::size_t{1} << kLengthBits));

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return result;
}

template <std::size_t kCount>
std::string names(const std::array<std::string_view, kCount>& list) {
  return fmt::format("{}", fmt::join(list, ", "));
}

/// Splits a line into fields, without the blanks and quotes around them. False if a quoted field does not end, or does
/// not end at a separator.
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
  std::string_view field = row[static_cast<std::size_t>(column)];
  if (field.size() > 1 && field[0] == '+' && field[1] != '-') {
    field.remove_prefix(1);
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  return error != std::errc() || end != field.data() + field.size();
}

template <std::size_t kCount>
int find_column(const std::vector<std::string_view>& header, const std::array<std::string_view, kCount>& accepted) {
  for (const std::string_view name : accepted) {
    for (std::size_t column = 0; column < header.size(); ++column) {
      if (lower(header[column]) == lower(name)) {
        return static_cast<int>(column);
      }
    }
  }
  return kNoColumn;
}

/// One line, slowly: takes every quirk that is allowed, and says what is wrong with the rest.
class RowParser {
 public:
  RowParser(std::string_view text, const DelimitedFormat& format,
            const std::optional<std::pair<float, float>>& rating_range, bool last, RawRatings& rows)
      : text_(text), format_(format), rating_range_(rating_range), last_(last), rows_(rows) {}

  void parse(std::string_view line) {
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
    const std::int64_t user = id(format_.user, format_.user_text, "the user id");
    const std::int64_t item = id(format_.item, format_.item_text, "the item id");
    float rating = 0.0F;
    std::int64_t timestamp = 0;
    if (format_.rating != kNoColumn) {
      rating = parse_rating(fields_[static_cast<std::size_t>(format_.rating)]);
    }
    if (format_.timestamp != kNoColumn) {
      timestamp =
          integer(format_.timestamp, "the timestamp",
                  "write whole seconds since 1970, or name the columns in a header if this is not the timestamp");
    }
    rows_.users.push_back(user);
    rows_.items.push_back(item);
    if (format_.rating != kNoColumn) {
      rows_.ratings.push_back(rating);
    }
    if (format_.timestamp != kNoColumn) {
      rows_.timestamps.push_back(timestamp);
    }
  }

 private:
  std::size_t offset() const { return static_cast<std::size_t>(line_.data() - text_.data()); }

  [[noreturn]] void fail(std::string_view what, std::string_view remedy) const {
    throw RowError{offset(), std::string(what), std::string(remedy)};
  }

  [[noreturn]] void fail_field_count() const {
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

  std::int64_t id(int column, bool as_text, std::string_view name) const {
    if (!as_text) {
      return integer(column, name, format_.release ? kIdRemedy : kTextIdRemedy);
    }
    const std::string_view field = fields_[static_cast<std::size_t>(column)];
    if (field.empty()) {
      fail(fmt::format("{} is missing ({})", name, excerpt(line_)), "give every line both ids or remove the line");
    }
    if (field.size() > kMostIdBytes) {
      fail(fmt::format("{} has {} bytes ({})", name, field.size(), excerpt(field)),
           fmt::format("use ids of at most {} bytes", kMostIdBytes));
    }
    if (std::any_of(field.begin(), field.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
      fail(fmt::format("{} has a control character ({})", name, excerpt(field)), "remove it");
    }
    return static_cast<std::int64_t>(static_cast<std::size_t>(field.data() - text_.data()) << kLengthBits |
                                     field.size());
  }

  std::int64_t integer(int column, std::string_view name, std::string_view remedy) const {
    std::string_view field = fields_[static_cast<std::size_t>(column)];
    if (field.empty()) {
      fail(fmt::format("{} is missing ({})", name, excerpt(line_)), remedy);
    }
    if (field.size() > 1 && field[0] == '+' && field[1] != '-') {
      field.remove_prefix(1);
    }
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (end != field.data() + field.size() || error == std::errc::invalid_argument) {
      fail(fmt::format("{} is not a whole number ({})", name, excerpt(field)), remedy);
    }
    if (error == std::errc::result_out_of_range) {
      fail(fmt::format("{} does not fit 64 bits ({})", name, excerpt(field)), remedy);
    }
    return value;
  }

  float parse_rating(const std::string_view whole) const {
    std::string_view field = whole;
    if (field.empty()) {
      fail(fmt::format("the rating is missing ({})", excerpt(line_)), "give every line a rating or remove the line");
    }
    if (field.size() > 1 && field[0] == '+' && field[1] != '-') {
      field.remove_prefix(1);
    }
    // Through double if float overflows or underflows, so that 1e-50 is a (tiny) number and 1e50 an error.
    float rating = 0.0F;
    auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), rating);
    if (error == std::errc::result_out_of_range) {
      double wide = 0.0;
      error = std::from_chars(field.data(), field.data() + field.size(), wide).ec;
      rating = static_cast<float>(wide);
    }
    if (end != field.data() + field.size() || error == std::errc::invalid_argument) {
      const bool decimal_comma = std::count(field.begin(), field.end(), ',') == 1;
      fail(fmt::format("the rating is not a number ({})", excerpt(whole)),
           decimal_comma ? "write decimals with a point, as in 3.5" : "correct the line or remove it");
    }
    if (error == std::errc::result_out_of_range || !std::isfinite(rating)) {
      fail(fmt::format("the rating is not a finite number ({})", excerpt(whole)), "correct the line or remove it");
    }
    if (rating_range_ && !(rating >= rating_range_->first && rating <= rating_range_->second)) {
      fail(fmt::format("the rating is outside {} to {} ({})", rating_range_->first, rating_range_->second,
                       excerpt(whole)),
           "correct the line, or give the range that the ratings have (a file named itself, not by its MovieLens "
           "folder, "
           "may have any)");
    }
    return rating;
  }

  std::string_view text_;
  const DelimitedFormat& format_;
  const std::optional<std::pair<float, float>>& rating_range_;
  bool last_;
  RawRatings& rows_;
  std::string_view line_;
  std::vector<std::string_view> fields_;
};

struct PlainRow {
  std::int64_t user = 0;
  std::int64_t item = 0;
  float rating = 0.0F;
  std::int64_t timestamp = 0;
};

/// A line without quirks: user, item, rating and perhaps timestamp, nothing around them. Returns the start of the next
/// line, or null for any other line, right or wrong: RowParser reads those.
template <bool kHasTimestamp>
const char* parse_plain_row(const char* at, const char* end, std::string_view mark, PlainRow& row) {
  const auto field = [&](auto& value) {
    const auto [next, error] = std::from_chars(at, end, value);
    at = next;
    return error == std::errc{};
  };
  const auto separator = [&] {
    if (end - at < 2 || *at != mark[0]) {
      return false;
    }
    ++at;
    if (mark.size() == 2) {
      if (*at != mark[1]) {
        return false;
      }
      ++at;
    }
    return true;
  };
  if (!field(row.user) || !separator() || !field(row.item) || !separator() || !field(row.rating)) {
    return nullptr;
  }
  if constexpr (kHasTimestamp) {
    if (!separator() || !field(row.timestamp)) {
      return nullptr;
    }
  }
  if (at != end && *at == '\r') {
    ++at;
  }
  if (at == end) {
    return at;
  }
  return *at == '\n' ? at + 1 : nullptr;
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

std::string excerpt(std::string_view bytes) {
  while (!bytes.empty() && (bytes.back() == '\r' || bytes.back() == '\n')) {
    bytes.remove_suffix(1);
  }
  std::string result = "\"";
  bool cut = false;
  for (const char c : bytes) {
    if (result.size() > kExcerptLength) {
      cut = true;
      break;
    }
    if (c == '\t') {
      result += "\\t";
    } else if (c >= 0x20 && c < 0x7f) {
      result += c;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  result += cut ? "...\"" : "\"";
  return result;
}

void throw_input_error(std::string_view file, std::int64_t line, std::string_view what, std::string_view remedy) {
  throw InputError(fmt::format("{}:{}: {}; {}", file, line, what, remedy));
}

std::int64_t line_number(std::string_view text, std::size_t offset) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n');
}

std::string_view next_line(std::string_view text, std::size_t& offset) {
  const std::size_t start = offset;
  const std::size_t newline = text.find('\n', start);
  offset = newline == std::string_view::npos ? text.size() : newline + 1;
  return text.substr(start, newline == std::string_view::npos ? newline : newline - start);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && is_blank(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

std::size_t byte_order_mark(std::string_view text) {
  return text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
}

void check_is_text(std::string_view text, const std::string& file) {
  using namespace std::string_view_literals;
  constexpr std::string_view kRemedy = "name a text file of ratings";
  if (text.starts_with("PK\x03\x04"sv)) {
    throw_input_error(file, 1, "this is a zip archive", "unpack it and name what comes out");
  }
  if (text.starts_with("\x1F\x8B"sv)) {
    throw_input_error(file, 1, "this is compressed with gzip", "unpack it with gunzip");
  }
  if (text.starts_with("\xFF\xFE"sv) || text.starts_with("\xFE\xFF"sv)) {
    throw_input_error(file, 1, "this is UTF-16", "save it as UTF-8");
  }
  if (text.substr(byte_order_mark(text)).find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw_input_error(file, 1, "the file is empty", "name a file that has lines");
  }
  const std::string_view start = text.substr(0, 4096);
  for (std::size_t offset = 0; offset < start.size(); ++offset) {
    const auto byte = static_cast<unsigned char>(start[offset]);
    if (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') {
      const std::size_t from = offset < 10 ? 0 : offset - 10;
      throw_input_error(file, line_number(text, offset),
                        fmt::format("this is not text: byte 0x{:02x} at offset {} ({})", byte, offset,
                                    excerpt(start.substr(from, 20))),
                        kRemedy);
    }
  }
}

std::string read_text(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    throw InputError(fmt::format("{}: no such file or folder; check the path", path));
  }
  if (fs::is_directory(status)) {
    throw InputError(fmt::format("{}: this is a folder; name a file in it", path));
  }
  try {
    return read_file(path);
  } catch (const InputError& failure) {
    throw InputError(fmt::format("{}; check that it is a file that you may read", failure.what()));
  }
}

DelimitedFormat detect_format(std::string_view text, const std::string& file, DelimitedContent content) {
  check_is_text(text, file);
  const bool pairs = content == DelimitedContent::pairs;
  const std::size_t needed = pairs ? 2 : 3;

  std::size_t offset = byte_order_mark(text);
  std::size_t start = offset;
  std::string_view line;
  do {
    start = offset;
    line = next_line(text, offset);
  } while (trimmed(line).empty());  // check_is_text saw a line that is not
  const auto fail = [&](std::string_view what, std::string_view remedy) {
    throw_input_error(file, line_number(text, start), fmt::format("{} ({})", what, excerpt(line)), remedy);
  };

  // The first separator that yields numbers, else the first one that yields enough fields: a header may hold anything,
  // and 1;2;3,5;4,0 has commas.
  DelimitedFormat format;
  const auto tell_text_ids = [&](const std::vector<std::string_view>& first_row) {
    format.user_text = is_text_id(first_row, format.user);
    format.item_text = is_text_id(first_row, format.item);
  };
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
    fail(pairs ? "no two fields on the first line" : "no three fields on the first line",
         fmt::format("write user, item{} separated by tab, `::`, comma, semicolon, `|` or space",
                     pairs ? "" : ", rating and, if known, timestamp"));
  }

  format.fields = chosen.size();
  format.header = std::none_of(chosen.begin(), chosen.end(), is_number);
  if (!format.header) {
    format.body = start;
    format.user = 0;
    format.item = 1;
    if (!pairs) {
      format.rating = 2;
      format.timestamp = chosen.size() > 3 ? 3 : kNoColumn;
    }
    tell_text_ids(chosen);
    return format;
  }

  format.body = offset;
  format.user = find_column(chosen, kUserNames);
  format.item = find_column(chosen, kItemNames);
  const auto require = [&](int column, std::string_view what, const std::string& accepted) {
    if (column == kNoColumn) {
      fail(fmt::format("no number on the first line, so it is taken as a header, but it names no {} column", what),
           fmt::format("name that column one of {}, or start with a line of numbers", accepted));
    }
  };
  require(format.user, "user", names(kUserNames));
  require(format.item, "item", names(kItemNames));
  if (!pairs) {
    format.rating = find_column(chosen, kRatingNames);
    format.timestamp = find_column(chosen, kTimestampNames);
    require(format.rating, "rating", names(kRatingNames));
  }
  std::string_view row;
  while (trimmed(row).empty() && offset < text.size()) {
    row = next_line(text, offset);
  }
  if (split_fields(row, format.separator, fields)) {
    tell_text_ids(fields);
  }
  return format;
}

void parse_rows(std::string_view text, const std::string& file, const DelimitedFormat& format, std::size_t begin,
                std::size_t end, const std::optional<std::pair<float, float>>& rating_range, RawRatings& rows) {
  try {
    parse_piece(text, format, begin, end, rating_range, true, rows);
  } catch (const RowError& error) {
    throw_input_error(file, line_number(text, error.offset), error.what, error.remedy);
  }
}

void parse_piece(std::string_view text, const DelimitedFormat& format, std::size_t begin, std::size_t end,
                 const std::optional<std::pair<float, float>>& rating_range, bool last, RawRatings& rows) {
  RowParser slow(text, format, rating_range, last, rows);
  const bool timed = format.timestamp != kNoColumn;
  const bool plain = !format.user_text && !format.item_text && format.user == 0 && format.item == 1 &&
                     format.rating == 2 &&
                     ((format.fields == 3 && !timed) || (format.fields == 4 && format.timestamp == 3));
  const std::string_view mark = separator_text(format.separator);
  const char* const stop = text.data() + end;
  PlainRow row;
  while (begin < end) {
    if (plain) {
      const char* const at = text.data() + begin;
      const char* const next =
          timed ? parse_plain_row<true>(at, stop, mark, row) : parse_plain_row<false>(at, stop, mark, row);
      const bool in_range = rating_range ? row.rating >= rating_range->first && row.rating <= rating_range->second
                                         : std::isfinite(row.rating);
      if (next != nullptr && in_range && std::isfinite(row.rating)) {
        rows.users.push_back(row.user);
        rows.items.push_back(row.item);
        rows.ratings.push_back(row.rating);
        if (timed) {
          rows.timestamps.push_back(row.timestamp);
        }
        begin = static_cast<std::size_t>(next - text.data());
        continue;
      }
    }
    slow.parse(next_line(text, begin));
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
