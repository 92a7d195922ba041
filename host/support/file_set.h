#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"

namespace curate {

/// A set of files that replaces another one in a folder, which may hold further files and be a mount point, a link or
/// the folder that a shell is in: it stays the same folder.
///
///   .publishing/new/   files are written here
///   .publishing/set    names them, and those that they replace. Once it is there, the new set counts.
///   .publishing/old/   then the old files move here, after them the new ones into the folder, and .publishing/set,
///                      .publishing/old go away
///
/// So the folder itself never has files of two sets, and one set is always whole: until .publishing/set is there the
/// old one, in the folder; from then on the new one, in .publishing/new and the folder together. Where a process is
/// killed between, the next one that opens the folder goes on where it stopped: one that writes there as one that reads
/// (settle_set). Every step is synced before the next one rests on it.
///
/// All of it is for whoever has the FolderClaim, settle_set and read_set apart.

/// Begins a set: goes on with one that a killed process left named, removes one that it left unnamed. Throws Error.
void begin_set(const std::string& folder);

/// Where to write a file of the set.
std::string path_in_set(const std::string& folder, const std::string& name);

/// Puts files that are written, closed and synced in place of `old` ones of the folder; the last one comes last. Throws
/// Error naming the folder and the reason; whether the old set counts then or the new one, it is whole.
void publish_set(const std::string& folder, const std::vector<std::string>& old, const std::vector<std::string>& names);

/// Removes what begin_set() made and publish_set() was not called for, or had no need of.
void discard_set(const std::string& folder) noexcept;

/// For readers: goes on with a set that a killed process left named, waits for one that is being put in place. Throws
/// InputError where that cannot be done.
void settle_set(const std::string& folder);

/// Whether a set is being put in place, or waits for it.
bool is_unsettled(const std::string& folder);

/// Throws InputError where the folder has no `last` file because whoever claimed it is still at work there, or was
/// killed.
void refuse_unfinished(const std::string& folder, const std::string& last);

/// What tells a file from the one that has its name later on.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t changed = 0;  ///< nanoseconds since 1970; all are 0 where there is no file

  friend bool operator==(const FileIdentity& a, const FileIdentity& b) = default;
};

FileIdentity identity_of(const std::string& path);

/// What `read` gives, which reads files of one set: called again where another set came in its place meanwhile. `last`
/// is the file that is put in place last. Throws what `read` throws, and what refuse_unfinished does.
template <typename Read>
auto read_set(const std::string& folder, const std::string& last, Read read) {
  const std::string path = folder + "/" + last;
  while (true) {
    settle_set(folder);
    const FileIdentity before = identity_of(path);
    try {
      auto result = read();
      if (identity_of(path) == before) {
        return result;
      }
    } catch (const InputError&) {
      if (identity_of(path) == before && !is_unsettled(folder)) {
        refuse_unfinished(folder, last);
        throw;
      }
    }
  }
}

}  // namespace curate
