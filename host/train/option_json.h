#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {

/// Numbers and booleans as such, all else as text; null if nothing is given.
template <typename T>
nlohmann::ordered_json option_json(const T& value) {
  if constexpr (requires { value.has_value(); }) {
    return value ? option_json(*value) : nlohmann::ordered_json();
  } else if constexpr (std::is_arithmetic_v<T>) {
    return value;
  } else {
    return is_given(value) ? nlohmann::ordered_json(text_of(value)) : nlohmann::ordered_json();
  }
}

}  // namespace curate
