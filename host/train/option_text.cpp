#include "train/option_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "curate/error.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "train/option_visit.h"

namespace curate {
namespace {

constexpr const char* kNoLayers = "none";
/// Throws InputError unless the text is what the option takes.
void need(bool condition, const OptionInfo& info, const std::string& text) {
  if (!condition) {
    const bool number = info.type == OptionType::whole_number || info.type == OptionType::number;
    throw InputError(
        std::string(info.key), printable(text),
        fmt::format("write {}{}", number ? fmt::format("a {}, ", name_of(info.type)) : "", values_of(info)));
  }
}

bool in_range(const OptionInfo& info, double value) {
  return value >= info.least && value <= info.most;
}

template <typename Number>
void read_number(const OptionInfo& info, const std::string& text, Number& value) {
  const std::optional<Number> number = parse_number<Number>(text);
  need(number.has_value(), info, text);
  value = *number;
}

/// "lanes" and "8" of "lanes=8", "" and "8" of "8": the value is behind the last "=".
std::pair<std::string, std::string> name_and_value(const std::string& part) {
  const std::size_t equals = part.rfind('=');
  return equals == std::string::npos ? std::pair<std::string, std::string>("", part)
                                     : std::pair(part.substr(0, equals), part.substr(equals + 1));
}

bool is_power_up_to(std::int32_t value, std::int32_t most) {
  return value > 0 && value <= most && (value & (value - 1)) == 0;
}

bool is_sound(const MfKernelOptions& kernel) {
  return (kernel.lanes == 0 || is_power_up_to(kernel.lanes, 32)) &&
         (kernel.ahead == 0 || is_power_up_to(kernel.ahead, 4)) && (kernel.split == 0 || kernel.split >= 16) &&
         kernel.hot_items >= 0 && kernel.hot_items <= 1024;
}

/// One number alone, or kinds that each stand once.
bool is_sound(const OptionInfo& info, const std::vector<EnsemblePart>& ensemble) {
  double members = 0.0;
  std::set<ModelKind> kinds;
  for (const EnsemblePart& part : ensemble) {
    const bool named_once = part.kind ? kinds.insert(*part.kind).second : ensemble.size() == 1;
    if (!named_once || part.members < 1) {
      return false;
    }
    members += part.members;
  }
  return ensemble.empty() || in_range(info, members);
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
  if (parts.empty()) {
    parts.emplace_back("hot=0");  // what is by default
  }
  return fmt::format("{}", fmt::join(parts, ","));
}

std::string text_of(const std::vector<EnsemblePart>& ensemble) {
  std::vector<std::string> parts;
  for (const EnsemblePart& part : ensemble) {
    parts.push_back(part.kind ? fmt::format("{}:{}", name_of(*part.kind), part.members) : text_of(part.members));
  }
  return fmt::format("{}", fmt::join(parts, ","));
}

void refuse_choice(const OptionInfo& info, const std::string& text) {
  throw InputError(std::string(info.key), printable(text), fmt::format("not one of {}", fmt::join(info.choices, ", ")));
}

void read_text(const OptionInfo& info, const std::string& text, bool& value) {
  need(text == "on" || text == "off", info, text);
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
  std::vector<std::int32_t> read;
  for (const std::string& part : text == kNoLayers ? std::vector<std::string>() : split_list(text)) {
    const auto width = parse_number<std::int32_t>(part);
    need(width && in_range(info, *width), info, text);
    read.push_back(*width);
  }
  widths = std::move(read);
}

void read_text(const OptionInfo& info, const std::string& text, std::vector<ActivationKind>& activations) {
  std::vector<ActivationKind> read;
  for (const std::string& part : split_list(text)) {
    const std::optional<ActivationKind> kind = find_kind<ActivationKind>(part);
    if (!kind) {
      refuse_choice(info, text);
    }
    read.push_back(*kind);
  }
  activations = std::move(read);
}

void read_text(const OptionInfo& info, const std::string& text, DropoutRates& rates) {
  const std::vector<std::string> parts = split_list(text);
  const auto user = parse_number<double>(parts.front());
  const auto item = parse_number<double>(parts.back());
  need(parts.size() <= 2 && user && item && in_range(info, *user) && in_range(info, *item), info, text);
  rates = {*user, *item};
}

void read_text(const OptionInfo& info, const std::string& text, std::vector<FeatureDim>& dims) {
  std::vector<FeatureDim> read;
  for (const std::string& part : split_list(text)) {
    const auto [name, columns] = name_and_value(part);
    const auto number = parse_number<std::int32_t>(columns);
    const bool named_or_alone = part.find('=') == std::string::npos || !name.empty();
    need(number && in_range(info, *number) && named_or_alone, info, text);
    read.push_back({name, *number});
  }
  dims = std::move(read);
}

void read_text(const OptionInfo& info, const std::string& text, MfKernelOptions& kernel) {
  MfKernelOptions read;
  for (const std::string& part : split_list(text)) {
    const auto [name, value] = name_and_value(part);
    if (name == "reductions") {
      need(value == "vector" || value == "scalar", info, text);
      read.scalar_reductions = value == "scalar";
      continue;
    }
    const auto number = parse_number<std::int32_t>(value);
    std::int32_t* const member = name == "lanes"   ? &read.lanes
                                 : name == "ahead" ? &read.ahead
                                 : name == "split" ? &read.split
                                 : name == "hot"   ? &read.hot_items
                                                   : nullptr;
    // In the others 0 leaves the choice to the engine, which no text asks for.
    need(number && member != nullptr && (*number != 0 || name == "hot"), info, text);
    *member = *number;
  }
  need(is_sound(read), info, text);
  kernel = read;
}

void read_text(const OptionInfo& info, const std::string& text, std::vector<EnsemblePart>& ensemble) {
  std::vector<EnsemblePart> read;
  for (const std::string& part : split_list(text)) {
    const std::size_t colon = part.find(':');
    if (const auto members = parse_number<std::int32_t>(part)) {
      read.push_back({std::nullopt, *members});
      continue;
    }
    const std::optional<ModelKind> kind = find_kind<ModelKind>(part.substr(0, colon));
    const auto members =
        colon == std::string::npos ? std::optional(1) : parse_number<std::int32_t>(part.substr(colon + 1));
    need(kind && members, info, text);
    read.push_back({kind, *members});
  }
  need(is_sound(info, read), info, text);
  ensemble = std::move(read);
}

void set_option(TrainOptions& options, std::string_view key, const std::string& text) {
  const OptionInfo& wanted = find_option(key);
  visit_options(options, [&](auto& member, const OptionInfo& info) {
    if (info.key == wanted.key) {
      read_text(wanted, text, member);
    }
  });
}

void check_value(const OptionInfo& info, const std::vector<std::int32_t>& widths) {
  const bool sound = std::all_of(widths.begin(), widths.end(), [&](auto width) { return in_range(info, width); });
  need(sound, info, text_of(widths));
}

void check_value(const OptionInfo& info, const DropoutRates& rates) {
  need(in_range(info, rates.user) && in_range(info, rates.item), info, text_of(rates));
}

void check_value(const OptionInfo& info, const std::vector<FeatureDim>& dims) {
  const bool sound =
      std::all_of(dims.begin(), dims.end(), [&](const FeatureDim& dim) { return in_range(info, dim.columns); });
  need(sound, info, text_of(dims));
}

void check_value(const OptionInfo& info, const MfKernelOptions& kernel) {
  need(is_sound(kernel), info, text_of(kernel));
}

void check_value(const OptionInfo& info, const std::vector<EnsemblePart>& ensemble) {
  need(is_sound(info, ensemble), info, text_of(ensemble));
}

}  // namespace curate
