#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace curate {

/// JSON as indented text. File names need not be UTF-8: bytes that are not become U+FFFD.
inline std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace curate
