#pragma once

#include <string>
#include <string_view>

#include "support/file_descriptor.h"

namespace curate {

/// A file that is to be at `path`, written under a name of its own beside it and renamed over it once it is whole:
/// readers see the old file or the new one, never a half. Any number of processes may write the same file: the last to
/// call replace() stays. What replace() was not called for goes away with the object; what a killed process leaves is
/// called PATH.PROCESS.NUMBER.tmp, see remove_abandoned_files.
class NewFile {
 public:
  /// `mode` as of open(2), from which the umask is taken. Where nothing can be created, fd() is below 0 and errno says
  /// why.
  explicit NewFile(std::string path, unsigned mode = 0666);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  /// Open for reading and writing.
  int fd() const { return file_.get(); }

  /// Closes the file and gives it its name. Syncs nothing. False: that failed, and errno says why.
  bool replace();

 private:
  std::string path_;
  std::string temporary_;  ///< "" where there is none
  FileDescriptor file_;
};

/// Removes what killed processes left of files that were to be at `path`; what other processes write there stays. Where
/// the file system has no locks, all of it stays.
void remove_abandoned_files(const std::string& path);

/// Writes the whole content as a NewFile and syncs it before it gets its name. Throws Error naming the path and the
/// reason.
void write_file_atomically(const std::string& path, std::string_view content);

/// The whole file. Throws InputError naming the path and the reason.
std::string read_file(const std::string& path);

}  // namespace curate
