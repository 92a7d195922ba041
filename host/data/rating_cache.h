#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "curate/dataset.h"
#include "support/thread_pool.h"

namespace curate {

/// A file as it was when it was looked at.
struct FileStamp {
  std::int64_t size = 0;
  std::int64_t modified = 0;  ///< nanoseconds since 1970

  friend bool operator==(const FileStamp& a, const FileStamp& b) = default;
};

/// Nothing where the path leads to no regular file.
std::optional<FileStamp> stamp_of(const std::string& path);

/// What reading a text of ratings gave, before a caller's rating range is put in place of `scale`'s bounds.
struct CachedRatings {
  RatingTable ratings;
  IdMap users;
  IdMap items;
  RatingScale scale;
  std::int64_t duplicates = 0;
};

/// Where the cache of a file (text, gzip or zip) is: beside it, .NAME.curate-cache.
std::string cache_path(const std::string& source);

/// The ratings that were read from `source` before, or nothing where there is no cache, or one that is older than the
/// source, damaged, of another version, read with other `text_ids` or without the timestamps that are wanted. The size
/// and the time of modification of the source decide; where only the time differs, and where the cache was made so
/// soon after it that a later change could hide, a hash of the source does. Any number of processes may load and store
/// at once. Never throws for what is wrong with the cache; std::bad_alloc apart.
std::optional<CachedRatings> load_cache(const std::string& source, bool text_ids, bool timestamps, ThreadPool& pool);

/// Makes the cache of `source`, which had the stamp `before` when reading it began; for nothing where it has changed
/// since or the folder cannot be written to. `ratings.timestamps` may be empty though the source has some.
void store_cache(const std::string& source, const FileStamp& before, bool text_ids, const CachedRatings& content,
                 ThreadPool& pool);

}  // namespace curate
