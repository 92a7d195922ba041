#pragma once

#include <string>

namespace curate {

/// One field of a csv row: quoted if it holds a comma, a quote, a line end or blanks at an end (RFC 4180).
inline std::string csv_field(const std::string& text) {
  const bool blank_end = !text.empty() && (std::string(" \t").find(text.front()) != std::string::npos ||
                                           std::string(" \t").find(text.back()) != std::string::npos);
  if (!blank_end && text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace curate
