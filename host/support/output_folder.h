#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/folder_claim.h"

namespace curate {

/// A folder that a command writes a set of files into: all of them or none. The folder is claimed as long as the object
/// lives: another process that is to write there is refused (see FolderClaim). Until commit() the folder's files stay
/// as they were, and a folder that was not there goes away again; commit() replaces the files as file_set.h has it.
class OutputFolder {
 public:
  /// Tells the names of the files that such a command writes.
  using IsOurs = bool (*)(std::string_view name);

  /// `key`: the option that named the folder, for messages; "" for none. Throws InputError if the folder holds such
  /// files, unless `overwrite`, if it cannot be written to, and if another process has claimed it.
  OutputFolder(const std::string& path, bool overwrite, IsOurs is_ours, const std::string& key = "out");

  /// The first of name(1), name(2), ... that is not taken, created. If processes ask for the same names at the same
  /// time, each gets another one. A folder that a killed process claimed and wrote nothing into counts as free.
  /// Throws InputError if nothing can be written.
  static OutputFolder first_free(const std::function<std::string(int number)>& name, IsOurs is_ours);

  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  ~OutputFolder();

  /// Throws as the constructor does for files that are there, and makes nothing.
  static void check(const std::string& path, bool overwrite, IsOurs is_ours, const std::string& key = "out");

  const std::string& path() const { return claim_.path(); }
  /// As messages call a file of the folder.
  std::string label(const std::string& name) const;
  /// Where to write the file before commit(). It has to be synced.
  std::string stage(const std::string& name);
  /// Names of all files staged so far.
  const std::vector<std::string>& staged() const { return staged_; }

  /// The files staged take the place of what the folder held of such files, the last one last. Throws Error.
  void commit();

 private:
  OutputFolder(FolderClaim claim, IsOurs is_ours);

  FolderClaim claim_;
  IsOurs is_ours_;
  std::vector<std::string> staged_;
};

}  // namespace curate
