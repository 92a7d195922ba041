#include "data/byte_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "curate/error.h"
#include "data/piece_sizes.h"

namespace curate {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kInputBuffer = kSmallPieces ? 64 : std::size_t{256} << 10;
// The most bytes that one call of read() or inflate() is asked for: both count in 32 bits somewhere.
constexpr std::size_t kMaxPiece = std::size_t{1} << 30;
constexpr std::size_t kHeadSize = 512;
constexpr std::string_view kReadRemedy = "check that it is a file that you may read";

enum class FileType { regular, folder, pipe };

/// Throws InputError for what is missing or can be neither read nor listed.
FileType file_type(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    throw_source_error(path.substr(0, path.find('\0')), "the path has a NUL in it", "check the path");
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      throw_source_error(path, "no such file or folder", "check the path");
    }
    throw_source_error(path, fmt::format("cannot read: {}", std::strerror(errno)), kReadRemedy);
  }
  if (S_ISREG(status.st_mode)) {
    return FileType::regular;
  }
  if (S_ISDIR(status.st_mode)) {
    return FileType::folder;
  }
  if (S_ISFIFO(status.st_mode)) {
    return FileType::pipe;
  }
  throw_source_error(path, "this is a device or a socket", "name a file, a folder or a pipe");
}

int open_to_read(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    throw_source_error(path, fmt::format("cannot read: {}", std::strerror(errno)), kReadRemedy);
  }
  return fd;
}

bool starts_as_zip(std::string_view head) {
  return head.starts_with("PK\x03\x04"sv) || head.starts_with("PK\x05\x06"sv) || head.starts_with("PK\x07\x08"sv);
}

bool starts_as_gzip(std::string_view head) {
  return head.starts_with("\x1F\x8B"sv);
}

bool starts_as_web_page(std::string_view head) {
  if (head.starts_with("\xEF\xBB\xBF"sv)) {
    head.remove_prefix(3);
  }
  head.remove_prefix(std::min(head.find_first_not_of(" \t\r\n"), head.size()));
  return head.starts_with('<');
}

bool ends_with_ignoring_case(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), text.end() - static_cast<std::ptrdiff_t>(lower.size()),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b); });
}

PathKind kind_of(const InputFile& file) {
  std::array<char, kHeadSize> buffer{};
  const std::string_view head(buffer.data(), file.read_at(0, buffer));
  if (starts_as_zip(head)) {
    return PathKind::zip;
  }
  if (starts_as_gzip(head)) {
    return PathKind::gzip;
  }
  const bool zip_name = ends_with_ignoring_case(file.path(), ".zip");
  if (zip_name || ends_with_ignoring_case(file.path(), ".gz")) {
    const std::string_view called = zip_name ? "a zip archive" : "gzip";
    if (head.empty()) {
      throw_source_error(file.path(), fmt::format("the file is empty instead of {}: the download failed", called),
                         kDownloadRemedy);
    }
    if (starts_as_web_page(head)) {
      throw_source_error(file.path(), fmt::format("this is a web page instead of {}: the download failed", called),
                         kDownloadRemedy);
    }
  }
  // Servers and browsers unpack gzip on the way and keep the name. They do not unpack zip.
  if (zip_name) {
    throw_source_error(file.path(), "this is no zip archive, though its name says so",
                       "download it again, or rename it if it is text");
  }
  return PathKind::file;
}

void check_size(std::int64_t size, std::int64_t max_bytes, const std::string& name) {
  if (size > max_bytes) {
    throw_source_error(name, fmt::format("more than {} bytes, which is too much for such a file", max_bytes),
                       "check that it is the right one");
  }
}

class FileSource : public ByteSource {
 public:
  explicit FileSource(std::unique_ptr<InputFile> file) : ByteSource(file->path()), file_(std::move(file)) {}

  std::size_t read(std::span<char> buffer) override {
    const std::size_t got = file_->read_at(offset_, buffer);
    offset_ += static_cast<std::int64_t>(got);
    return got;
  }
  std::optional<std::int64_t> size() const override { return file_->size(); }
  std::int64_t consumed() const override { return offset_; }
  std::int64_t total() const override { return file_->size(); }

 private:
  std::unique_ptr<InputFile> file_;
  std::int64_t offset_ = 0;
};

class PipeSource : public ByteSource {
 public:
  explicit PipeSource(const std::string& path) : ByteSource(path), fd_(open_to_read(path)) {}
  ~PipeSource() override { ::close(fd_); }

  /// read() throws beyond that many bytes.
  void limit(std::int64_t max_bytes) { max_bytes_ = max_bytes; }

  /// The first bytes, which read() still gives.
  std::string_view head() {
    std::array<char, 4> buffer{};
    head_.assign(buffer.data(), fill(buffer));
    return head_;
  }

  std::size_t read(std::span<char> buffer) override {
    const std::size_t kept = std::min(head_.size(), buffer.size());
    std::copy_n(head_.begin(), kept, buffer.begin());
    head_.erase(0, kept);
    const std::size_t got = kept + fill(buffer.subspan(kept));
    consumed_ += static_cast<std::int64_t>(got);
    check_size(consumed_, max_bytes_, name());
    return got;
  }
  std::optional<std::int64_t> size() const override { return std::nullopt; }
  std::int64_t consumed() const override { return consumed_; }
  std::int64_t total() const override { return 0; }

 private:
  std::size_t fill(std::span<char> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
      const ssize_t got = ::read(fd_, buffer.data() + filled, std::min(buffer.size() - filled, kMaxPiece));
      if (got < 0 && errno != EINTR) {
        throw_source_error(name(), fmt::format("cannot read: {}", std::strerror(errno)), kReadRemedy);
      }
      if (got == 0) {
        break;
      }
      filled += got > 0 ? static_cast<std::size_t>(got) : 0;
    }
    return filled;
  }

  int fd_;
  std::int64_t max_bytes_ = kUnlimited;
  std::int64_t consumed_ = 0;
  std::string head_;
};

/// One or more gzip members, one after the other; zeros after the last are padding.
class GzipSource : public ByteSource {
 public:
  GzipSource(std::unique_ptr<ByteSource> input, std::int64_t max_bytes)
      : ByteSource(input->name()), input_(std::move(input)), buffer_(kInputBuffer), max_bytes_(max_bytes) {
    constexpr int kGzipOnly = 16;
    if (::inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~GzipSource() override { ::inflateEnd(&stream_); }

  std::size_t read(std::span<char> buffer) override {
    std::size_t filled = 0;
    while (filled < buffer.size() && state_ != State::end) {
      refill();
      if (state_ == State::between_members) {
        start_member_or_end();
      } else {
        filled += inflate_into(buffer.subspan(filled));
      }
    }
    return filled;
  }
  std::optional<std::int64_t> size() const override { return std::nullopt; }
  std::int64_t consumed() const override { return input_->consumed() - static_cast<std::int64_t>(stream_.avail_in); }
  std::int64_t total() const override { return input_->total(); }

 private:
  enum class State { in_member, between_members, end };

  void refill() {
    if (stream_.avail_in == 0) {
      stream_.avail_in = static_cast<uInt>(input_->read(buffer_));
      stream_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
    }
  }

  void start_member_or_end() {
    constexpr Bytef kMagic = 0x1F;
    if (stream_.avail_in > 0 && *stream_.next_in == kMagic) {
      ::inflateReset(&stream_);
      state_ = State::in_member;
      return;
    }
    for (; stream_.avail_in > 0; stream_.avail_in = 0, refill()) {
      if (!std::all_of(stream_.next_in, stream_.next_in + stream_.avail_in, [](Bytef byte) { return byte == 0; })) {
        throw_source_error(name(), "other bytes follow the gzip data", kDownloadRemedy);
      }
    }
    state_ = State::end;
  }

  std::size_t inflate_into(std::span<char> buffer) {
    const std::size_t space = std::min(buffer.size(), kMaxPiece);
    stream_.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream_.avail_out = static_cast<uInt>(space);
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    const std::size_t got = space - stream_.avail_out;
    produced_ += static_cast<std::int64_t>(got);
    check_inflated(produced_, consumed(), max_bytes_, name());
    switch (status) {
      case Z_OK:
        break;
      case Z_STREAM_END:
        state_ = State::between_members;
        break;
      case Z_BUF_ERROR:
        // The output has space, so the input has ended: refill() has come to its end.
        throw_source_error(name(), "the gzip data is cut off", kDownloadRemedy);
      case Z_MEM_ERROR:
        throw std::bad_alloc();
      default:
        throw_source_error(name(),
                           fmt::format("the gzip data is damaged ({})", stream_.msg != nullptr ? stream_.msg : "zlib"),
                           kDownloadRemedy);
    }
    return got;
  }

  std::unique_ptr<ByteSource> input_;
  std::vector<char> buffer_;
  z_stream stream_{};
  std::int64_t max_bytes_;
  std::int64_t produced_ = 0;
  State state_ = State::in_member;
};

}  // namespace

PathKind path_kind(const std::string& path) {
  switch (file_type(path)) {
    case FileType::folder:
      return PathKind::folder;
    case FileType::pipe:
      return PathKind::pipe;
    case FileType::regular:
      break;
  }
  return kind_of(InputFile(path));
}

std::unique_ptr<ByteSource> open_file(const std::string& path, std::int64_t max_bytes) {
  switch (file_type(path)) {
    case FileType::folder:
      throw_source_error(path, "this is a folder", "name a file in it");
    case FileType::pipe: {
      auto pipe = std::make_unique<PipeSource>(path);
      const std::string_view head = pipe->head();
      if (starts_as_zip(head)) {
        throw_source_error(path, "a zip archive cannot be read through a pipe", "name the archive itself");
      }
      if (starts_as_gzip(head)) {
        return std::make_unique<GzipSource>(std::move(pipe), max_bytes);
      }
      pipe->limit(max_bytes);
      return pipe;
    }
    case FileType::regular:
      break;
  }
  auto file = std::make_unique<InputFile>(path);
  const PathKind kind = kind_of(*file);
  if (kind == PathKind::zip) {
    throw_source_error(path, "this is a zip archive where a file of text is needed",
                       "unpack it and name what comes out");
  }
  if (kind == PathKind::gzip) {
    return std::make_unique<GzipSource>(std::make_unique<FileSource>(std::move(file)), max_bytes);
  }
  check_size(file->size(), max_bytes, path);
  return std::make_unique<FileSource>(std::move(file));
}

std::string read_all(ByteSource& source, std::int64_t max_bytes) {
  // A declared size is a hint: archives may lie.
  constexpr std::size_t kFirst = kSmallPieces ? 64 : std::size_t{1} << 20;
  const std::size_t limit = static_cast<std::size_t>(max_bytes);
  std::string content;
  std::size_t filled = 0;
  while (filled == content.size()) {
    // One byte beyond what is allowed or expected shows whether there is more.
    const auto expected = static_cast<std::size_t>(source.size().value_or(kFirst));
    content.resize(std::min({limit, std::max(2 * filled, std::min(expected, 64 * kFirst)), content.max_size() - 1}) +
                   1);
    filled += source.read(std::span(content).subspan(filled));
    check_size(static_cast<std::int64_t>(filled), max_bytes, source.name());
  }
  content.resize(filled);
  return content;
}

InputFile::InputFile(const std::string& path) : path_(path), fd_(open_to_read(path)) {
  // What the path leads to may have been changed since it was looked at.
  struct stat status {};
  if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd_);
    throw_source_error(path, "this is no file", kReadRemedy);
  }
  size_ = status.st_size;
}

InputFile::~InputFile() {
  ::close(fd_);
}

std::size_t InputFile::read_at(std::int64_t offset, std::span<char> buffer) const {
  static_assert(sizeof(off_t) == sizeof(std::int64_t));
  const std::int64_t left = std::max<std::int64_t>(size_ - offset, 0);
  const std::size_t wanted = static_cast<std::size_t>(std::min(left, static_cast<std::int64_t>(buffer.size())));
  std::size_t filled = 0;
  while (filled < wanted) {
    const ssize_t got = ::pread(fd_, buffer.data() + filled, std::min(wanted - filled, kMaxPiece),
                                offset + static_cast<std::int64_t>(filled));
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw_source_error(path_, fmt::format("cannot read: {}", std::strerror(errno)), kReadRemedy);
    }
    if (got == 0) {
      throw_source_error(path_,
                         fmt::format("the file shrank while it was read: it had {} bytes and ends after {} now", size_,
                                     offset + static_cast<std::int64_t>(filled)),
                         "start again when nothing writes to it");
    }
    filled += static_cast<std::size_t>(got);
  }
  return filled;
}

void check_inflated(std::int64_t produced, std::int64_t consumed, std::int64_t max_bytes, const std::string& name) {
  check_size(produced, max_bytes, name);
  if (produced > kInflateRatioFrom && produced / kMaxInflateRatio > consumed) {
    throw_source_error(
        name, fmt::format("this unpacks to more than {} times its size, as no file of ratings does", kMaxInflateRatio),
        "check where it comes from");
  }
}

void throw_source_error(std::string_view name, std::string_view what, std::string_view remedy) {
  throw InputError(fmt::format("{}: {}; {}", name, what, remedy));
}

}  // namespace curate
