#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "cli/flags.h"
#include "curate/error.h"
#include "curate/option_table.h"
#include "train/option_text.h"

namespace curate::cli {

/// What an option does, what it takes, and its default: "passes over ... (1 or more; default: mf 20, networks 25)".
std::string help_of(const OptionInfo& info);

/// Adds the flag of a training option that sets `member`, which has to outlive the application.
template <typename T>
void add_training_option(CLI::App& app, T& member, const OptionInfo& info) {
  const std::string flag = flag_of(info.key);
  if constexpr (std::is_same_v<T, bool>) {
    app.add_flag(flag + ",!--no-" + flag.substr(2), member, help_of(info));
  } else {
    app.add_option_function<std::string>(
           flag,
           [&member, key = std::string(info.key), flag](const std::string& text) {
             if (text.empty()) {
               throw InputError(flag + " without a value: give one, or leave it out");
             }
             read_text(find_option(key), text, member);
           },
           help_of(info))
        ->type_name(info.type == OptionType::whole_number ? "INT"
                    : info.type == OptionType::number     ? "FLOAT"
                                                          : "TEXT");
  }
}

}  // namespace curate::cli
