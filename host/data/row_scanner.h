#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "data/delimited_format.h"

namespace curate {

/// Rows as numbers, column by column; small enough for a core's first-level caches.
struct RowBlock {
  static constexpr std::size_t kCapacity = 512;
  std::array<std::int64_t, kCapacity> users;
  std::array<std::int64_t, kCapacity> items;
  std::array<float, kCapacity> ratings;
  std::array<std::int64_t, kCapacity> timestamps;
};

/// The fast path of reading ratings: rows without quirks, at a few nanoseconds each. Lines are searched for separators
/// by vector comparison, digits are turned into numbers eight at a time.
class RowScanner {
 public:
  /// The scanner may read this many bytes before and behind the text, without using them: a ScanBuffer has them.
  static constexpr std::size_t kSlack = 64;

  /// Ratings outside [range.first, range.second] count as odd. Without `want_timestamps` that column is passed over,
  /// apart from its first character.
  RowScanner(const DelimitedFormat& format, std::pair<float, float> range, bool want_timestamps);

  /// Whether rows of that format can be scanned at all; if not, scan() reads none.
  bool applies() const { return applies_; }

  /// Reads rows into `block` from `at` on, the start of a line, and returns their number. Stops if the block is full,
  /// at `end`, and at a line that is not plain, right or wrong. A plain line has unsigned whole numbers of at most 16
  /// digits, a rating of up to 8 digits or like 4.5, in other columns anything that does not start with a quote or a
  /// blank, and ends in LF or CRLF. `at` is then behind the last row read, at the start of a line. A last line without
  /// its end is not read.
  std::size_t scan(const char*& at, const char* end, RowBlock& block) const;

 private:
  char separator_;
  std::uint32_t marks_;  ///< characters of the separator: 1 or 2
  std::uint32_t fields_;
  std::uint32_t user_;
  std::uint32_t item_;
  std::uint32_t rating_;
  std::uint32_t timestamp_;  ///< past the last field if there is none, or if it is not wanted
  std::uint32_t skipped_;    ///< a timestamp that is not wanted; past the last field if there is none
  float low_;
  float high_;
  bool applies_;
};

/// A buffer for text that is scanned, with RowScanner::kSlack bytes before and behind it.
class ScanBuffer {
 public:
  char* data() { return bytes_.data() + RowScanner::kSlack; }
  const char* data() const { return bytes_.data() + RowScanner::kSlack; }

  /// For so many characters; those that are there stay. data() may move.
  void make_room(std::size_t characters) {
    bytes_.resize(std::max(bytes_.size(), RowScanner::kSlack + characters + RowScanner::kSlack));
  }

 private:
  std::vector<char> bytes_ = std::vector<char>(2 * RowScanner::kSlack);
};

}  // namespace curate
