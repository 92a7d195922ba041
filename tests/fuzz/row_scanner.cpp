// The scanner of plain rows against a parser that does one character after the other. Input: six bytes that choose the
// layout, then the text.

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/row_scanner.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

// What may be looked at at once: a longer line may count as odd.
constexpr std::size_t kWindow = 64;

struct Row {
  std::int64_t user = 0;
  std::int64_t item = 0;
  float rating = 0.0F;
  std::int64_t timestamp = 0;
};

struct Layout {
  DelimitedFormat format;
  std::pair<float, float> range;
  bool timed = false;
};

std::optional<std::uint64_t> plain_number(std::string_view field, std::size_t most) {
  if (field.empty() || field.size() > most) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  for (const char c : field) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = 10 * value + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

std::optional<float> plain_rating(std::string_view field) {
  if (field.size() == 3 && field[1] == '.') {
    const auto whole = plain_number(field.substr(0, 1), 1);
    const auto tenth = plain_number(field.substr(2), 1);
    if (!whole || !tenth) {
      return std::nullopt;
    }
    return std::strtof(std::string(field).c_str(), nullptr);
  }
  const auto whole = plain_number(field, 8);
  return whole ? std::optional(static_cast<float>(*whole)) : std::nullopt;
}

/// A line without its line feed.
std::optional<Row> plain_row(std::string_view line, const Layout& layout) {
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  const std::string_view mark = separator_text(layout.format.separator);
  std::vector<std::string_view> fields;
  for (std::size_t start = 0; start <= line.size();) {
    const std::size_t end = std::min(line.find(mark, start), line.size());
    fields.push_back(line.substr(start, end - start));
    start = end + mark.size();
  }
  if (fields.size() != layout.format.fields) {
    return std::nullopt;
  }
  for (const std::string_view field : fields) {
    // Half of a separator, and what may open a quoted field.
    if (field.find(mark[0]) != std::string_view::npos ||
        (!field.empty() && std::string_view("\" \t\r").find(field[0]) != std::string_view::npos)) {
      return std::nullopt;
    }
  }
  const auto field = [&](int column) { return fields[static_cast<std::size_t>(column)]; };
  const auto user = plain_number(field(layout.format.user), 16);
  const auto item = plain_number(field(layout.format.item), 16);
  const auto rating = plain_rating(field(layout.format.rating));
  const auto timestamp = layout.timed ? plain_number(field(layout.format.timestamp), 16) : 0;
  if (!layout.timed && layout.format.timestamp != kNoColumn &&
      !plain_number(field(layout.format.timestamp).substr(0, 1), 1)) {
    return std::nullopt;  // passed over, but for its first character
  }
  if (!user || !item || !rating || !timestamp || *rating < layout.range.first || *rating > layout.range.second) {
    return std::nullopt;
  }
  return Row{static_cast<std::int64_t>(*user), static_cast<std::int64_t>(*item), *rating,
             static_cast<std::int64_t>(*timestamp)};
}

/// Nothing for a layout that no text has.
std::optional<Layout> take_layout(Input& input) {
  Layout layout;
  const std::array<std::uint8_t, 6> given = {input.byte(), input.byte(), input.byte(),
                                             input.byte(), input.byte(), input.byte()};
  layout.format.separator = kSeparators[given[0] % kSeparators.size()];
  layout.format.fields = 3 + given[1] % 7;
  const auto column = [&](std::uint8_t number) { return static_cast<int>(number % layout.format.fields); };
  layout.format.user = column(given[2]);
  layout.format.item = column(given[3]);
  layout.format.rating = column(given[4]);
  layout.format.timestamp = given[5] % 4 == 0 ? kNoColumn : column(given[5] / 16);
  layout.timed = given[5] % 4 == 1 && layout.format.timestamp != kNoColumn;
  layout.range = given[5] % 8 < 4 ? std::pair(0.5F, 5.0F) : std::pair(-1e30F, 1e30F);
  const std::array<int, 4> columns = {layout.format.user, layout.format.item, layout.format.rating,
                                      layout.format.timestamp};
  for (const int number : columns) {
    if (std::count(columns.begin(), columns.end(), number) > 1) {
      return std::nullopt;
    }
  }
  return layout;
}

/// The text in a buffer of its own, `around` on both sides, scanned and compared.
void test_within(char around, std::string_view text, const Layout& layout) {
  const RowScanner scanner(layout.format, layout.range, layout.timed);
  std::vector<char> buffer(text.size() + 2 * RowScanner::kSlack, around);
  char* const begin = buffer.data() + RowScanner::kSlack;
  if (!text.empty()) {
    std::memcpy(begin, text.data(), text.size());
  }
  const char* at = begin;
  const char* const end = begin + text.size();
  static RowBlock block;
  const std::size_t count = scanner.scan(at, end, block);
  check(scanner.applies() || count == 0, "rows of a layout that is not scanned");
  std::size_t offset = 0;
  for (std::size_t row = 0; row < count; ++row) {
    const std::size_t newline = text.find('\n', offset);
    check(newline != std::string_view::npos, "more rows than lines");
    const auto expected = plain_row(text.substr(offset, newline - offset), layout);
    check(expected.has_value(), "a row that is not plain was read");
    check(block.users[row] == expected->user && block.items[row] == expected->item, "another id");
    check(block.ratings[row] == expected->rating, "another rating");
    check(!layout.timed || block.timestamps[row] == expected->timestamp, "another timestamp");
    offset = newline + 1;
  }
  check(at == begin + offset, "the scan does not end behind the last row");
  const std::size_t newline = text.find('\n', offset);
  if (scanner.applies() && count < RowBlock::kCapacity && newline != std::string_view::npos &&
      newline - offset < kWindow) {
    check(!plain_row(text.substr(offset, newline - offset), layout), "a plain row was not read");
  }
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace curate::fuzz;
  Input input(data, size);
  const auto layout = take_layout(input);
  if (!layout) {
    return -1;
  }
  // What stands around the text may be looked at but changes nothing.
  for (const char around : {'\n', '5', ',', '\0'}) {
    test_within(around, input.rest(), *layout);
  }
  return 0;
}
