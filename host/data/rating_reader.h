#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "curate/dataset.h"
#include "data/archive.h"
#include "data/byte_source.h"
#include "data/delimited_format.h"
#include "support/thread_pool.h"

namespace curate {

/// A text of ratings: a plain file, which many threads read at once, or bytes that come one after the other (gzip, a
/// member of an archive, a pipe).
class RatingText {
 public:
  /// Any of the kinds of path_kind() but folders and archives.
  explicit RatingText(const std::string& path);
  /// A file of a release.
  RatingText(const FileTree& tree, const std::string& name);

  /// As messages call it.
  const std::string& name() const { return name_; }

  /// Separator, header and columns. Throws InputError as detect_format does.
  DelimitedFormat detect(DelimitedContent content);

  /// All rows; at least one. Throws InputError for the first line that is wrong, whatever the number of threads.
  RatingTable read(const DelimitedFormat& format, const ReadOptions& options, IdMap& users, IdMap& items,
                   ThreadPool& pool);

  /// Calls use(lines, number of the first one) for all lines below the header, whole ones, in order and some megabytes
  /// at a time. Instead of read().
  void for_each_block(const DelimitedFormat& format,
                      const std::function<void(std::string_view lines, std::int64_t first)>& use);

 private:
  void open_stream(std::unique_ptr<ByteSource> source);
  RatingTable read_file(const DelimitedFormat& format, const ReadOptions& options, IdMap& users, IdMap& items,
                        ThreadPool& pool) const;
  RatingTable read_stream(const DelimitedFormat& format, const ReadOptions& options, IdMap& users, IdMap& items);

  std::string name_;
  std::unique_ptr<InputFile> file_;  ///< plain files
  std::unique_ptr<ByteSource> source_;
  std::string head_;  ///< the first bytes: of streams, they have been read already
  bool whole_head_ = false;
};

}  // namespace curate
