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
#include <filesystem>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "data/byte_source.h"
#include "data/cache_blocks.h"
#include "data/rating_scale.h"
#include "data/rating_table.h"
#include "support/atomic_file.h"
#include "support/file_descriptor.h"

namespace curate {
namespace {

constexpr std::array<char, 8> kMagic = {'c', 'u', 'r', 'a', 't', 'e', 'R', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::int64_t kHashPiece = std::int64_t{1} << 20U;
// If the source changed less than this before its cache was made, it may have changed once more without another time of
// modification.
constexpr std::int64_t kRacyNanoseconds = 2'000'000'000;

struct IndexEntry {
  std::int64_t offset;
  std::int64_t bytes;
  std::uint64_t hash;
};

std::uint64_t hash_of(std::span<const char> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t hash_of(const CacheHeader& header) {
  return XXH3_64bits(&header, offsetof(CacheHeader, header_hash));
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

// Writing.

class CacheWriter {
 public:
  CacheWriter(const CacheFile& file, CacheHeader header) : file_(file), header_(header) {}

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
  CacheHeader header_;
  std::int64_t at_ = sizeof(CacheHeader);
  std::vector<IndexEntry> index_;
};

/// Fills in what follows from the content.
void describe(const CachedRatings& content, const RatingCodes& codes, CacheHeader& header) {
  const RatingTable& table = content.ratings;
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
}

bool write_cache(const CacheFile& file, CacheHeader header, const CachedRatings& content, ThreadPool& pool) {
  const RatingTable& table = content.ratings;
  const RatingCodes codes(table.ratings);
  describe(content, codes, header);
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
  return add_blocks([&](std::size_t from, std::size_t to) { return pack_rows(table, from, to, header, codes); }) &&
         (!table.has_timestamps() ||
          add_blocks([&](std::size_t from, std::size_t to) { return pack_times(table, from, to, header); })) &&
         writer.add(pack_ids(content.users)) && writer.add(pack_ids(content.items)) && writer.finish();
}

// Reading.

bool header_holds(const CacheHeader& header, std::int64_t file_size) {
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
         between(header.index_offset, sizeof(CacheHeader), file_size) &&
         file_size - header.index_offset == header.index_entries * static_cast<std::int64_t>(sizeof(IndexEntry)) &&
         // Every row takes at least one byte: a small file cannot ask for the memory of many rows.
         header.rows <= file_size &&
         std::all_of(header.code_values.begin(), header.code_values.begin() + header.codes,
                     [&](float value) { return value >= header.min && value <= header.max; });
}

/// Reads a block. False if it is not whole.
bool read_block(const CacheFile& file, const IndexEntry& entry, std::int64_t end, std::vector<char>& block) {
  if (entry.bytes < 0 || entry.offset < static_cast<std::int64_t>(sizeof(CacheHeader)) || entry.offset > end ||
      entry.bytes > end - entry.offset) {
    return false;
  }
  block.resize(static_cast<std::size_t>(entry.bytes));
  return file.read_at(entry.offset, block.data(), block.size()) && hash_of(block) == entry.hash;
}

std::optional<std::vector<IndexEntry>> read_index(const CacheFile& file, const CacheHeader& header) {
  std::vector<IndexEntry> index(static_cast<std::size_t>(header.index_entries));
  const std::size_t bytes = index.size() * sizeof(IndexEntry);
  if (!file.read_at(header.index_offset, index.data(), bytes) ||
      XXH3_64bits(index.data(), bytes) != header.index_hash) {
    return std::nullopt;
  }
  return index;
}

/// All that a file holds whose header is good.
std::optional<CachedRatings> read_content(const CacheFile& file, const CacheHeader& header, bool timestamps,
                                          ThreadPool& pool) {
  const std::optional<std::vector<IndexEntry>> index = read_index(file, header);
  if (!index) {
    return std::nullopt;
  }
  CachedRatings content;
  content.scale = {header.min, header.max, header.step};
  content.duplicates = header.duplicates;
  const auto rows = static_cast<std::size_t>(header.rows);
  resize_rows(content.ratings, rows, timestamps);
  const std::int64_t blocks = blocks_of(header.rows);
  const auto unpack = [&](std::int64_t which, std::span<const char> block) {
    const std::int64_t ids = which - (header.index_entries - 2);
    if (ids >= 0) {
      const bool users = ids == 0;
      return unpack_ids(block, (header.flags & (users ? kUserTexts : kItemTexts)) != 0,
                        users ? header.users : header.items, users ? content.users : content.items);
    }
    const auto begin = static_cast<std::size_t>(which % blocks * kBlockRows);
    const std::size_t end = std::min(begin + static_cast<std::size_t>(kBlockRows), rows);
    return which < blocks ? unpack_rows(block, begin, end, header, content.ratings)
                          : unpack_times(block, begin, end, header, content.ratings);
  };
  // The ids first: a block of them is one thread's work.
  const std::int64_t row_tasks = timestamps ? 2 * blocks : blocks;
  std::atomic<bool> good = true;
  pool.run(row_tasks + 2, [&](std::int64_t task) {
    static thread_local std::vector<char> block;
    const std::int64_t which = task < 2 ? header.index_entries - 2 + task : task - 2;
    if (!good || !read_block(file, (*index)[static_cast<std::size_t>(which)], header.index_offset, block) ||
        !unpack(which, block)) {
      good = false;
    }
  });
  return good ? std::optional(std::move(content)) : std::nullopt;
}

/// Whether the cache is of the source as it is now. If the hash had to tell, puts the new time into the cache.
bool is_current(const std::string& source, const std::string& path, CacheHeader header, ThreadPool& pool) {
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
  CacheHeader there{};
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
  CacheHeader header{};
  if (size < static_cast<std::int64_t>(sizeof(CacheHeader)) || !file.read_at(0, &header, sizeof(header)) ||
      !header_holds(header, size) || ((header.flags & kTextIds) != 0) != text_ids ||
      (timestamps && (header.flags & kTimestamps) == 0) || !is_current(source, path, header, pool)) {
    return std::nullopt;
  }
  return read_content(file, header, timestamps, pool);
}

void store_cache(const std::string& source, const FileStamp& before, bool text_ids, const CachedRatings& content,
                 ThreadPool& pool) {
  CacheHeader header{};
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
