#include "support/created_directory.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "curate/error.h"
#include "support/atomic_file.h"

namespace curate {

namespace fs = std::filesystem;

CreatedDirectory::CreatedDirectory(std::string path, const std::string& label) : path_(std::move(path)) {
  std::error_code error;
  fs::path missing = fs::absolute(path_).lexically_normal();
  if (missing.filename().empty()) {
    missing = missing.parent_path();
  }
  while (!missing.empty() && !fs::exists(missing, error)) {
    topmost_ = missing.string();
    missing = missing.parent_path();
  }
  const auto fail = [&](const std::string& problem) {
    remove_created();
    throw InputError(fmt::format("{}: {}; give a directory that you may write to", label, problem));
  };
  fs::create_directories(path_, error);
  if (error) {
    fail(fmt::format("cannot create it: {}", error.message()));
  }
  if (!fs::is_directory(path_, error)) {
    fail("not a directory");
  }
  // access() allows a root user to write on read-only media: only writing tells.
  const std::string probe = path_ + "/.curate-probe";
  try {
    write_file_atomically(probe, "");
  } catch (const Error&) {
    fail("cannot write there");
  }
  fs::remove(probe, error);
}

CreatedDirectory::~CreatedDirectory() {
  remove_created();
}

void CreatedDirectory::remove_created() noexcept {
  if (topmost_.empty()) {
    return;
  }
  try {
    std::error_code ignored;
    fs::path directory = fs::absolute(path_).lexically_normal();
    if (directory.filename().empty()) {
      directory = directory.parent_path();
    }
    const fs::path top = fs::path(topmost_);
    // remove() refuses directories that are not empty.
    while (fs::remove(directory, ignored) && directory != top) {
      directory = directory.parent_path();
    }
  } catch (...) {
    // No memory for a path: what was created stays.
  }
}

}  // namespace curate
