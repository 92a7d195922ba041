#include "support/output_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "curate/error.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// Files of the folder that `is_ours` says are.
std::vector<fs::path> ours_in(const std::string& folder, const OutputFolder::IsOurs& is_ours) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (is_ours(entry->path().filename().string())) {
      found.push_back(entry->path());
    }
  }
  return found;
}

std::string out_label(const std::string& path) {
  return fmt::format("`out` {}", path);
}

}  // namespace

void OutputFolder::check(const std::string& path, bool overwrite, const IsOurs& is_ours) {
  const std::vector<fs::path> found = ours_in(path, is_ours);
  for (const fs::path& file : found) {
    std::error_code error;
    if (fs::is_directory(file, error)) {
      throw InputError("out", path, fmt::format("holds a folder {}; give another folder", file.filename().string()));
    }
    if (!overwrite) {
      throw InputError("out", path,
                       fmt::format("holds {} already; give another folder, or `overwrite`", file.filename().string()));
    }
  }
}

OutputFolder::OutputFolder(const std::string& path, bool overwrite, IsOurs is_ours)
    : directory_((check(path, overwrite, is_ours), path), out_label(path)),
      is_ours_(std::move(is_ours)),
      staging_(directory_.path() + "/.partial") {
  fs::remove_all(staging_);
  fs::create_directory(staging_);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
}

std::string OutputFolder::label(const std::string& name) const {
  return (fs::path(directory_.path()) / name).string();
}

std::string OutputFolder::stage(const std::string& name) {
  staged_.push_back(name);
  return (fs::path(staging_) / name).string();
}

void OutputFolder::commit() {
  for (const fs::path& file : ours_in(directory_.path(), is_ours_)) {
    fs::remove(file);
  }
  for (const std::string& name : staged_) {
    fs::rename(fs::path(staging_) / name, label(name));
  }
  directory_.keep();
}

}  // namespace curate
