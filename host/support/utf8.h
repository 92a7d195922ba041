#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace curate {

/// Bytes of the UTF-8 character at `at`. 0 if there is none, or if neither a terminal nor XML should get it (control
/// characters, surrogates, noncharacters).
inline std::size_t character_bytes(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t k) -> std::uint32_t {
    return at + k < text.size() ? static_cast<unsigned char>(text[at + k]) : 0U;
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) {
    return first >= 0x20 && first != 0x7F ? 1 : 0;
  }
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  std::uint32_t code = first & (0xFFU >> (size + 1));
  for (std::size_t k = 1; k < size; ++k) {
    if ((byte(k) & 0xC0U) != 0x80) {
      return 0;
    }
    code = code << 6U | (byte(k) & 0x3FU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  const bool valid = first >= 0xC2 && first <= 0xF4 && code >= kLeast[size] && code <= 0x10FFFF && !surrogate;
  return valid && code >= 0xA0 && code != 0xFFFE && code != 0xFFFF ? size : 0;
}

/// For tables that repeat names of files: UTF-8 as it is, all else escaped.
inline std::string printable_utf8(std::string_view bytes) {
  std::string result;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = character_bytes(bytes, at);
    result += size > 0 ? std::string(bytes.substr(at, size))
                       : fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[at]));
    at += std::max<std::size_t>(1, size);
  }
  return result;
}

/// Characters of UTF-8.
inline std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80;  // not within a character of several bytes
  }));
}

}  // namespace curate
