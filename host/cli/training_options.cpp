#include "cli/training_options.h"

#include <fmt/format.h>

namespace curate::cli {

std::string help_of(const OptionInfo& info) {
  const std::string values = info.type == OptionType::on_or_off ? "" : values_of(info) + "; ";
  return in_flags(fmt::format("{} ({}default: {})", info.sentence, values, info.by_default));
}

}  // namespace curate::cli
