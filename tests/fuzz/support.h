#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "curate/error.h"

namespace curate::fuzz {

/// Prints `what` and aborts where the condition does not hold.
void check(bool condition, const std::string& what);

/// check(): not empty, one line, no control characters.
void check_message(const std::string& message);

/// The message of the InputError that `action` throws, checked, or nothing where it throws none. Any other exception is
/// a finding.
template <typename Action>
std::optional<std::string> refusal_of(const Action& action) {
  try {
    action();
  } catch (const InputError& error) {
    check_message(error.what());
    return error.what();
  }
  return std::nullopt;
}

/// RFC 3629.
bool is_utf8(std::string_view text);

/// A folder in memory (of $TMPDIR, else /dev/shm) that lives as long as the program.
const std::string& scratch_folder();

/// A file of that folder, written anew for every input.
class ScratchFile {
 public:
  explicit ScratchFile(const std::string& name);
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile();

  const std::string& path() const { return path_; }
  void write(std::string_view content) const;
  void shrink(std::size_t size) const;

 private:
  std::string path_;
  int fd_ = -1;
};

/// Takes bytes off an input's front, 0 where there are none left.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  std::uint8_t byte();
  std::uint16_t two_bytes();
  /// At most `size` bytes.
  std::string_view take(std::size_t size);
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace curate::fuzz
