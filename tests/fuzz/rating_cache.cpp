// The binary cache of ratings: whatever its bytes, it is refused or gives a sound table. Input: a byte of flags, then
// the cache file, whose stamp of the source and whose checksums are put right first (unless the flags say no), so that
// the code behind them is reached.

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "data/rating_cache.h"
#include "data/row_parser.h"
#include "support/thread_pool.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

constexpr std::uint8_t kTextIds = 1;
constexpr std::uint8_t kTimestamps = 2;
constexpr std::uint8_t kThreads = 4;
constexpr std::uint8_t kAsItIs = 8;

// Places in the file (see rating_cache.cpp).
constexpr std::size_t kSourceSize = 16;
constexpr std::size_t kSourceModified = 24;
constexpr std::size_t kCreated = 40;
constexpr std::size_t kIndexOffset = 1136;
constexpr std::size_t kIndexHash = 1152;
constexpr std::size_t kHeaderHash = 1160;
constexpr std::size_t kHeaderSize = 1168;
constexpr std::size_t kEntrySize = 24;

template <typename T>
void put(std::string& cache, std::size_t at, T value) {
  std::memcpy(cache.data() + at, &value, sizeof value);
}

std::int64_t number_at(const std::string& cache, std::size_t at) {
  std::int64_t value = 0;
  std::memcpy(&value, cache.data() + at, sizeof value);
  return value;
}

void put_right(std::string& cache, const FileStamp& source) {
  if (cache.size() < kHeaderSize) {
    return;
  }
  const auto size = static_cast<std::int64_t>(cache.size());
  const std::int64_t index = number_at(cache, kIndexOffset);
  if (index >= 0 && index <= size) {
    const auto begin = static_cast<std::size_t>(index);
    for (std::size_t entry = begin; entry + kEntrySize <= cache.size(); entry += kEntrySize) {
      const std::int64_t offset = number_at(cache, entry);
      const std::int64_t bytes = number_at(cache, entry + 8);
      if (offset >= 0 && offset <= size && bytes >= 0 && bytes <= size - offset) {
        put(cache, entry + 16, XXH3_64bits(cache.data() + offset, static_cast<std::size_t>(bytes)));
      }
    }
    put(cache, kIndexHash, XXH3_64bits(cache.data() + begin, cache.size() - begin));
  }
  put(cache, kSourceSize, source.size);
  put(cache, kSourceModified, source.modified);
  put(cache, kCreated, source.modified + 3'000'000'000);
  put(cache, kHeaderHash, XXH3_64bits(cache.data(), kHeaderHash));
}

void check_ids(const IdMap& ids) {
  for (std::int32_t id = 0; id < ids.size(); ++id) {
    const std::string text = ids.text(id);
    check(!text.empty() && text.size() <= kMostIdBytes, "an id that no text has");
    check(std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }),
          "an id with a control character");
    check(ids.find(RawId(text)) == id, "an id that is not found");
  }
}

void test(std::uint8_t flags, std::string_view bytes) {
  static const ScratchFile kSource("ratings.txt");
  static const ScratchFile kCache(".ratings.txt.curate-cache");
  static const FileStamp kStamp = [] {
    kSource.write("1,2,3,4\n");
    return *stamp_of(kSource.path());
  }();
  static ThreadPool one(1);
  static ThreadPool three(3);
  std::string cache(bytes);
  if ((flags & kAsItIs) == 0) {
    put_right(cache, kStamp);
  }
  kCache.write(cache);
  const bool timestamps = (flags & kTimestamps) != 0;
  const std::optional<CachedRatings> read =
      load_cache(kSource.path(), (flags & kTextIds) != 0, timestamps, (flags & kThreads) != 0 ? three : one);
  if (!read) {
    return;
  }
  const RatingTable& table = read->ratings;
  const std::size_t rows = table.ratings.size();
  check(rows > 0 && table.users.size() == rows && table.items.size() == rows, "columns of different lengths");
  check(table.timestamps.size() == (timestamps ? rows : 0), "timestamps of another length");
  for (std::size_t k = 0; k < rows; ++k) {
    check(table.users[k] >= 0 && table.users[k] < read->users.size(), "a user id out of range");
    check(table.items[k] >= 0 && table.items[k] < read->items.size(), "an item id out of range");
    check(table.ratings[k] >= read->scale.min && table.ratings[k] <= read->scale.max, "a rating out of range");
  }
  check(std::isfinite(read->scale.min) && std::isfinite(read->scale.max) && read->duplicates >= 0, "an unsound scale");
  check_ids(read->users);
  check_ids(read->items);
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  curate::fuzz::Input input(data, size);
  const std::uint8_t flags = input.byte();
  curate::fuzz::test(flags, input.rest());
  return 0;
}
