#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "curate/export.h"

namespace curate {

enum class OptionType : std::uint8_t {
  choice,   ///< one of `choices`
  choices,  ///< one of `choices` or several, with commas between them
  whole_number,
  number,
  on_or_off,
  text,
};

/// "choice", "list of choices", "whole number", "number", "on or off", "text".
CURATE_API const char* name_of(OptionType type);

/// Describes a training option. Other options are named by their keys in backticks.
struct CURATE_API OptionInfo {
  std::string_view key{};  ///< in config.toml and of InputError
  OptionType type = OptionType::text;
  std::vector<std::string_view> choices{};  ///< of a choice; else empty
  /// The least and the greatest number that is taken, of a text the same for the numbers in it.
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  std::string_view values{};                 ///< what is taken, in words, where values_of() has none by itself
  std::string_view unit{};                   ///< of a number that has one: "epochs"
  std::string_view by_default{};             ///< in words, with the models' differences: "mf 64, networks 32"
  std::string_view sentence{};               ///< what it does
  std::vector<std::string_view> examples{};  ///< values that are taken
};

/// All options that are set one by one, in the order of TrainOptions: what the command line, config.toml and the
/// documentation read. A preset, which sets several, is not among them.
CURATE_API const std::vector<OptionInfo>& option_table();

/// The option of that key. Throws InputError if there is none.
CURATE_API const OptionInfo& find_option(std::string_view key);

/// What an option takes, in words: its choices with commas between them, `values`, or "LEAST to MOST" of a number.
CURATE_API std::string values_of(const OptionInfo& option);

}  // namespace curate
