#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "curate/options.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate::test {

/// set_option(); with "" the option is as if it had not been given.
inline void set_or_clear(TrainOptions& options, std::string_view key, const std::string& text) {
  if (!text.empty()) {
    set_option(options, key, text);
    return;
  }
  const TrainOptions defaults;
  visit_options(options, [&](auto& member, const OptionInfo& info) {
    visit_options(defaults, [&](const auto& by_default, const OptionInfo& other) {
      if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::decay_t<decltype(by_default)>>) {
        if (info.key == key && other.key == key) {
          member = by_default;
        }
      }
    });
  });
}

}  // namespace curate::test
