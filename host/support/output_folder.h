#pragma once

#include <functional>
#include <string>
#include <vector>

#include "support/created_directory.h"

namespace curate {

/// A folder that a command writes a set of files into: all of them or none. They are written elsewhere first. Until
/// commit() the folder stays as it was, and one that was not there goes away again.
class OutputFolder {
 public:
  /// Tells the names of the files that such a command writes.
  using IsOurs = std::function<bool(const std::string& name)>;

  /// Throws InputError if the folder holds such files, unless `overwrite`.
  OutputFolder(const std::string& path, bool overwrite, IsOurs is_ours);
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  /// Throws as the constructor does, and makes nothing.
  static void check(const std::string& path, bool overwrite, const IsOurs& is_ours);

  /// As messages call a file of the folder.
  std::string label(const std::string& name) const;
  /// Where to write the file before commit().
  std::string stage(const std::string& name);
  /// Names of all files staged so far.
  const std::vector<std::string>& staged() const { return staged_; }

  /// Removes what the folder held of such files and moves those staged there, in the order of their staging.
  void commit();

 private:
  CreatedDirectory directory_;
  IsOurs is_ours_;
  std::string staging_;
  std::vector<std::string> staged_;
};

}  // namespace curate
