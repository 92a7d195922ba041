#pragma once

#include <string>

namespace curate {

/// A directory to write into, created with its parents if need be. The destructor removes what was created and is still
/// empty, unless keep() was called: a command that fails leaves nothing behind.
class CreatedDirectory {
 public:
  /// `label` starts the message of the InputError that is thrown if nothing can be written there.
  CreatedDirectory(std::string path, const std::string& label);
  CreatedDirectory(const CreatedDirectory&) = delete;
  CreatedDirectory& operator=(const CreatedDirectory&) = delete;
  ~CreatedDirectory();

  const std::string& path() const { return path_; }
  void keep() { topmost_.clear(); }

 private:
  void remove_created() noexcept;

  std::string path_;
  std::string topmost_;  ///< the first directory that did not exist before; "" if all did
};

}  // namespace curate
