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

/// Nothing if the path leads to no regular file.
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

/// The ratings that were read from `source` before. Nothing if there is no cache, or if it is older than the source,
/// damaged, of another version, read with other `text_ids`, or without timestamps that are wanted. The source's size
/// and time of modification decide. A hash of the source decides if only the time differs, or if the cache was made so
/// soon after that time that a later change could hide. Any number of processes may load and store at once. A bad cache
/// never throws; std::bad_alloc may.
std::optional<CachedRatings> load_cache(const std::string& source, bool text_ids, bool timestamps, ThreadPool& pool);

/// Makes the cache of `source`, which had the stamp `before` when reading it began. Does nothing if the source has
/// changed since, or if the folder cannot be written to. `content` may lack timestamps that the source has.
void store_cache(const std::string& source, const FileStamp& before, bool text_ids, const CachedRatings& content,
                 ThreadPool& pool);

}  // namespace curate
