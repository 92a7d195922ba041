#include "support/ordered_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "curate/error.h"

namespace curate {

OrderedFile::OrderedFile(const std::string& path, std::string label)
    : label_(std::move(label)), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (fd_ < 0) {
    fail();
  }
}

OrderedFile::~OrderedFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void OrderedFile::write(std::int64_t number, std::string_view text) {
  std::int64_t offset = 0;
  {
    std::unique_lock lock(mutex_);
    placed_.wait(lock, [&] { return given_up_ != nullptr || next_ == number; });
    if (given_up_) {
      std::rethrow_exception(given_up_);
    }
    offset = end_;
    end_ += static_cast<std::int64_t>(text.size());
    ++next_;
  }
  placed_.notify_all();
  write_at(offset, text);
}

void OrderedFile::give_up(std::exception_ptr reason) {
  {
    const std::lock_guard lock(mutex_);
    if (!given_up_) {
      given_up_ = std::move(reason);
    }
  }
  placed_.notify_all();
}

void OrderedFile::check() {
  const std::lock_guard lock(mutex_);
  if (given_up_) {
    std::rethrow_exception(given_up_);
  }
}

void OrderedFile::close() {
  if (::fsync(fd_) != 0) {
    fail();
  }
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0) {
    fail();
  }
}

void OrderedFile::write_at(std::int64_t offset, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::pwrite(fd_, text.data(), text.size(), offset);
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail();
    }
    text.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
}

void OrderedFile::fail() const {
  throw Error(fmt::format("{}: cannot write: {}", label_, std::strerror(errno)));
}

}  // namespace curate
