#include "curate/option_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "curate/error.h"
#include "support/printable.h"
#include "train/option_visit.h"

namespace curate {

const char* name_of(OptionType type) {
  switch (type) {
    case OptionType::choice:
      return "choice";
    case OptionType::choices:
      return "list of choices";
    case OptionType::whole_number:
      return "whole number";
    case OptionType::number:
      return "number";
    case OptionType::on_or_off:
      return "on or off";
    case OptionType::text:
      break;
  }
  return "text";
}

const std::vector<OptionInfo>& option_table() {
  static const std::vector<OptionInfo> table = [] {
    std::vector<OptionInfo> all;
    TrainOptions options;
    visit_options(options, [&](const auto& /*member*/, const OptionInfo& info) { all.push_back(info); });
    return all;
  }();
  return table;
}

const OptionInfo& find_option(std::string_view key) {
  const std::vector<OptionInfo>& table = option_table();
  const auto found = std::find_if(table.begin(), table.end(), [&](const OptionInfo& info) { return info.key == key; });
  if (found == table.end()) {
    throw InputError(fmt::format("no option is called {}; `curate options` lists them", printable(std::string(key))));
  }
  return *found;
}

std::string values_of(const OptionInfo& option) {
  switch (option.type) {
    case OptionType::choice:
      return fmt::format("{}", fmt::join(option.choices, ", "));
    case OptionType::choices:
      return fmt::format("{}, one or several with commas between them", fmt::join(option.choices, ", "));
    case OptionType::on_or_off:
      return "on or off";
    case OptionType::whole_number:
    case OptionType::number:
      return option.values.empty() ? fmt::format("{} to {}", option.least, option.most) : std::string(option.values);
    case OptionType::text:
      break;
  }
  return std::string(option.values);
}

}  // namespace curate
