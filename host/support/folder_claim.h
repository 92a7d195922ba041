#pragma once

#include <optional>
#include <string>
#include <utility>

#include "support/file_descriptor.h"

namespace curate {

/// The right to write into a folder. One object at a time has it, over all threads and processes: it holds a lock on
/// FOLDER/.publishing/lock, which also says who made it. The system takes the lock from a process that is killed, so
/// that the next one can have the claim and finds in .publishing what the killed one left.
///
/// A file system without locks (some network mounts) cannot tell whether a killed process still runs. There the lock's
/// file is the claim itself: nobody gets past one that was left until it is removed by hand, as the message says.
class FolderClaim {
 public:
  /// The hidden folder within a claimed one. It is gone again with the object, if it is empty.
  static constexpr const char* kHidden = ".publishing";

  /// Creates the folder, and its parents, where need be. `key`: the option that named it, for messages; "" for none.
  /// Throws InputError where nothing can be written there, and where another object has the claim.
  FolderClaim(const std::string& path, const std::string& key);

  /// Nothing where another object has the claim.
  static std::optional<FolderClaim> try_claim(const std::string& path, const std::string& key);

  /// Creates the folder by mkdir: of processes that try at the same time one has it. A folder that holds nothing but
  /// what a killed process left counts as new. Nothing where the name is taken.
  static std::optional<FolderClaim> try_create(const std::string& path, const std::string& key);

  FolderClaim(FolderClaim&& other) noexcept
      : path_(std::move(other.path_)), topmost_(std::exchange(other.topmost_, {})), lock_(std::move(other.lock_)) {}
  FolderClaim& operator=(FolderClaim&&) = delete;
  /// Folders that were created and are still empty go away again, unless keep() was called.
  ~FolderClaim();

  const std::string& path() const { return path_; }
  void keep() { topmost_.clear(); }

 private:
  enum class Attempt {
    claimed,
    held,     ///< by another object
    unknown,  ///< whether the process that left its lock still runs
    taken,    ///< the name, though it had to be new
    retry,    ///< folders came or went meanwhile, or nothing can be written; errno
  };

  explicit FolderClaim(std::string path) : path_(std::move(path)) {}
  Attempt attempt(const std::string& key, bool must_be_new);
  Attempt lock();
  void remove_created() noexcept;

  std::string path_;
  std::string topmost_;  ///< the first folder that did not exist before; "" where all did
  FileDescriptor lock_;  ///< open while the claim is held
};

/// Whether a folder has a claim on it, and what to say of that.
struct ClaimState {
  bool held = false;     ///< by a process that runs, as far as one can tell
  std::string claimant;  ///< "process 4711 on HOST, since 2025-01-31 12:00:00 UTC"
};

/// Nothing where no process has or had a claim that it has not given up.
std::optional<ClaimState> claim_state(const std::string& folder);

}  // namespace curate
