#pragma once

#include <stdexcept>
#include <string>

#include "curate/export.h"

namespace curate {

/// Something failed, and not because of the input (disk full, device lost, training diverged). The command line exits
/// with 1.
class CURATE_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Bad usage or bad input: the message names the file, the line and the remedy. The command line exits with 2.
/// Options are named by their keys in backticks, as in "`lr` -2: must be above 0"; an interface writes them its way.
class CURATE_API InputError : public Error {
 public:
  using Error::Error;

  /// An option is to blame: what() is "`key` problem: remedy".
  InputError(const std::string& key, const std::string& problem, const std::string& remedy);

  /// The option's key, as option_table() and config.toml have it; empty if no option is to blame.
  const std::string& key() const noexcept { return key_; }
  /// What is wrong, mostly the value that was given; empty if no option is to blame.
  const std::string& problem() const noexcept { return problem_; }
  /// What to give instead; empty if no option is to blame.
  const std::string& remedy() const noexcept { return remedy_; }

 private:
  std::string key_;
  std::string problem_;
  std::string remedy_;
};

/// A compute device failed; names the operation.
class CURATE_API DeviceError : public Error {
 public:
  using Error::Error;
};

/// A GPU's operation failed after it was enqueued. It is not known which one: the message names the call that found
/// out. In this process nothing works on that GPU any more.
class CURATE_API AsyncDeviceError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

}  // namespace curate
