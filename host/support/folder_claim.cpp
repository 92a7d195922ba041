#include "support/folder_claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <thread>

#include "curate/error.h"
#include "support/printable.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// Where folders come and go at the same time, it is tried again.
constexpr int kClaimTries = 100;

std::string hidden_folder(const std::string& folder) {
  return folder + "/" + FolderClaim::kHidden;
}

std::string lock_path(const std::string& folder) {
  return hidden_folder(folder) + "/lock";
}

/// Absolute and without a slash at its end.
fs::path plain_path(const std::string& path) {
  const fs::path plain = fs::absolute(path).lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

std::string this_process() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) {
    host[0] = '\0';
  }
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  std::array<char, 64> text{};
  ::gmtime_r(&now, &utc);
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &utc);
  return fmt::format("process {} on {}, since {}", ::getpid(), host.data(), std::string_view(text.data(), length));
}

/// The file's first line.
std::string claimant_in(int fd) {
  std::array<char, 512> text{};
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  std::string line(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  line.resize(std::min(line.find('\n'), line.size()));
  return line.empty() ? "another process" : printable(line);
}

/// Whether the folder holds nothing but what a killed process left.
bool is_abandoned(const fs::path& folder) {
  std::error_code error;
  bool hidden = false;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename() != FolderClaim::kHidden) {
      return false;
    }
    hidden = true;
  }
  return !error && hidden;
}

[[noreturn]] void refuse_folder(const std::string& key, const std::string& path, const std::string& why,
                                const std::string& remedy) {
  if (key.empty()) {
    throw InputError(fmt::format("{}: {}; {}", path, why, remedy));
  }
  throw InputError(key, path, fmt::format("{}; {}", why, remedy));
}

constexpr const char* kOtherDirectory = "give a directory that you may write to";

}  // namespace

FolderClaim::FolderClaim(const std::string& path, const std::string& key) : path_(path) {
  const Attempt attempted = attempt(key, false);
  if (attempted == Attempt::claimed) {
    return;
  }
  const std::optional<ClaimState> state = claim_state(path);
  const std::string claimant = state ? state->claimant : "another process";
  if (attempted == Attempt::unknown) {
    refuse_folder(key, path,
                  fmt::format("{} writes there, or was killed: this file system has no locks to tell which", claimant),
                  fmt::format("give another directory or, if that process has ended, remove {}", lock_path(path)));
  }
  refuse_folder(key, path, fmt::format("{}, writes there", claimant),
                "wait until it has ended, or give another directory");
}

std::optional<FolderClaim> FolderClaim::try_claim(const std::string& path, const std::string& key) {
  FolderClaim claim(path);
  return claim.attempt(key, false) == Attempt::claimed ? std::optional(std::move(claim)) : std::nullopt;
}

std::optional<FolderClaim> FolderClaim::try_create(const std::string& path, const std::string& key) {
  FolderClaim claim(path);
  return claim.attempt(key, true) == Attempt::claimed ? std::optional(std::move(claim)) : std::nullopt;
}

FolderClaim::Attempt FolderClaim::attempt(const std::string& key, bool must_be_new) {
  const fs::path plain = plain_path(path_);
  const std::string hidden = hidden_folder(path_);
  std::error_code error;
  for (fs::path missing = plain; !missing.empty() && !fs::exists(missing, error); missing = missing.parent_path()) {
    topmost_ = missing.string();
  }
  const auto fail = [&](const std::string& why) {
    remove_created();
    refuse_folder(key, path_, why, kOtherDirectory);
  };
  for (int tries = 1;; ++tries) {
    // Another process may remove what it has created in vain.
    const bool again = tries < kClaimTries;
    fs::create_directories(plain.parent_path(), error);
    if (error) {
      fail(fmt::format("cannot create it: {}", error.message()));
    }
    if (::mkdir(plain.c_str(), 0777) != 0) {
      if (errno == ENOENT && again) {
        continue;
      }
      if (errno != EEXIST) {
        fail(fmt::format("cannot create it: {}", std::strerror(errno)));
      }
      if (must_be_new && !is_abandoned(plain)) {
        topmost_.clear();  // not empty any more
        return Attempt::taken;
      }
    }
    if (!fs::is_directory(plain, error)) {
      fail("not a directory");
    }
    if (::mkdir(hidden.c_str(), 0777) != 0 && errno != EEXIST) {
      if (errno == ENOENT && again) {
        continue;
      }
      fail(fmt::format("cannot write there: {}", std::strerror(errno)));
    }
    if (fs::is_symlink(hidden, error)) {  // it would lead what is written to where nobody asked for it
      fail(fmt::format("{} there is a link", kHidden));
    }
    const Attempt locked = lock();
    if (locked == Attempt::retry) {
      const int reason = errno;
      if (reason == ENOENT && again) {
        continue;
      }
      if (reason == ENOENT) {
        topmost_.clear();
        return Attempt::held;  // others have it, one after the other
      }
      ::rmdir(hidden.c_str());
      fail(fmt::format("cannot write there: {}", std::strerror(reason)));
    }
    if (locked != Attempt::claimed) {
      topmost_.clear();  // what is there is the other one's now
    } else if (must_be_new && topmost_.empty()) {
      topmost_ = plain.string();  // what a killed process has left goes away like what this one creates
    }
    return locked;
  }
}

FolderClaim::Attempt FolderClaim::lock() {
  const std::string path = lock_path(path_);
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  const bool created = file.get() >= 0;
  if (!created && errno == EEXIST) {
    file = FileDescriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  }
  if (file.get() < 0) {
    return Attempt::retry;
  }
  // claim_state() looks at locks by taking them for a moment.
  constexpr int kLooks = 10;
  for (int tries = 1; ::flock(file.get(), LOCK_EX | LOCK_NB) != 0; ++tries) {
    if (errno == EWOULDBLOCK && tries == kLooks) {
      return Attempt::held;
    }
    if (errno == EWOULDBLOCK) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else if (errno != EINTR) {
      if (!created) {
        return Attempt::unknown;
      }
      break;  // no locks here: creating the file is the claim
    }
  }
  if (!file.is_at(path)) {
    errno = ENOENT;  // whoever had the claim has removed it meanwhile
    return Attempt::retry;
  }
  const std::string text = this_process() + "\n";
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int reason = errno;
    ::unlink(path.c_str());
    errno = reason;
    return Attempt::retry;
  }
  lock_ = std::move(file);
  return Attempt::claimed;
}

FolderClaim::~FolderClaim() {
  if (lock_.get() >= 0) {
    // The file first: whoever opens it from now on makes a new one.
    ::unlink(lock_path(path_).c_str());
    ::rmdir(hidden_folder(path_).c_str());
    lock_.close();
  }
  remove_created();
}

void FolderClaim::remove_created() noexcept {
  if (topmost_.empty()) {
    return;
  }
  try {
    fs::path folder = plain_path(path_);
    const fs::path top = fs::path(topmost_);
    // rmdir() refuses folders that are not empty.
    while (::rmdir(folder.c_str()) == 0 && folder != top) {
      folder = folder.parent_path();
    }
  } catch (...) {
    // No memory for a path: what was created stays.
  }
  topmost_.clear();
}

std::optional<ClaimState> claim_state(const std::string& folder) {
  const FileDescriptor file(::open(lock_path(folder).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0) {
    return std::nullopt;
  }
  const bool free = ::flock(file.get(), LOCK_SH | LOCK_NB) == 0;
  return ClaimState{!free, claimant_in(file.get())};
}

}  // namespace curate
