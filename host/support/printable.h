#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace curate {

/// For messages that repeat what a file says: printable ASCII as it is, all else escaped.
inline std::string printable(std::string_view bytes) {
  std::string result;
  for (const char c : bytes) {
    if (c >= 0x20 && c < 0x7f) {
      result += c;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

}  // namespace curate
