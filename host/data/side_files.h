#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace curate {

/// Files beside ratings, by name, wherever they lie.
class SideFiles {
 public:
  /// Called with a file's content piece by piece; the pieces end anywhere.
  using Take = std::function<void(std::string_view)>;

  SideFiles() = default;
  SideFiles(const SideFiles&) = delete;
  SideFiles& operator=(const SideFiles&) = delete;
  virtual ~SideFiles() = default;

  virtual bool has(const std::string& name) const = 0;
  /// For messages.
  virtual std::string path(const std::string& name) const = 0;
  /// Throws InputError.
  virtual void read(const std::string& name, const Take& take) const = 0;

  /// The whole file.
  std::string text(const std::string& name) const;
};

/// Those in a folder or a zip archive.
std::unique_ptr<SideFiles> files_in(const std::string& path);

/// Those in the folder or archive that ratings were read from, or beside their file.
std::unique_ptr<SideFiles> files_beside(const std::string& source);

}  // namespace curate
