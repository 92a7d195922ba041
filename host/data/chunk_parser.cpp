#include "data/chunk_parser.h"

#include <algorithm>
#include <limits>

#include "data/delimited_text.h"

namespace curate {
namespace {

// The most lines that go to the slow parser at once while the fast one reads none.
constexpr std::size_t kMostSlowLines = 256;

std::pair<float, float> accepted_range(const ReadOptions& options) {
  // Finite ones, unless the caller says more.
  return options.rating_range.value_or(
      std::pair(std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()));
}

}  // namespace

ChunkParser::ChunkParser(const DelimitedFormat& format, const ReadOptions& options, bool timestamps,
                         KnownIds& known_users, KnownIds& known_items)
    : format_(format),
      range_(options.rating_range),
      timed_(timestamps),
      scanner_(format, accepted_range(options), timestamps),
      user_ids_(known_users),
      item_ids_(known_items) {}

void ChunkParser::parse(std::string_view text, bool last) {
  user_ids_.clear();
  item_ids_.clear();
  rows_ = 0;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  std::size_t slow_lines = 1;
  while (at < end) {
    const std::size_t count = scanner_.scan(at, end, block_);
    if (count > 0) {
      add(text, block_.users.data(), block_.items.data(), block_.ratings.data(), block_.timestamps.data(), count);
      slow_lines = 1;
      if (count == RowBlock::kCapacity || at == end) {
        continue;
      }
    }
    // An odd line, or the last of a text that does not end in one.
    const auto begin = static_cast<std::size_t>(at - text.data());
    std::size_t next = begin;
    for (std::size_t line = 0; line < slow_lines && next < text.size(); ++line) {
      next_line(text, next);
    }
    slow_.users.clear();
    slow_.items.clear();
    slow_.ratings.clear();
    slow_.timestamps.clear();
    RowParser(text, format_, range_, last, slow_).parse(begin, next);
    add(text, slow_.users.data(), slow_.items.data(), slow_.ratings.data(), slow_.timestamps.data(),
        slow_.users.size());
    at = text.data() + next;
    slow_lines = count > 0 ? 1 : std::min(2 * slow_lines, kMostSlowLines);
  }
}

void ChunkParser::resolve(IdMap& users, IdMap& items) {
  user_ids_.resolve(users);
  item_ids_.resolve(items);
}

void ChunkParser::store(RatingTable& table, std::size_t first_row) const {
  user_ids_.finish(users_.data(), rows_, table.users.data() + first_row);
  item_ids_.finish(items_.data(), rows_, table.items.data() + first_row);
  std::copy_n(ratings_.begin(), rows_, table.ratings.data() + first_row);
  if (timed_) {
    std::copy_n(timestamps_.begin(), rows_, table.timestamps.data() + first_row);
  }
}

void ChunkParser::add(std::string_view text, const std::int64_t* users, const std::int64_t* items, const float* ratings,
                      const std::int64_t* timestamps, std::size_t count) {
  if (rows_ + count > users_.size()) {
    const std::size_t size = std::max<std::size_t>(1U << 15U, 2 * (rows_ + count));
    users_.resize(size);
    items_.resize(size);
    ratings_.resize(size);
    timestamps_.resize(timed_ ? size : 0);
  }
  if (format_.user_text) {
    user_ids_.map_texts(text, users, count, users_.data() + rows_);
  } else {
    user_ids_.map(users, count, users_.data() + rows_);
  }
  if (format_.item_text) {
    item_ids_.map_texts(text, items, count, items_.data() + rows_);
  } else {
    item_ids_.map(items, count, items_.data() + rows_);
  }
  std::copy_n(ratings, count, ratings_.data() + rows_);
  if (timed_) {
    std::copy_n(timestamps, count, timestamps_.data() + rows_);
  }
  rows_ += count;
}

}  // namespace curate
