#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "curate/option_table.h"
#include "curate/options.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {

/// Sets an option as the command line does: set_option(options, "optimizer", "sgd+adam"). With "" it is as if it had
/// not been given.
inline void set_option(TrainOptions& options, std::string_view key, const std::string& text) {
  const OptionInfo& wanted = find_option(key);
  const TrainOptions defaults;
  visit_options(options, [&](auto& member, const OptionInfo& info) {
    if (info.key != key) {
      return;
    }
    if (!text.empty()) {
      read_text(wanted, text, member);
      return;
    }
    visit_options(defaults, [&](const auto& by_default, const OptionInfo& other) {
      if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::decay_t<decltype(by_default)>>) {
        if (other.key == key) {
          member = by_default;
        }
      }
    });
  });
}

}  // namespace curate
