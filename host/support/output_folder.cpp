#include "support/output_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "curate/error.h"
#include "support/file_set.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// Names of files in the folder that `is_ours` says are.
std::vector<std::string> ours_in(const std::string& folder, OutputFolder::IsOurs is_ours) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (is_ours(name)) {
      found.push_back(std::move(name));
    }
  }
  return found;
}

/// Whether the folder has nothing but what belongs to its claim.
bool is_fresh(const std::string& folder) {
  std::error_code error;
  const fs::directory_iterator entry(folder, error);
  return std::none_of(begin(entry), end(entry),
                      [](const auto& one) { return one.path().filename() != FolderClaim::kHidden; });
}

}  // namespace

void OutputFolder::check(const std::string& path, bool overwrite, IsOurs is_ours, const std::string& key) {
  const auto refuse = [&](const std::string& why) {
    throw key.empty() ? InputError(fmt::format("{}: {}", path, why)) : InputError(key, path, why);
  };
  for (const std::string& name : ours_in(path, is_ours)) {
    std::error_code error;
    if (fs::is_directory(fs::path(path) / name, error)) {
      refuse(fmt::format("holds a folder {}; give another folder", name));
    }
    if (!overwrite) {
      refuse(fmt::format("holds {} already; give another folder, or `overwrite`", name));
    }
  }
}

OutputFolder::OutputFolder(const std::string& path, bool overwrite, IsOurs is_ours, const std::string& key)
    : claim_((check(path, overwrite, is_ours, key), path), key), is_ours_(is_ours) {
  begin_set(path);
  try {
    // Another process may have written there meanwhile.
    check(path, overwrite, is_ours_, key);
  } catch (...) {
    discard_set(path);
    throw;
  }
}

OutputFolder::OutputFolder(FolderClaim claim, IsOurs is_ours) : claim_(std::move(claim)), is_ours_(is_ours) {
  begin_set(path());
}

OutputFolder OutputFolder::first_free(const std::function<std::string(int number)>& name, IsOurs is_ours) {
  for (int number = 1;; ++number) {
    std::optional<FolderClaim> claim = FolderClaim::try_create(name(number), "out");
    if (!claim) {
      continue;
    }
    if (is_unsettled(claim->path()) || !is_fresh(claim->path())) {
      claim->keep();  // another process wrote there meanwhile, or was killed when all was written
      continue;
    }
    return OutputFolder(std::move(*claim), std::move(is_ours));
  }
}

OutputFolder::~OutputFolder() {
  discard_set(path());
}

std::string OutputFolder::label(const std::string& name) const {
  return (fs::path(path()) / name).string();
}

std::string OutputFolder::stage(const std::string& name) {
  staged_.push_back(name);
  return path_in_set(path(), name);
}

void OutputFolder::commit() {
  publish_set(path(), ours_in(path(), is_ours_), staged_);
  claim_.keep();
}

}  // namespace curate
