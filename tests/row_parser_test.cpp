// The three ways to read a row, RowScanner, RowParser::parse_plain and RowParser::parse_any, give the same row.

#include "data/row_parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/delimited_text.h"
#include "data/row_scanner.h"

namespace curate {
namespace {

/// Rows, or what is wrong with them.
struct Outcome {
  RawRatings rows;
  std::string error;

  friend bool operator==(const Outcome& a, const Outcome& b) {
    const auto same = [](const auto& left, const auto& right) {
      return left.size() == right.size() &&
             (left.empty() || std::memcmp(left.data(), right.data(), left.size() * sizeof(left[0])) == 0);
    };
    return same(a.rows.users, b.rows.users) && same(a.rows.items, b.rows.items) &&
           same(a.rows.ratings, b.rows.ratings) && same(a.rows.timestamps, b.rows.timestamps) && a.error == b.error;
  }
  friend std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    for (std::size_t k = 0; k < outcome.rows.users.size(); ++k) {
      out << outcome.rows.users[k] << ' ' << outcome.rows.items[k] << ' ' << outcome.rows.ratings.at(k);
      out << ' ' << (outcome.rows.timestamps.empty() ? 0 : outcome.rows.timestamps.at(k)) << '\n';
    }
    return out << outcome.error;
  }
};

using Range = std::optional<std::pair<float, float>>;

/// Calls read(parser) with a parser of `text`.
template <typename Read>
Outcome outcome_of(std::string_view text, const DelimitedFormat& format, const Range& range, Read read) {
  Outcome outcome;
  RowParser parser(text, format, range, true, outcome.rows);
  try {
    read(parser);
  } catch (const RowError& error) {
    outcome.error = fmt::format("{}: {}; {}", error.offset, error.what, error.remedy);
  }
  return outcome;
}

Outcome read_carefully(std::string_view text, const DelimitedFormat& format, const Range& range) {
  return outcome_of(text, format, range, [&](RowParser& parser) {
    for (std::size_t at = 0; at < text.size();) {
      parser.parse_any(next_line(text, at));
    }
  });
}

/// The row that RowScanner reads of a text of one line, if it does.
std::optional<Outcome> scanned(std::string_view text, const DelimitedFormat& format, const Range& range) {
  const RowScanner scanner(format, range.value_or(std::pair(-1e30F, 1e30F)), true);
  std::vector<char> buffer(text.size() + 2 * RowScanner::kSlack, '7');
  std::memcpy(buffer.data() + RowScanner::kSlack, text.data(), text.size());
  const char* at = buffer.data() + RowScanner::kSlack;
  const auto block = std::make_unique<RowBlock>();
  if (scanner.scan(at, at + text.size(), *block) != 1) {
    return std::nullopt;
  }
  Outcome outcome;
  outcome.rows.users.push_back(block->users[0]);
  outcome.rows.items.push_back(block->items[0]);
  outcome.rows.ratings.push_back(block->ratings[0]);
  if (format.timestamp != kNoColumn) {
    outcome.rows.timestamps.push_back(block->timestamps[0]);
  }
  return outcome;
}

/// Lines that are plain, lines with a quirk, and lines that are wrong, about as many of each.
class LineMaker {
 public:
  std::string make(const DelimitedFormat& format) {
    const auto mark = std::string(separator_text(format.separator));
    std::string line;
    for (std::size_t column = 0; column < format.fields; ++column) {
      line += (column > 0 ? mark : "") + (odd_ ? odd_field() : plain_field(static_cast<int>(column), format));
      odd_ = random_() % 12 == 0;
    }
    if (random_() % 16 == 0) {
      line.insert(random_() % (line.size() + 1), 1, "\"\r\t ,;|:-+.eE0"[random_() % 14]);
    }
    constexpr std::array<const char*, 4> kEnds = {"\n", "\r\n", "\n", ""};
    return line + kEnds[random_() % kEnds.size()];
  }

  std::uint32_t draw(std::uint32_t below) { return static_cast<std::uint32_t>(random_()) % below; }

 private:
  std::string plain_field(int column, const DelimitedFormat& format) {
    if (column == format.rating) {
      return random_() % 2 == 0 ? fmt::format("{}.{}", random_() % 10, random_() % 10) : std::to_string(random_() % 6);
    }
    return std::to_string(random_() >> (random_() % 32));
  }

  std::string odd_field() {
    static const std::vector<std::string> kFields = {"",
                                                     " 5",
                                                     "5 ",
                                                     "+5",
                                                     "-5",
                                                     "+-5",
                                                     "\"5\"",
                                                     "\"5",
                                                     "5\"",
                                                     "007",
                                                     "5.",
                                                     ".5",
                                                     "3.25",
                                                     "1e1",
                                                     "5e-1",
                                                     "1e-50",
                                                     "1e50",
                                                     "0.1",
                                                     "0.30",
                                                     "4.999999999",
                                                     "inf",
                                                     "nan",
                                                     "0x5",
                                                     "x",
                                                     "5x",
                                                     "-0",
                                                     "-0.5",
                                                     "123456789",
                                                     "16777217",
                                                     "99999999999",
                                                     "1e-310",
                                                     "5\t",
                                                     "5\r",
                                                     "1.17e-38",
                                                     "3.4e38",
                                                     "9223372036854775807",
                                                     "9223372036854775808",
                                                     "-9223372036854775808",
                                                     "18446744073709551616",
                                                     "12345678901234567890123456789012345678901234567890"};
    return kFields[random_() % kFields.size()];
  }

  std::mt19937 random_{7};
  bool odd_ = false;
};

TEST(RowParser, EveryWayToReadALineGivesTheSameRow) {
  LineMaker lines;
  int plain = 0;
  int scans = 0;
  int refused = 0;
  constexpr int kRounds = 200000;
  for (int round = 0; round < kRounds; ++round) {
    DelimitedFormat format;
    format.separator = kSeparators[lines.draw(static_cast<std::uint32_t>(kSeparators.size()))];
    format.fields = 3 + lines.draw(3);
    format.user = 0;
    format.item = 1;
    format.rating = 2;
    format.timestamp = format.fields > 3 ? 3 : kNoColumn;
    const Range range = lines.draw(2) == 0 ? Range(std::pair(0.5F, 5.0F)) : std::nullopt;
    const std::string text = lines.make(format);
    const Outcome careful = read_carefully(text, format, range);
    refused += careful.error.empty() ? 0 : 1;
    const std::string label = fmt::format("{} separated by {}", excerpt(text), separator_name(format.separator));

    std::size_t at = 0;
    bool is_plain = false;
    const Outcome quick =
        outcome_of(text, format, range, [&](RowParser& parser) { is_plain = parser.parse_plain(at, text.size()); });
    if (is_plain) {
      ++plain;
      ASSERT_EQ(quick, careful) << label;
      std::size_t end = 0;
      next_line(text, end);
      ASSERT_EQ(at, end) << label;
    } else {
      ASSERT_EQ(quick, Outcome()) << label;
      ASSERT_EQ(at, 0U) << label;
    }
    if (const std::optional<Outcome> scan = scanned(text, format, range)) {
      ++scans;
      ASSERT_EQ(*scan, careful) << label;
    }
    ASSERT_EQ(outcome_of(text, format, range, [&](RowParser& parser) { parser.parse(0, text.size()); }), careful)
        << label;
  }
  EXPECT_GT(plain, kRounds / 4);
  EXPECT_GT(scans, kRounds / 8);
  EXPECT_GT(refused, kRounds / 8);
}

TEST(RowParser, ReadsPlainLinesTheFastWay) {
  const auto reads = [](std::string_view text, Separator separator, std::size_t fields) {
    DelimitedFormat format;
    format.separator = separator;
    format.fields = fields;
    format.user = 0;
    format.item = 1;
    format.rating = 2;
    format.timestamp = fields > 3 ? 3 : kNoColumn;
    RawRatings rows;
    std::size_t at = 0;
    return RowParser(text, format, std::nullopt, true, rows).parse_plain(at, text.size());
  };
  EXPECT_TRUE(reads("1,2,3.25,978300760\n", Separator::comma, 4));
  EXPECT_TRUE(reads("1::2::3.25\r\n", Separator::double_colon, 3));
  EXPECT_TRUE(reads("-1 2 1e-3", Separator::space, 3));
  EXPECT_FALSE(reads("1,2,3,4,5\n", Separator::comma, 5));
  EXPECT_FALSE(reads("1,2,+3,4\n", Separator::comma, 4));
}

}  // namespace
}  // namespace curate
