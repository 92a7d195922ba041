#include "data/rating_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "data/byte_source.h"
#include "data/piece_sizes.h"
#include "data/rating_scale.h"
#include "data/row_parser.h"
#include "support/atomic_file.h"
#include "support/file_descriptor.h"

namespace curate {
namespace {

// The file: a header, blocks of rows, blocks of timestamps (if any), the raw ids of users and items, and an index of
// the blocks. Numbers are little-endian. Every block has a hash (XXH3, 64 bits), and so have index and header. Each
// hash is checked before its part is used, and so is every number: anybody may have written the file.

static_assert(std::endian::native == std::endian::little, "the cache is written as numbers are in memory");

constexpr std::array<char, 8> kMagic = {'c', 'u', 'r', 'a', 't', 'e', 'R', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::int64_t kBlockRows = std::int64_t{1} << (kSmallPieces ? 3U : 18U);
constexpr std::int64_t kHashPiece = std::int64_t{1} << 20U;
// If the source changed less than this before its cache was made, it may have changed once more without another time of
// modification.
constexpr std::int64_t kRacyNanoseconds = 2'000'000'000;
constexpr std::size_t kMostCodes = 256;

enum Flag : std::uint32_t { kTextIds = 1, kTimestamps = 2, kUserTexts = 4, kItemTexts = 8, kRatingCodes = 16 };

struct Header {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t flags;
  std::int64_t source_size;
  std::int64_t source_modified;
  std::uint64_t source_hash;
  std::int64_t created;
  std::int64_t rows;
  std::int64_t users;
  std::int64_t items;
  std::int64_t duplicates;
  std::int64_t first_time;
  std::uint32_t item_bytes;  ///< per rating
  std::uint32_t time_bytes;  ///< per rating, beyond first_time
  std::uint32_t codes;       ///< of ratings in `code_values`
  float min;
  float max;
  float step;
  std::array<float, kMostCodes> code_values;
  std::int64_t index_offset;
  std::int64_t index_entries;
  std::uint64_t index_hash;
  std::uint64_t header_hash;  ///< of all before
};
static_assert(sizeof(Header) == 144 + kMostCodes * sizeof(float), "hashed as it is: there is to be no padding");

struct IndexEntry {
  std::int64_t offset;
  std::int64_t bytes;
  std::uint64_t hash;
};

/// A user's ratings in a row.
struct Run {
  std::int32_t user;
  std::int32_t count;
};

std::uint64_t hash_of(std::span<const char> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t hash_of(const Header& header) {
  return XXH3_64bits(&header, offsetof(Header, header_hash));
}

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// Of the whole file, piece by piece. Throws InputError if it cannot be read.
std::uint64_t hash_of_file(const std::string& path, ThreadPool& pool) {
  const InputFile file(path);
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>((file.size() + kHashPiece - 1) / kHashPiece));
  pool.run(static_cast<std::int64_t>(hashes.size()), [&](std::int64_t piece) {
    static thread_local std::vector<char> buffer;
    buffer.resize(static_cast<std::size_t>(kHashPiece));
    const std::size_t got = file.read_at(piece * kHashPiece, buffer);
    hashes[static_cast<std::size_t>(piece)] = hash_of(std::span<const char>(buffer).first(got));
  });
  return XXH3_64bits(hashes.data(), hashes.size() * sizeof(std::uint64_t));
}

std::uint32_t bytes_for(std::uint64_t largest) {
  return static_cast<std::uint32_t>((std::bit_width(largest) + 7) / 8);
}

/// Calls with(width), with the width (0 to 8) as a constant of its type.
template <typename With>
void for_width(std::uint32_t width, With with) {
  switch (width) {
    case 0:
      return with(std::integral_constant<std::size_t, 0>());
    case 1:
      return with(std::integral_constant<std::size_t, 1>());
    case 2:
      return with(std::integral_constant<std::size_t, 2>());
    case 3:
      return with(std::integral_constant<std::size_t, 3>());
    case 4:
      return with(std::integral_constant<std::size_t, 4>());
    case 5:
      return with(std::integral_constant<std::size_t, 5>());
    case 6:
      return with(std::integral_constant<std::size_t, 6>());
    case 7:
      return with(std::integral_constant<std::size_t, 7>());
    default:
      return with(std::integral_constant<std::size_t, 8>());
  }
}

/// `count` numbers of `width` bytes each, appended.
template <typename Value>
void pack(std::vector<char>& to, std::uint32_t width, std::size_t count, Value value) {
  const std::size_t start = to.size();
  to.resize(start + count * width);
  char* const out = to.data() + start;
  for_width(width, [&](auto bytes) {
    for (std::size_t k = 0; k < count; ++k) {
      const std::uint64_t number = value(k);
      if constexpr (decltype(bytes)::value > 0) {  // else `out` may be null
        std::memcpy(out + k * bytes, &number, bytes);
      }
    }
  });
}

/// Calls take(k, number) for the numbers that pack() wrote. `from` has count * width bytes.
template <typename Take>
void unpack(const char* from, std::uint32_t width, std::size_t count, Take take) {
  for_width(width, [&](auto bytes) {
    for (std::size_t k = 0; k < count; ++k) {
      std::uint64_t number = 0;
      if constexpr (decltype(bytes)::value > 0) {
        std::memcpy(&number, from + k * bytes, bytes);
      }
      take(k, number);
    }
  });
}

void append(std::vector<char>& to, const void* data, std::size_t bytes) {
  const char* const begin = static_cast<const char*>(data);
  to.insert(to.end(), begin, begin + bytes);
}

/// An open file of the cache's folder, which somebody else closes. Functions return false if they fail: a missing cache
/// is no error.
class CacheFile {
 public:
  explicit CacheFile(int fd) : fd_(fd) {}

  bool is_open() const { return fd_ >= 0; }

  std::int64_t size() const {
    struct stat status {};
    return ::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode) ? static_cast<std::int64_t>(status.st_size) : -1;
  }

  bool read_at(std::int64_t offset, void* to, std::size_t bytes) const {
    char* at = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t got = ::pread(fd_, at, bytes, offset);
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got <= 0) {
        return false;
      }
      at += got;
      offset += got;
      bytes -= static_cast<std::size_t>(got);
    }
    return true;
  }

  bool write_at(std::int64_t offset, const void* from, std::size_t bytes) const {
    const char* at = static_cast<const char*>(from);
    while (bytes > 0) {
      const ssize_t wrote = ::pwrite(fd_, at, bytes, offset);
      if (wrote < 0 && errno == EINTR) {
        continue;
      }
      if (wrote <= 0) {
        return false;
      }
      at += wrote;
      offset += wrote;
      bytes -= static_cast<std::size_t>(wrote);
    }
    return true;
  }

 private:
  int fd_;
};

std::int64_t blocks_of(std::int64_t rows) {
  return (rows + kBlockRows - 1) / kBlockRows;
}

// Writing.

/// Codes of ratings: a number for each value, if there are few values.
class RatingCodes {
 public:
  explicit RatingCodes(const Column<float>& ratings) {
    for (const float rating : ratings) {
      const auto bits = std::bit_cast<std::uint32_t>(rating);
      if (bits == last_) {
        continue;
      }
      last_ = bits;
      if (find(bits) == kMostCodes) {
        if (values_.size() == kMostCodes) {
          values_.clear();
          return;
        }
        values_.push_back(bits);
      }
    }
  }

  const std::vector<std::uint32_t>& values() const { return values_; }  ///< bits of floats; empty: too many

  std::size_t find(std::uint32_t bits) const {
    const auto found = std::find(values_.begin(), values_.end(), bits);
    return found == values_.end() ? kMostCodes : static_cast<std::size_t>(found - values_.begin());
  }

 private:
  std::vector<std::uint32_t> values_;
  std::uint32_t last_ = 0xFFFFFFFFU;  // a NaN, which no rating is
};

std::vector<char> pack_rows(const RatingTable& table, std::size_t begin, std::size_t end, const Header& header,
                            const RatingCodes& codes) {
  std::vector<char> block;
  block.reserve((end - begin) * (header.item_bytes + 4) + 4096);
  std::vector<Run> runs;
  for (std::size_t k = begin; k < end; ++k) {
    if (runs.empty() || runs.back().user != table.users[k]) {
      runs.push_back({table.users[k], 0});
    }
    ++runs.back().count;
  }
  const auto count = static_cast<std::uint64_t>(runs.size());
  append(block, &count, sizeof(count));
  append(block, runs.data(), runs.size() * sizeof(Run));
  pack(block, header.item_bytes, end - begin,
       [&](std::size_t k) { return static_cast<std::uint64_t>(table.items[begin + k]); });
  if ((header.flags & kRatingCodes) != 0) {
    std::uint32_t last = 0xFFFFFFFFU;
    std::uint64_t code = 0;
    pack(block, 1, end - begin, [&](std::size_t k) {
      const auto bits = std::bit_cast<std::uint32_t>(table.ratings[begin + k]);
      if (bits != last) {
        last = bits;
        code = codes.find(bits);
      }
      return code;
    });
  } else {
    append(block, table.ratings.data() + begin, (end - begin) * sizeof(float));
  }
  return block;
}

std::vector<char> pack_ids(const IdMap& ids) {
  std::vector<char> block;
  for (std::int32_t id = 0; id < ids.size(); ++id) {
    if (ids.numbers()) {
      const std::int64_t raw = ids.raw(id);
      append(block, &raw, sizeof(raw));
    } else {
      const std::string text = ids.text(id);
      const auto length = static_cast<std::uint32_t>(text.size());
      append(block, &length, sizeof(length));
      append(block, text.data(), text.size());
    }
  }
  return block;
}

class CacheWriter {
 public:
  CacheWriter(const CacheFile& file, Header header) : file_(file), header_(header) {}

  bool add(const std::vector<char>& block) {
    index_.push_back({at_, static_cast<std::int64_t>(block.size()), hash_of(block)});
    at_ += static_cast<std::int64_t>(block.size());
    return file_.write_at(index_.back().offset, block.data(), block.size());
  }

  bool finish() {
    header_.index_offset = at_;
    header_.index_entries = static_cast<std::int64_t>(index_.size());
    header_.index_hash = XXH3_64bits(index_.data(), index_.size() * sizeof(IndexEntry));
    header_.header_hash = hash_of(header_);
    return file_.write_at(at_, index_.data(), index_.size() * sizeof(IndexEntry)) &&
           file_.write_at(0, &header_, sizeof(header_));
  }

 private:
  const CacheFile& file_;
  Header header_;
  std::int64_t at_ = sizeof(Header);
  std::vector<IndexEntry> index_;
};

bool write_cache(const CacheFile& file, Header header, const CachedRatings& content, ThreadPool& pool) {
  const RatingTable& table = content.ratings;
  const RatingCodes codes(table.ratings);
  header.codes = static_cast<std::uint32_t>(codes.values().size());
  if (header.codes > 0) {
    header.flags |= kRatingCodes;
    std::transform(codes.values().begin(), codes.values().end(), header.code_values.begin(),
                   [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
  }
  header.rows = table.size();
  header.users = content.users.size();
  header.items = content.items.size();
  header.duplicates = content.duplicates;
  header.item_bytes = bytes_for(static_cast<std::uint64_t>(content.items.size() - 1));
  header.min = content.scale.min;
  header.max = content.scale.max;
  header.step = content.scale.step;
  header.flags |= content.users.numbers() ? 0U : kUserTexts;
  header.flags |= content.items.numbers() ? 0U : kItemTexts;
  if (table.has_timestamps()) {
    header.flags |= kTimestamps;
    const auto [first, last] = std::minmax_element(table.timestamps.begin(), table.timestamps.end());
    header.first_time = *first;
    header.time_bytes = bytes_for(static_cast<std::uint64_t>(*last) - static_cast<std::uint64_t>(*first));
  }

  CacheWriter writer(file, header);
  // Packed side by side, written in order, a few blocks at a time.
  const auto add_blocks = [&](const auto& block_of) {
    const std::int64_t count = blocks_of(header.rows);
    const std::int64_t at_once = 2 * pool.threads();
    for (std::int64_t begin = 0; begin < count; begin += at_once) {
      std::vector<std::vector<char>> blocks(static_cast<std::size_t>(std::min(at_once, count - begin)));
      pool.run(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t b) {
        const auto from = static_cast<std::size_t>((begin + b) * kBlockRows);
        const auto to = static_cast<std::size_t>(std::min((begin + b + 1) * kBlockRows, header.rows));
        blocks[static_cast<std::size_t>(b)] = block_of(from, to);
      });
      for (const std::vector<char>& block : blocks) {
        if (!writer.add(block)) {
          return false;
        }
      }
    }
    return true;
  };
  bool good = add_blocks([&](std::size_t from, std::size_t to) { return pack_rows(table, from, to, header, codes); });
  if (good && table.has_timestamps()) {
    good = add_blocks([&](std::size_t from, std::size_t to) {
      std::vector<char> block;
      pack(block, header.time_bytes, to - from, [&](std::size_t k) {
        return static_cast<std::uint64_t>(table.timestamps[from + k]) - static_cast<std::uint64_t>(header.first_time);
      });
      return block;
    });
  }
  return good && writer.add(pack_ids(content.users)) && writer.add(pack_ids(content.items)) && writer.finish();
}

// Reading.

bool header_holds(const Header& header, std::int64_t file_size) {
  const auto between = [](std::int64_t value, std::int64_t low, std::int64_t high) {
    return value >= low && value <= high;
  };
  constexpr std::int64_t kMostIds = std::numeric_limits<std::int32_t>::max();
  constexpr std::int64_t kMostRows = std::int64_t{1} << 40U;
  const bool timed = (header.flags & kTimestamps) != 0;
  const bool coded = (header.flags & kRatingCodes) != 0;
  return header.magic == kMagic && header.version == kVersion && header.header_hash == hash_of(header) &&
         between(header.rows, 1, kMostRows) && between(header.users, 1, kMostIds) &&
         between(header.items, 1, kMostIds) && header.duplicates >= 0 && header.item_bytes <= 4 &&
         header.time_bytes <= 8 && (coded ? between(header.codes, 1, kMostCodes) : header.codes == 0) &&
         std::isfinite(header.min) && std::isfinite(header.max) && is_scale_step(header.step) &&
         header.index_entries == blocks_of(header.rows) * (timed ? 2 : 1) + 2 &&
         between(header.index_offset, sizeof(Header), file_size) &&
         file_size - header.index_offset == header.index_entries * static_cast<std::int64_t>(sizeof(IndexEntry)) &&
         // Every row takes at least one byte: a small file cannot ask for the memory of many rows.
         header.rows <= file_size &&
         std::all_of(header.code_values.begin(), header.code_values.begin() + header.codes,
                     [&](float value) { return value >= header.min && value <= header.max; });
}

/// Reads a block. False if it is not whole.
bool read_block(const CacheFile& file, const IndexEntry& entry, std::int64_t end, std::vector<char>& block) {
  if (entry.bytes < 0 || entry.offset < static_cast<std::int64_t>(sizeof(Header)) || entry.offset > end ||
      entry.bytes > end - entry.offset) {
    return false;
  }
  block.resize(static_cast<std::size_t>(entry.bytes));
  return file.read_at(entry.offset, block.data(), block.size()) && hash_of(block) == entry.hash;
}

bool unpack_rows(std::span<const char> block, std::size_t begin, std::size_t end, const Header& header,
                 RatingTable& table) {
  const std::size_t rows = end - begin;
  std::uint64_t runs = 0;
  if (block.size() < sizeof(runs)) {
    return false;
  }
  std::memcpy(&runs, block.data(), sizeof(runs));
  const bool coded = (header.flags & kRatingCodes) != 0;
  const std::size_t item_bytes = rows * header.item_bytes;
  const std::size_t rating_bytes = rows * (coded ? 1 : sizeof(float));
  if (runs > rows || block.size() != sizeof(runs) + runs * sizeof(Run) + item_bytes + rating_bytes) {
    return false;
  }
  const char* at = block.data() + sizeof(runs);
  std::size_t row = begin;
  for (std::uint64_t r = 0; r < runs; ++r, at += sizeof(Run)) {
    Run run{};
    std::memcpy(&run, at, sizeof(run));
    if (run.user < 0 || run.user >= header.users || run.count < 0 || static_cast<std::size_t>(run.count) > end - row) {
      return false;
    }
    std::fill_n(table.users.begin() + static_cast<std::ptrdiff_t>(row), run.count, run.user);
    row += static_cast<std::size_t>(run.count);
  }
  if (row != end) {
    return false;
  }
  std::uint64_t largest = 0;
  std::int32_t* const items = table.items.data() + begin;
  unpack(at, header.item_bytes, rows, [&](std::size_t k, std::uint64_t item) {
    largest = std::max(largest, item);
    items[k] = static_cast<std::int32_t>(item);
  });
  if (largest >= static_cast<std::uint64_t>(header.items)) {
    return false;
  }
  at += item_bytes;
  float* const ratings = table.ratings.data() + begin;
  if (coded) {
    std::uint64_t largest_code = 0;
    for (std::size_t k = 0; k < rows; ++k) {
      const auto code = static_cast<unsigned char>(at[k]);
      largest_code = std::max<std::uint64_t>(largest_code, code);
      ratings[k] = header.code_values[code];
    }
    return largest_code < header.codes;
  }
  std::memcpy(ratings, at, rating_bytes);
  return std::all_of(ratings, ratings + rows,
                     [&](float rating) { return rating >= header.min && rating <= header.max; });
}

bool unpack_ids(std::span<const char> block, bool texts, std::int64_t count, IdMap& ids) {
  std::size_t at = 0;
  for (std::int64_t id = 0; id < count; ++id) {
    std::int64_t raw = 0;
    std::uint32_t length = 0;
    const std::size_t head = texts ? sizeof(length) : sizeof(raw);
    if (block.size() - at < head) {
      return false;
    }
    std::int32_t dense = 0;
    if (texts) {
      std::memcpy(&length, block.data() + at, head);
      at += head;
      if (block.size() - at < length) {
        return false;
      }
      const std::string_view text(block.data() + at, length);
      if (!may_be_id(text)) {
        return false;
      }
      dense = ids.find_or_add(text);
      at += length;
    } else {
      std::memcpy(&raw, block.data() + at, head);
      at += head;
      dense = ids.find_or_add(raw);
    }
    if (dense != id) {
      return false;
    }
  }
  return at == block.size() && ids.numbers() == !texts;
}

/// Whether the cache is of the source as it is now. If the hash had to tell, puts the new time into the cache.
bool is_current(const std::string& source, const std::string& path, Header header, ThreadPool& pool) {
  const std::optional<FileStamp> stamp = stamp_of(source);
  if (!stamp || stamp->size != header.source_size) {
    return false;
  }
  if (stamp->modified == header.source_modified && header.created - stamp->modified > kRacyNanoseconds) {
    return true;
  }
  const std::int64_t looked = now();
  try {
    if (hash_of_file(source, pool) != header.source_hash || stamp_of(source) != stamp) {
      return false;
    }
  } catch (const InputError&) {
    return false;
  }
  // In place: whoever reads it meanwhile finds the old header, the new one, or one whose hash is wrong.
  header.source_modified = stamp->modified;
  header.created = looked;
  header.header_hash = hash_of(header);
  const FileDescriptor opened(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const CacheFile file(opened.get());
  Header there{};
  if (file.is_open() && file.read_at(0, &there, sizeof(there)) && there.index_hash == header.index_hash) {
    static_cast<void>(file.write_at(0, &header, sizeof(header)));
  }
  return true;
}

}  // namespace

std::optional<FileStamp> stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return std::nullopt;
  }
  return FileStamp{static_cast<std::int64_t>(status.st_size),
                   static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::string cache_path(const std::string& source) {
  const std::filesystem::path path = source;
  return (path.parent_path() / ("." + path.filename().string() + ".curate-cache")).string();
}

std::optional<CachedRatings> load_cache(const std::string& source, bool text_ids, bool timestamps, ThreadPool& pool) {
  const std::string path = cache_path(source);
  const FileDescriptor opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const CacheFile file(opened.get());
  if (!file.is_open()) {
    return std::nullopt;
  }
  const std::int64_t size = file.size();
  Header header{};
  if (size < static_cast<std::int64_t>(sizeof(Header)) || !file.read_at(0, &header, sizeof(header)) ||
      !header_holds(header, size) || ((header.flags & kTextIds) != 0) != text_ids ||
      (timestamps && (header.flags & kTimestamps) == 0) || !is_current(source, path, header, pool)) {
    return std::nullopt;
  }
  std::vector<IndexEntry> index(static_cast<std::size_t>(header.index_entries));
  if (!file.read_at(header.index_offset, index.data(), index.size() * sizeof(IndexEntry)) ||
      XXH3_64bits(index.data(), index.size() * sizeof(IndexEntry)) != header.index_hash) {
    return std::nullopt;
  }

  CachedRatings content;
  content.scale = {header.min, header.max, header.step};
  content.duplicates = header.duplicates;
  RatingTable& table = content.ratings;
  const auto rows = static_cast<std::size_t>(header.rows);
  table.users.resize(rows);
  table.items.resize(rows);
  table.ratings.resize(rows);
  table.timestamps.resize(timestamps ? rows : 0);
  const std::int64_t blocks = blocks_of(header.rows);
  // Two more tasks for the ids.
  const std::int64_t row_tasks = timestamps ? 2 * blocks : blocks;
  std::atomic<bool> good = true;
  pool.run(row_tasks + 2, [&](std::int64_t task) {
    static thread_local std::vector<char> block;
    const bool ids = task < 2;
    const std::int64_t which = ids ? static_cast<std::int64_t>(index.size()) - 2 + task : task - 2;
    if (!good || !read_block(file, index[static_cast<std::size_t>(which)], header.index_offset, block)) {
      good = false;
      return;
    }
    if (ids) {
      const bool users = task == 0;
      if (!unpack_ids(block, (header.flags & (users ? kUserTexts : kItemTexts)) != 0,
                      users ? header.users : header.items, users ? content.users : content.items)) {
        good = false;
      }
      return;
    }
    const auto begin = static_cast<std::size_t>(which % blocks * kBlockRows);
    const std::size_t end = std::min(begin + static_cast<std::size_t>(kBlockRows), rows);
    if (which < blocks) {
      if (!unpack_rows(block, begin, end, header, table)) {
        good = false;
      }
      return;
    }
    if (block.size() != (end - begin) * header.time_bytes) {
      good = false;
      return;
    }
    std::int64_t* const times = table.timestamps.data() + begin;
    const auto first = static_cast<std::uint64_t>(header.first_time);
    unpack(block.data(), header.time_bytes, end - begin,
           [&](std::size_t k, std::uint64_t time) { times[k] = static_cast<std::int64_t>(first + time); });
  });
  if (!good) {
    return std::nullopt;
  }
  return content;
}

void store_cache(const std::string& source, const FileStamp& before, bool text_ids, const CachedRatings& content,
                 ThreadPool& pool) {
  Header header{};
  header.magic = kMagic;
  header.version = kVersion;
  header.flags = text_ids ? kTextIds : 0U;
  header.source_size = before.size;
  header.source_modified = before.modified;
  header.created = now();
  try {
    header.source_hash = hash_of_file(source, pool);
  } catch (const InputError&) {
    return;
  }
  struct stat status {};
  if (stamp_of(source) != before || ::stat(source.c_str(), &status) != 0) {
    return;
  }
  const std::string path = cache_path(source);
  remove_abandoned_files(path);
  NewFile file(path, 0600);
  if (file.fd() < 0) {
    return;  // a folder that others own, a full or read-only disk
  }
  // Whoever may read the source may read its cache. Not synced: the hashes of a cache that a crash tears are wrong.
  if (::fchmod(file.fd(), status.st_mode & 0666U) == 0 && write_cache(CacheFile(file.fd()), header, content, pool)) {
    file.replace();
  }
}

}  // namespace curate
