#include "support/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "curate/error.h"

namespace curate {
namespace {

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      return false;
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::fsync(fd) == 0;
}

}  // namespace

NewFile::NewFile(std::string path, unsigned mode) : path_(std::move(path)) {
  static std::atomic<std::uint64_t> number = 0;
  while (true) {
    std::string name = fmt::format("{}.{}.{}.tmp", path_, ::getpid(), ++number);
    FileDescriptor file(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (file.get() < 0) {
      if (errno == EEXIST) {
        continue;  // left by a process of the same number
      }
      return;
    }
    // The lock tells that the file is not abandoned. Whoever took it for abandoned before has removed it or is about
    // to.
    const bool busy = ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (busy || !file.is_at(name)) {
      continue;
    }
    temporary_ = std::move(name);
    file_ = std::move(file);
    return;
  }
}

NewFile::~NewFile() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

bool NewFile::replace() {
  // The name first: a file that is closed has no lock and may be taken for abandoned.
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return false;
  }
  temporary_.clear();
  return file_.close();
}

void remove_abandoned_files(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path whole = fs::path(path);
  const std::string start = whole.filename().string() + ".";
  std::error_code error;
  const fs::path folder = whole.has_parent_path() ? whole.parent_path() : ".";
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(start) || !name.ends_with(".tmp")) {
      continue;
    }
    const FileDescriptor file(::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 && file.is_at(entry->path())) {
      ::unlink(entry->path().c_str());
    }
  }
}

void write_file_atomically(const std::string& path, std::string_view content) {
  NewFile file(path);
  if (file.fd() < 0 || !write_all(file.fd(), content) || !file.replace()) {
    throw Error(fmt::format("{}: cannot write: {}", path, std::strerror(errno)));
  }
}

std::string read_file(const std::string& path) {
  const auto fail = [&](int error) {
    throw InputError(fmt::format("{}: cannot read: {}; check the path", path, std::strerror(error)));
  };
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
    fail(errno);
  }
  if (S_ISDIR(status.st_mode)) {
    fail(EISDIR);
  }
  std::string content;
  content.resize(static_cast<std::size_t>(status.st_size));
  std::size_t filled = 0;
  while (true) {
    if (filled == content.size()) {
      // Sizes of pipes and of files that grow are not known beforehand.
      content.resize(content.size() + 65536);
    }
    const ssize_t got = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail(errno);
    }
    if (got == 0) {
      break;
    }
    filled += static_cast<std::size_t>(got);
  }
  content.resize(filled);
  return content;
}

}  // namespace curate
