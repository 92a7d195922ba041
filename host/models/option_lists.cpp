#include "models/option_lists.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "curate/error.h"
#include "support/printable.h"

namespace curate {

void require(bool condition, const char* key, const std::string& value, const char* remedy) {
  if (!condition) {
    throw InputError(key, printable(value), remedy);
  }
}

std::optional<double> parse_number(const std::string& text) {
  double value = 0.0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && !text.empty() ? std::optional(value) : std::nullopt;
}

std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from <= list.size();) {
    const std::size_t to = std::min(list.find(',', from), list.size());
    parts.push_back(list.substr(from, to - from));
    from = to + 1;
  }
  return parts;
}

std::vector<std::pair<std::string, std::int64_t>> parse_feature_dims(const std::string& text) {
  std::vector<std::pair<std::string, std::int64_t>> dims;
  if (text.empty()) {
    return dims;
  }
  for (const std::string& part : split_list(text)) {
    const std::size_t equals = part.rfind('=');
    const std::string name = equals == std::string::npos ? "" : part.substr(0, equals);
    const std::optional<double> dim = parse_number(equals == std::string::npos ? part : part.substr(equals + 1));
    require(dim && *dim >= 1.0 && *dim <= 1024.0 && *dim == std::floor(*dim) &&
                (equals == std::string::npos || !name.empty()),
            "feature_dim", text, "write a number of columns from 1 to 1024, or NAME=COLUMNS,NAME=COLUMNS");
    dims.emplace_back(name, static_cast<std::int64_t>(*dim));
  }
  return dims;
}

MfKernelOptions parse_sgd_kernel(const std::string& text) {
  MfKernelOptions kernel;
  if (text.empty()) {
    return kernel;
  }
  const auto check = [&](bool condition) {
    require(condition, "sgd_kernel", text,
            "write lanes=1|2|4|8|16|32, ahead=1|2|4, split=16.., hot=0..1024, reductions=vector|scalar, with commas "
            "between them");
  };
  for (const std::string& part : split_list(text)) {
    const std::size_t equals = part.find('=');
    check(equals != std::string::npos);
    const std::string name = part.substr(0, equals);
    const std::string value = part.substr(equals + 1);
    if (name == "reductions") {
      check(value == "vector" || value == "scalar");
      kernel.scalar_reductions = value == "scalar";
      continue;
    }
    const std::optional<double> number = parse_number(value);
    check(number && *number >= 0.0 && *number <= 2e9 && *number == std::floor(*number));
    const auto whole = static_cast<std::int32_t>(*number);
    const bool power = whole > 0 && (whole & (whole - 1)) == 0;
    if (name == "lanes") {
      check(power && whole <= 32);
      kernel.lanes = whole;
    } else if (name == "ahead") {
      check(power && whole <= 4);
      kernel.ahead = whole;
    } else if (name == "split") {
      check(whole >= 16);
      kernel.split = whole;
    } else {
      check(name == "hot" && whole <= 1024);
      kernel.hot_items = whole;
    }
  }
  return kernel;
}

std::vector<std::int64_t> layer_widths(const TrainOptions& resolved) {
  std::vector<std::int64_t> widths;
  if (resolved.layers != "none") {
    for (const std::string& width : split_list(resolved.layers)) {
      widths.push_back(static_cast<std::int64_t>(parse_number(width).value_or(0.0)));
    }
  }
  widths.push_back(1);
  return widths;
}

std::vector<double> dropout_rates(const TrainOptions& resolved) {
  const std::vector<std::string> rates = split_list(resolved.dropout);
  return {parse_number(rates.front()).value_or(0.0), parse_number(rates.back()).value_or(0.0)};
}

}  // namespace curate
