#include "train/option_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "curate/error.h"
#include "support/printable.h"
#include "support/split_list.h"

namespace curate {
namespace {

constexpr const char* kNoLayers = "none";
constexpr const char* kWidths = "write widths from 1 to 8192 with commas between them, like 100,50,20, or none";
constexpr const char* kRates = "write one rate from 0 to 0.95, or two: USER,ITEM";
constexpr const char* kDims = "write a number of columns from 1 to 1024, or NAME=COLUMNS,NAME=COLUMNS";
constexpr const char* kKernel =
    "write lanes=1|2|4|8|16|32, ahead=1|2|4, split=16.., hot=0..1024, reductions=vector|scalar, with commas between "
    "them";

void need(bool condition, const OptionInfo& info, const std::string& text, const std::string& remedy) {
  if (!condition) {
    throw InputError(std::string(info.key), printable(text), remedy);
  }
}

template <typename Number>
void read_number(const OptionInfo& info, const std::string& text, Number& value) {
  const std::optional<Number> number = parse_number<Number>(text);
  need(number.has_value(), info, text, fmt::format("write a {}, {}", name_of(info.type), info.values));
  value = *number;
}

/// "16" and "8" of "lanes=8": after the last sign of equality.
std::pair<std::string, std::string> name_and_value(const std::string& part) {
  const std::size_t equals = part.rfind('=');
  return equals == std::string::npos ? std::pair<std::string, std::string>("", part)
                                     : std::pair(part.substr(0, equals), part.substr(equals + 1));
}

bool is_power_up_to(std::int32_t value, std::int32_t most) {
  return value > 0 && value <= most && (value & (value - 1)) == 0;
}

}  // namespace

std::string text_of(bool value) {
  return value ? "on" : "off";
}
std::string text_of(std::int32_t value) {
  return fmt::format("{}", value);
}
std::string text_of(std::int64_t value) {
  return fmt::format("{}", value);
}
std::string text_of(std::uint64_t value) {
  return fmt::format("{}", value);
}
std::string text_of(double value) {
  return fmt::format("{}", value);
}
std::string text_of(const std::string& value) {
  return value;
}
std::string text_of(const std::vector<std::int32_t>& widths) {
  return widths.empty() ? kNoLayers : fmt::format("{}", fmt::join(widths, ","));
}
std::string text_of(const std::vector<ActivationKind>& activations) {
  std::vector<std::string_view> names;
  for (const ActivationKind activation : activations) {
    names.push_back(name_of(activation));
  }
  return fmt::format("{}", fmt::join(names, ","));
}
std::string text_of(const DropoutRates& rates) {
  return rates.user == rates.item ? text_of(rates.user) : fmt::format("{},{}", rates.user, rates.item);
}
std::string text_of(const std::vector<FeatureDim>& dims) {
  std::vector<std::string> parts;
  for (const FeatureDim& dim : dims) {
    parts.push_back(dim.name.empty() ? text_of(dim.columns) : fmt::format("{}={}", dim.name, dim.columns));
  }
  return fmt::format("{}", fmt::join(parts, ","));
}
std::string text_of(const MfKernelOptions& kernel) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, std::int32_t value) {
    if (value != 0) {
      parts.push_back(fmt::format("{}={}", name, value));
    }
  };
  add("lanes", kernel.lanes);
  add("ahead", kernel.ahead);
  add("split", kernel.split);
  add("hot", kernel.hot_items);
  if (kernel.scalar_reductions) {
    parts.emplace_back("reductions=scalar");
  }
  return fmt::format("{}", fmt::join(parts, ","));
}

void refuse_choice(const OptionInfo& info, const std::string& text) {
  throw InputError(std::string(info.key), printable(text), fmt::format("not one of {}", fmt::join(info.choices, ", ")));
}

void read_text(const OptionInfo& info, const std::string& text, bool& value) {
  need(text == "on" || text == "off", info, text, "write on or off");
  value = text == "on";
}
void read_text(const OptionInfo& info, const std::string& text, std::int32_t& value) {
  read_number(info, text, value);
}
void read_text(const OptionInfo& info, const std::string& text, std::int64_t& value) {
  read_number(info, text, value);
}
void read_text(const OptionInfo& info, const std::string& text, std::uint64_t& value) {
  read_number(info, text, value);
}
void read_text(const OptionInfo& info, const std::string& text, double& value) {
  read_number(info, text, value);
}
void read_text(const OptionInfo& /*info*/, const std::string& text, std::string& value) {
  value = text;
}

void read_text(const OptionInfo& info, const std::string& text, std::vector<std::int32_t>& widths) {
  widths.clear();
  if (text == kNoLayers) {
    return;
  }
  for (const std::string& part : split_list(text)) {
    const auto width = parse_number<std::int32_t>(part);
    need(width.has_value(), info, text, kWidths);
    widths.push_back(*width);
  }
}

void read_text(const OptionInfo& info, const std::string& text, std::vector<ActivationKind>& activations) {
  activations.clear();
  for (const std::string& part : split_list(text)) {
    const std::optional<ActivationKind> kind = find_kind<ActivationKind>(part);
    if (!kind) {
      refuse_choice(info, text);
    }
    activations.push_back(*kind);
  }
}

void read_text(const OptionInfo& info, const std::string& text, DropoutRates& rates) {
  const std::vector<std::string> parts = split_list(text);
  const auto user = parse_number<double>(parts.front());
  const auto item = parse_number<double>(parts.back());
  need(parts.size() <= 2 && user && item, info, text, kRates);
  rates = {*user, *item};
}

void read_text(const OptionInfo& info, const std::string& text, std::vector<FeatureDim>& dims) {
  dims.clear();
  for (const std::string& part : split_list(text)) {
    const auto [name, columns] = name_and_value(part);
    const auto number = parse_number<std::int32_t>(columns);
    need(number && (part.find('=') == std::string::npos || !name.empty()), info, text, kDims);
    dims.push_back({name, *number});
  }
}

void read_text(const OptionInfo& info, const std::string& text, MfKernelOptions& kernel) {
  kernel = {};
  for (const std::string& part : split_list(text)) {
    const auto [name, value] = name_and_value(part);
    if (name == "reductions") {
      need(value == "vector" || value == "scalar", info, text, kKernel);
      kernel.scalar_reductions = value == "scalar";
      continue;
    }
    const auto number = parse_number<std::int32_t>(value);
    std::int32_t* const member = name == "lanes"   ? &kernel.lanes
                                 : name == "ahead" ? &kernel.ahead
                                 : name == "split" ? &kernel.split
                                 : name == "hot"   ? &kernel.hot_items
                                                   : nullptr;
    // 0 means nothing is asked for, which only `hot` says by a number.
    need(number && member != nullptr && (*number != 0 || name == "hot"), info, text, kKernel);
    *member = *number;
  }
}

void check_value(const OptionInfo& info, const std::vector<std::int32_t>& widths) {
  const bool fine = std::all_of(widths.begin(), widths.end(), [](auto width) { return width >= 1 && width <= 8192; });
  need(fine, info, text_of(widths), kWidths);
}

void check_value(const OptionInfo& info, const DropoutRates& rates) {
  const auto fine = [](double rate) { return rate >= 0.0 && rate <= 0.95; };
  need(fine(rates.user) && fine(rates.item), info, text_of(rates), kRates);
}

void check_value(const OptionInfo& info, const std::vector<FeatureDim>& dims) {
  const bool fine = std::all_of(dims.begin(), dims.end(),
                                [](const FeatureDim& dim) { return dim.columns >= 1 && dim.columns <= 1024; });
  need(fine, info, text_of(dims), kDims);
}

void check_value(const OptionInfo& info, const MfKernelOptions& kernel) {
  const bool fine = (kernel.lanes == 0 || is_power_up_to(kernel.lanes, 32)) &&
                    (kernel.ahead == 0 || is_power_up_to(kernel.ahead, 4)) &&
                    (kernel.split == 0 || kernel.split >= 16) && kernel.hot_items >= 0 && kernel.hot_items <= 1024;
  need(fine, info, text_of(kernel), kKernel);
}

}  // namespace curate
