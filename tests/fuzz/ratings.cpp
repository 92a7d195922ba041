// Reading ratings piece by piece, on several threads or from a stream, against the plain parser on the whole text: the
// same rows, or the same message. Input: a byte of flags, then the text.

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "data/delimited_reader.h"
#include "data/delimited_text.h"
#include "data/rating_reader.h"
#include "support/thread_pool.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

constexpr std::uint8_t kNoTimestamps = 1;
constexpr std::uint8_t kRange = 2;
constexpr std::uint8_t kPairs = 4;
constexpr std::uint8_t kOneThread = 8;
constexpr std::uint8_t kStream = 16;
constexpr std::uint8_t kShrinks = 32;
constexpr std::uint8_t kTextIds = 64;
constexpr std::uint8_t kCached = 128;

// Whether a longer line is refused depends on where pieces end.
constexpr std::size_t kSurelyTaken = 800;

class MemorySource : public ByteSource {
 public:
  MemorySource(const std::string& name, std::string_view text) : ByteSource(name), text_(text) {}
  std::size_t read(std::span<char> buffer) override {
    const std::size_t count = std::min(buffer.size(), text_.size() - at_);
    std::copy_n(text_.begin() + static_cast<std::ptrdiff_t>(at_), count, buffer.begin());
    at_ += count;
    return count;
  }
  std::optional<std::int64_t> size() const override { return std::nullopt; }
  std::int64_t consumed() const override { return static_cast<std::int64_t>(at_); }
  std::int64_t total() const override { return static_cast<std::int64_t>(text_.size()); }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

/// One file, that streams its text.
class MemoryTree : public FileTree {
 public:
  MemoryTree(std::string path, std::string_view text) : path_(std::move(path)), text_(text) {}
  const std::string& path() const override { return path_; }
  std::string name_of(const std::string& /*name*/) const override { return path_; }
  bool has(const std::string& /*name*/) const override { return true; }
  std::vector<std::string> names() const override { return {path_}; }
  std::unique_ptr<ByteSource> open(const std::string& /*name*/, std::int64_t /*max_bytes*/) const override {
    return std::make_unique<MemorySource>(path_, text_);
  }

 private:
  std::string path_;
  std::string_view text_;
};

bool same_format(const DelimitedFormat& a, const DelimitedFormat& b) {
  return a.separator == b.separator && a.header == b.header && a.fields == b.fields && a.user == b.user &&
         a.item == b.item && a.rating == b.rating && a.timestamp == b.timestamp && a.body == b.body &&
         a.user_text == b.user_text && a.item_text == b.item_text;
}

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

std::size_t longest_line(std::string_view text) {
  std::size_t longest = 0;
  for (std::size_t offset = 0; offset < text.size();) {
    longest = std::max(longest, next_line(text, offset).size());
  }
  return longest;
}

/// Up to the remedy, without what is said of the last line only: whether a line is the last is not known where only
/// blank lines follow in a later piece.
std::string essence(const std::string& message) {
  const std::string kHint = "truncated last line? ";
  std::string result = message.substr(0, message.find("; "));
  const std::size_t at = result.find(kHint);
  return at == std::string::npos ? result : result.erase(at, kHint.size());
}

void check_table(const RatingTable& table, const IdMap& users, const IdMap& items) {
  const std::size_t rows = table.ratings.size();
  check(table.users.size() == rows && table.items.size() == rows, "columns of different lengths");
  check(table.timestamps.empty() || table.timestamps.size() == rows, "timestamps of another length");
  for (std::size_t k = 0; k < rows; ++k) {
    check(table.users[k] >= 0 && table.users[k] < users.size(), "a user id out of range");
    check(table.items[k] >= 0 && table.items[k] < items.size(), "an item id out of range");
  }
}

using Ids = std::vector<std::string>;

/// Ids as they are spelled, by row.
Ids ids_of(const std::vector<std::int64_t>& column, bool texts, std::string_view text) {
  Ids ids;
  std::string unquoted;
  for (const std::int64_t value : column) {
    ids.push_back(texts ? std::string(field_text(text, value, unquoted)) : std::to_string(value));
  }
  return ids;
}

/// The same ids, numbered by first appearance.
void check_ids(const Column<std::int32_t>& column, const IdMap& map, const Ids& ids) {
  std::unordered_map<std::string, std::int32_t> expected;
  for (std::size_t k = 0; k < ids.size(); ++k) {
    const auto dense = expected.emplace(ids[k], static_cast<std::int32_t>(expected.size())).first->second;
    check(column[k] == dense && map.text(dense) == ids[k], "another id: " + ids[k]);
    check(map.find(RawId(ids[k])) == dense && map.find(ids[k]) == dense, "an id that is not found: " + ids[k]);
  }
  check(map.size() == static_cast<std::int32_t>(expected.size()), "another number of ids");
}

/// parse_delimited reads plain lines the fast way; all lines read carefully are the same.
void check_read_carefully(std::string_view text, const DelimitedFormat& format, const ReadOptions& options,
                          const RawRatings& rows) {
  RawRatings careful;
  RowParser parser(text, format, options.rating_range, true, careful);
  for (std::size_t at = format.body; at < text.size();) {
    parser.parse_any(next_line(text, at));
  }
  check(careful.users == rows.users && careful.items == rows.items && careful.timestamps == rows.timestamps &&
            std::equal(careful.ratings.begin(), careful.ratings.end(), rows.ratings.begin(), rows.ratings.end(),
                       same_bits),
        "the fast way reads other rows");
}

struct Rows {
  RawRatings raw;
  Ids users;
  Ids items;
};

void check_same(const RatingTable& table, const IdMap& users, const IdMap& items, const Rows& rows, bool timed) {
  check_table(table, users, items);
  check(table.ratings.size() == rows.users.size(), "another number of rows");
  check(table.has_timestamps() == timed, "timestamps that nobody wants, or none");
  check_ids(table.users, users, rows.users);
  check_ids(table.items, items, rows.items);
  for (std::size_t k = 0; k < rows.users.size(); ++k) {
    check(same_bits(table.ratings[k], rows.raw.ratings[k]), "another rating");
    check(!timed || table.timestamps[k] == rows.raw.timestamps[k], "another timestamp");
  }
}

/// What read_dataset keeps of repeated pairs, slowly.
void check_distinct(const Dataset& dataset, const Rows& rows) {
  using Pair = std::pair<std::string, std::string>;
  const std::vector<std::int64_t>& times = rows.raw.timestamps;
  std::map<Pair, std::size_t> kept;
  for (std::size_t k = 0; k < rows.users.size(); ++k) {
    const auto [found, is_new] = kept.emplace(Pair(rows.users[k], rows.items[k]), k);
    if (!is_new && (times.empty() || times[k] >= times[found->second])) {
      found->second = k;
    }
  }
  check(dataset.ratings.ratings.size() == kept.size(), "another number of distinct pairs");
  check(dataset.duplicates == static_cast<std::int64_t>(rows.users.size() - kept.size()), "duplicates miscounted");
  for (std::size_t k = 0; k < kept.size(); ++k) {
    const auto found = kept.find(Pair(dataset.users.text(dataset.ratings.users[k]),  //
                                      dataset.items.text(dataset.ratings.items[k])));
    check(found != kept.end(), "a pair that is not in the text");
    check(same_bits(dataset.ratings.ratings[k], rows.raw.ratings[found->second]), "another rating of a pair is kept");
  }
}

void check_equal(const Dataset& a, const Dataset& b) {
  check(a.ratings.users == b.ratings.users && a.ratings.items == b.ratings.items &&
            a.ratings.timestamps == b.ratings.timestamps && a.duplicates == b.duplicates,
        "the cache has other rows");
  check(std::equal(a.ratings.ratings.begin(), a.ratings.ratings.end(), b.ratings.ratings.begin(),
                   b.ratings.ratings.end(), same_bits),
        "the cache has other ratings");
  check(a.scale.min == b.scale.min && a.scale.max == b.scale.max && a.scale.step == b.scale.step,
        "the cache has another scale");
  for (const auto& [of_a, of_b] : {std::pair(&a.users, &b.users), std::pair(&a.items, &b.items)}) {
    check(of_a->size() == of_b->size() && of_a->numbers() == of_b->numbers(), "the cache has other ids");
    for (std::int32_t id = 0; id < of_a->size(); ++id) {
      check(of_a->text(id) == of_b->text(id), "the cache has another id");
    }
  }
}

void test_pairs(const ScratchFile& file, std::string_view text, bool text_ids) {
  Rows rows;
  const auto refusal = refusal_of([&] {
    DelimitedFormat format = detect_format(text, file.path(), DelimitedContent::pairs);
    format.user_text = format.user_text || text_ids;
    format.item_text = format.item_text || text_ids;
    rows.raw = parse_delimited(text, file.path(), format, {});
    check_read_carefully(text, format, {}, rows.raw);
    rows.users = ids_of(rows.raw.users, format.user_text, text);
    rows.items = ids_of(rows.raw.items, format.item_text, text);
  });
  file.write(text);
  std::vector<RawPair> pairs;
  check(refusal_of([&] { pairs = read_pairs(file.path(), text_ids); }) == refusal, "pairs: another message");
  check(pairs.size() == rows.users.size() && pairs.size() == rows.items.size(), "pairs: another number");
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    check(pairs[k].user.text() == rows.users[k] && pairs[k].item.text() == rows.items[k], "pairs: another pair");
  }
}

void test(std::uint8_t flags, std::string_view text) {
  static const ScratchFile kFile("ratings.txt");
  static ThreadPool one(1);
  static ThreadPool three(3);
  if ((flags & kPairs) != 0) {
    test_pairs(kFile, text, (flags & kTextIds) != 0);
    return;
  }
  ReadOptions options;
  options.threads = 1;
  if ((flags & kRange) != 0) {
    options.rating_range = {0.5F, 5.0F};
  }
  DelimitedFormat format;
  if (refusal_of([&] { format = detect_format(text, kFile.path(), DelimitedContent::ratings); })) {
    return;
  }
  options.text_ids = (flags & kTextIds) != 0;
  format.user_text = format.user_text || options.text_ids;
  format.item_text = format.item_text || options.text_ids;
  Rows rows;
  const auto slow_refusal = refusal_of([&] {
    rows.raw = parse_delimited(text, kFile.path(), format, options);
    check_read_carefully(text, format, options, rows.raw);
    rows.users = ids_of(rows.raw.users, format.user_text, text);
    rows.items = ids_of(rows.raw.items, format.item_text, text);
  });

  options.timestamps = (flags & kNoTimestamps) == 0;
  const bool shrinks = (flags & kShrinks) != 0 && (flags & kStream) == 0;
  std::int64_t last_done = 0;
  options.progress = [&](const char* /*phase*/, std::int64_t done, std::int64_t total) {
    check(done >= last_done && (done <= total || total == 0), "progress goes backwards or too far");
    last_done = done;
    if (shrinks) {
      kFile.shrink(text.size() / 2);
    }
  };
  kFile.write(text);
  const MemoryTree tree(kFile.path(), text);
  RatingText fast = (flags & kStream) != 0 ? RatingText(tree, "ratings.txt") : RatingText(kFile.path());
  DelimitedFormat fast_format;
  // From the first bytes alone; a first line that is longer than these is not this target's.
  if (refusal_of([&] { fast_format = fast.detect(DelimitedContent::ratings); })) {
    return;
  }
  fast_format.user_text = fast_format.user_text || options.text_ids;
  fast_format.item_text = fast_format.item_text || options.text_ids;
  if (!same_format(fast_format, format)) {
    return;
  }
  RatingTable table;
  IdMap users;
  IdMap items;
  const auto fast_refusal =
      refusal_of([&] { table = fast.read(format, options, users, items, (flags & kOneThread) != 0 ? one : three); });
  if (!fast_refusal) {
    check_table(table, users, items);
  }
  if (longest_line(text) > kSurelyTaken) {
    return;
  }
  if (shrinks && fast_refusal && fast_refusal->find("shrank while it was read") != std::string::npos) {
    return;
  }
  if (slow_refusal) {
    // Timestamps that nobody wants are not looked at on every line.
    if (!options.timestamps && slow_refusal->find("the timestamp") != std::string::npos) {
      return;
    }
    check(fast_refusal.has_value(), "taken, but: " + *slow_refusal);
    check(essence(*fast_refusal) == essence(*slow_refusal),
          "another message:\n  " + *fast_refusal + "\n  " + *slow_refusal);
    return;
  }
  check(!fast_refusal, "refused: " + fast_refusal.value_or(""));
  check_same(table, users, items, rows, options.timestamps && format.timestamp != kNoColumn);

  options.progress = {};
  kFile.write(text);
  Dataset dataset;
  options.cache = (flags & kCached) != 0;
  options.cache_from = 0;
  const auto refusal = refusal_of([&] { dataset = read_dataset(kFile.path(), options); });
  check(!refusal, "read_dataset refuses: " + refusal.value_or(""));
  check_table(dataset.ratings, dataset.users, dataset.items);
  check_distinct(dataset, rows);
  if (options.cache) {
    const Dataset again = read_dataset(kFile.path(), options);
    check(again.from_cache, "no cache was made");
    check_equal(again, dataset);
  }
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  curate::fuzz::Input input(data, size);
  const std::uint8_t flags = input.byte();
  curate::fuzz::test(flags, input.rest());
  return 0;
}
