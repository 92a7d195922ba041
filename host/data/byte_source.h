#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace curate {

inline constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

/// Bytes from front to back, decompressed if the file is not. One thread at a time; several sources of one file or
/// archive may be read at once. Whatever is wrong with the bytes is an InputError with name() and a remedy; after an
/// error the source is of no more use.
class ByteSource {
 public:
  explicit ByteSource(std::string name) : name_(std::move(name)) {}
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  virtual ~ByteSource() = default;

  /// Fills the buffer and returns the number of bytes: fewer than asked for only at the end, then 0. Checksums and
  /// lengths are checked at the end. A caller that stops at size() has had them checked, one that stops earlier has
  /// not. Buffers of 256 KiB or more cost the least.
  virtual std::size_t read(std::span<char> buffer) = 0;

  /// Bytes that read() gives in all, if that is known beforehand: not for gzip, not for pipes.
  virtual std::optional<std::int64_t> size() const = 0;

  /// Progress, in bytes of the file or of what comes out of it: total() is what consumed() is at the end, or 0 if
  /// that is unknown (pipes).
  virtual std::int64_t consumed() const = 0;
  virtual std::int64_t total() const = 0;

  /// As messages call it, in printable ASCII as far as it comes from an archive: "ratings.csv.gz" or
  /// "ml-20m.zip: ml-20m/ratings.csv".
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

/// What a path leads to, by its first bytes. `file` is any regular file that is neither zip nor gzip, an empty one too.
/// A pipe may be read once only, so its bytes are not looked at here.
enum class PathKind { folder, zip, gzip, file, pipe };

/// Throws InputError for a path that is missing, unreadable or a device or socket, and for a file whose name ends in
/// .zip but which is no zip archive (a failed download, mostly).
PathKind path_kind(const std::string& path);

/// A file as it is, or inflated if it starts like gzip, whatever its name; a pipe likewise. Regular files are read
/// to the size that they have now: one that shrinks meanwhile is an error, what is appended is not read. A pipe nobody
/// writes to blocks. Throws InputError as path_kind() does, for folders, for zip archives (see open_tree()), and, from
/// read(), for more than `max_bytes` in all or for gzip that inflates to more than any text does (beyond 64 MiB,
/// 1000 times its size).
std::unique_ptr<ByteSource> open_file(const std::string& path, std::int64_t max_bytes = kUnlimited);

/// All bytes of a source. Throws InputError for more than `max_bytes`, before that many are held.
std::string read_all(ByteSource& source, std::int64_t max_bytes);

/// The rest is shared with archive.cpp.

/// Decompressed data of any one source is refused beyond this ratio, once there is enough of it to tell.
inline constexpr std::int64_t kMaxInflateRatio = 1000;
inline constexpr std::int64_t kInflateRatioFrom = std::int64_t{64} << 20;

/// An open regular file, read at offsets: any number of threads may.
class InputFile {
 public:
  /// Throws InputError for what cannot be opened or is no regular file.
  explicit InputFile(const std::string& path);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  const std::string& path() const { return path_; }
  /// When it was opened.
  std::int64_t size() const { return size_; }
  /// As many bytes from `offset` on as the buffer takes and the file had when opened. Throws InputError if some of
  /// them are gone.
  std::size_t read_at(std::int64_t offset, std::span<char> buffer) const;

 private:
  std::string path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
};

/// Throws InputError if `produced` bytes out of `consumed` are too many.
void check_inflated(std::int64_t produced, std::int64_t consumed, std::int64_t max_bytes, const std::string& name);

/// The remedy for bytes that are not those that were published.
inline constexpr std::string_view kDownloadRemedy = "download it again";

/// Throws InputError "NAME: what; remedy".
[[noreturn]] void throw_source_error(std::string_view name, std::string_view what, std::string_view remedy);

}  // namespace curate
