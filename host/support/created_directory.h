#pragma once

#include <string>

namespace curate {

/// A directory to write into, created with its parents where need be. What was created and is still empty goes away
/// again with the object, unless keep() was called: a command that fails leaves nothing behind.
class CreatedDirectory {
 public:
  /// `label` starts the message of the InputError that is thrown where nothing can be written there.
  CreatedDirectory(std::string path, const std::string& label);
  CreatedDirectory(const CreatedDirectory&) = delete;
  CreatedDirectory& operator=(const CreatedDirectory&) = delete;
  ~CreatedDirectory();

  const std::string& path() const { return path_; }
  void keep() { topmost_.clear(); }

 private:
  void remove_created() noexcept;

  std::string path_;
  std::string topmost_;  ///< the first directory that did not exist before; "" where all did
};

}  // namespace curate
