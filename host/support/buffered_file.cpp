#include "support/buffered_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "curate/error.h"

namespace curate {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20U;

}  // namespace

BufferedFile::BufferedFile(const std::string& path, std::string label)
    : label_(std::move(label)),
      buffer_(kBufferBytes),
      fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (fd_ < 0) {
    fail();
  }
}

BufferedFile::~BufferedFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void BufferedFile::close() {
  flush();
  if (::fsync(fd_) != 0) {
    fail();
  }
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) {
    fail();
  }
}

void BufferedFile::append_slowly(std::string_view text) {
  flush();
  if (text.size() > buffer_.size()) {
    write(text);
  } else {
    append(text);
  }
}

void BufferedFile::flush() {
  write({buffer_.data(), filled_});
  filled_ = 0;
}

void BufferedFile::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail();
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void BufferedFile::fail() const {
  throw Error(fmt::format("{}: cannot write: {}", label_, std::strerror(errno)));
}

}  // namespace curate
