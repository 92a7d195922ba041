#include "support/file_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>

#include "support/atomic_file.h"
#include "support/file_descriptor.h"
#include "support/folder_claim.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kOldMark = "old ";
constexpr std::string_view kNewMark = "new ";

std::string in_hidden(const std::string& folder, const char* name) {
  return fmt::format("{}/{}/{}", folder, FolderClaim::kHidden, name);
}

[[noreturn]] void fail_to_place(const std::string& folder, int reason) {
  throw Error(
      fmt::format("{}: cannot put the new files in place: {}; they are whole, and the next command that reads "
                  "or writes there goes on with it",
                  folder, std::strerror(reason)));
}

[[noreturn]] void fail_to_write(const std::string& path) {
  throw Error(fmt::format("{}: cannot write: {}", path, std::strerror(errno)));
}

/// A folder's entries are on the disk then. False: errno says why not.
bool sync_folder(const std::string& path) {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return folder.get() >= 0 && (::fsync(folder.get()) == 0 || errno == EINVAL);  // EINVAL: not on this file system
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) != 0) {
    fail_to_write(path);
  }
}

struct NamedSet {
  std::vector<std::string> old;
  std::vector<std::string> names;
};

std::string set_text(const NamedSet& set) {
  std::string text;
  for (const std::string& name : set.old) {
    text += fmt::format("{}{}\n", kOldMark, name);
  }
  for (const std::string& name : set.names) {
    text += fmt::format("{}{}\n", kNewMark, name);
  }
  return text;
}

/// What .publishing/set says. It may come from elsewhere with the folder: names that lead out of it are refused.
NamedSet read_named_set(const std::string& folder) {
  const std::string path = in_hidden(folder, "set");
  const std::string content = read_file(path);
  NamedSet set;
  for (std::size_t from = 0; from < content.size();) {
    const std::size_t end = std::min(content.find('\n', from), content.size());
    const std::string_view line = std::string_view(content).substr(from, end - from);
    from = end + 1;
    const std::string name(line.substr(std::min(kOldMark.size(), line.size())));
    const bool sound = !name.empty() && name.find('/') == std::string::npos && name != "." && name != ".." &&
                       name != FolderClaim::kHidden;
    if (sound && line.starts_with(kOldMark)) {
      set.old.push_back(name);
    } else if (sound && line.starts_with(kNewMark)) {
      set.names.push_back(name);
    } else {
      throw InputError(fmt::format("{}: not a list of files; remove it, and write that folder again", path));
    }
  }
  for (const char* name : {"new", "old"}) {
    std::error_code error;
    if (!fs::is_directory(fs::symlink_status(in_hidden(folder, name), error))) {
      throw InputError(
          fmt::format("{}: no folder; remove {}, and write that folder again", in_hidden(folder, name), path));
    }
  }
  return set;
}

/// From any point on at which it was stopped before.
void place(const std::string& folder) {
  const NamedSet set = read_named_set(folder);
  const auto new_path = [&](const std::string& name) { return path_in_set(folder, name); };
  const auto move = [&](const std::string& from, const std::string& to) {
    if (exists(from) && ::rename(from.c_str(), to.c_str()) != 0) {
      fail_to_place(folder, errno);
    }
  };
  const auto sync = [&] {
    if (!sync_folder(folder)) {
      fail_to_place(folder, errno);
    }
  };
  // As long as no new file has come, those in the folder are old.
  if (std::all_of(set.names.begin(), set.names.end(),
                  [&](const std::string& name) { return exists(new_path(name)); })) {
    for (const std::string& name : set.old) {
      move(fmt::format("{}/{}", folder, name), fmt::format("{}/{}", in_hidden(folder, "old"), name));
    }
    sync();
  }
  for (const std::string& name : set.names) {
    move(new_path(name), fmt::format("{}/{}", folder, name));
  }
  sync();
  if (::unlink(in_hidden(folder, "set").c_str()) != 0) {
    fail_to_place(folder, errno);
  }
  discard_set(folder);
}

/// Nothing where another object has the claim.
std::optional<FolderClaim> claim_to_settle(const std::string& folder) {
  try {
    return FolderClaim::try_claim(folder, "");
  } catch (const InputError&) {
    throw InputError(
        fmt::format("{}: a command was killed while it replaced the files there, and this one, which has to "
                    "go on with it, cannot write there; read that folder once as a user who may",
                    folder));
  }
}

}  // namespace

std::string path_in_set(const std::string& folder, const std::string& name) {
  return fmt::format("{}/{}", in_hidden(folder, "new"), name);
}

bool is_unsettled(const std::string& folder) {
  return exists(in_hidden(folder, "set"));
}

void begin_set(const std::string& folder) {
  if (is_unsettled(folder)) {
    place(folder);
  }
  discard_set(folder);
  make_folder(in_hidden(folder, "new"));
}

void publish_set(const std::string& folder, const std::vector<std::string>& old,
                 const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (!exists(path_in_set(folder, name))) {
      throw Error(fmt::format("{}: was to be written, and is not there", path_in_set(folder, name)));
    }
  }
  make_folder(in_hidden(folder, "old"));
  if (!sync_folder(in_hidden(folder, "new"))) {
    fail_to_write(in_hidden(folder, "new"));
  }
  write_file_atomically(in_hidden(folder, "set"), set_text({old, names}));
  if (!sync_folder(fmt::format("{}/{}", folder, FolderClaim::kHidden))) {
    fail_to_place(folder, errno);
  }
  place(folder);
}

void discard_set(const std::string& folder) noexcept {
  try {
    if (is_unsettled(folder)) {
      return;
    }
    std::error_code ignored;
    remove_abandoned_files(in_hidden(folder, "set"));
    for (const char* name : {"new", "old"}) {
      fs::remove_all(in_hidden(folder, name), ignored);
    }
  } catch (...) {
    // No memory for a path: it stays, and the next set removes it.
  }
}

void settle_set(const std::string& folder) {
  constexpr auto kWait = std::chrono::milliseconds(5);
  constexpr auto kPatience = std::chrono::seconds(10);
  const auto start = std::chrono::steady_clock::now();
  while (is_unsettled(folder)) {
    if (std::optional<FolderClaim> claim = claim_to_settle(folder)) {
      claim->keep();
      if (is_unsettled(folder)) {
        place(folder);
      }
      return;
    }
    if (std::chrono::steady_clock::now() - start > kPatience) {
      const std::optional<ClaimState> state = claim_state(folder);
      throw InputError(fmt::format("{}: {} replaces the files there; try again when it has ended", folder,
                                   state ? state->claimant : "another process"));
    }
    std::this_thread::sleep_for(kWait);
  }
}

void refuse_unfinished(const std::string& folder, const std::string& last) {
  if (exists(folder + "/" + last)) {
    return;
  }
  const std::optional<ClaimState> state = claim_state(folder);
  if (state && state->held) {
    throw InputError(fmt::format("{}: {}, is still at work there; wait until it has ended", folder, state->claimant));
  }
  if (state) {
    throw InputError(
        fmt::format("{}: {}, ended before the files there were whole; run its command again", folder, state->claimant));
  }
}

FileIdentity identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return {};
  }
  constexpr std::int64_t kNanoseconds = 1000000000;
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::int64_t>(status.st_ctim.tv_sec) * kNanoseconds + status.st_ctim.tv_nsec};
}

}  // namespace curate
