#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "curate/error.h"
#include "support/printable.h"

namespace curate {

/// A TOML string in quotes. Throws InputError for text that is not UTF-8.
inline std::string toml_text(const std::string& text) {
  // JSON's escapes are a subset of those of a basic TOML string, which also wants DEL escaped.
  std::string json;
  try {
    json = nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw InputError(
        fmt::format("{}: not UTF-8, which config.toml has to be; rename it and give the new name", printable(text)));
  }
  std::string quoted;
  for (const char c : json) {
    quoted += c == '\x7F' ? std::string("\\u007F") : std::string(1, c);
  }
  return quoted;
}

}  // namespace curate
