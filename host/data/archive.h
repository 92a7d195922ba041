#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/byte_source.h"

namespace curate {

/// A release of a data set: files by name, in a folder or in a zip archive, read in place (nothing is unpacked). Any
/// number of threads may use one at once, and sources may outlive the tree.
///
/// Names are relative, with `/` between parts. Asking for one that is absolute, has a backslash, a NUL or a part that
/// is empty, `.` or `..` is an InputError, not a look outside the tree.
class FileTree {
 public:
  FileTree() = default;
  FileTree(const FileTree&) = delete;
  FileTree& operator=(const FileTree&) = delete;
  virtual ~FileTree() = default;

  /// The path that it was opened by.
  virtual const std::string& path() const = 0;

  /// What messages call the file of that name; there need not be one.
  virtual std::string name_of(const std::string& name) const = 0;

  /// Whether there is such a file.
  virtual bool has(const std::string& name) const = 0;

  /// Names of the files, sorted: those right in the folder, or all in the archive.
  virtual std::vector<std::string> names() const = 0;

  /// Throws InputError for a name that is not there, and for a member that is encrypted, packed by a method that is not
  /// supported, or larger by its own account than `max_bytes`; see open_file() for the rest. A file in a folder is
  /// inflated if it is gzip, a member of an archive is not.
  virtual std::unique_ptr<ByteSource> open(const std::string& name, std::int64_t max_bytes = kUnlimited) const = 0;

  /// A whole file of `max_bytes` at most.
  std::string read_all(const std::string& name, std::int64_t max_bytes) const;
};

/// A folder, or a zip archive whatever its name (see path_kind()). If all members of an archive lie in one folder,
/// names leave that folder out: "ratings.csv" is ml-20m/ratings.csv. What macOS adds to archives (__MACOSX) is left
/// out.
///
/// Throws InputError for a path that is neither, and for an archive that is cut off, damaged, split, has the same name
/// twice or a name that would lead out of it. An archive without any file is not an error. An archive is read through
/// the file that was opened here: a new one under the same path does not mix in.
std::unique_ptr<FileTree> open_tree(const std::string& path);

}  // namespace curate
