#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace curate {

/// A list like "100,50,20": the parts between the commas, empty ones too.
std::vector<std::string> split_list(std::string_view list);

/// The number that the whole `text` is; nothing if it is none, or does not fit.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && !text.empty() ? std::optional(value) : std::nullopt;
}

}  // namespace curate
