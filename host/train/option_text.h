#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "curate/option_table.h"
#include "curate/options.h"

namespace curate {

// Values of options as text: "100,50,20" of layers, "sgd+adam" of an optimizer. What is read has the right form, and
// each number of a list is in its range; whether a training takes the value, resolve() says.

std::string text_of(bool value);  ///< "on" or "off"
std::string text_of(std::int32_t value);
std::string text_of(std::int64_t value);
std::string text_of(std::uint64_t value);
std::string text_of(double value);
std::string text_of(const std::string& value);
std::string text_of(const char* value) = delete;  // it would be taken for a bool
std::string text_of(const std::vector<std::int32_t>& widths);
std::string text_of(const std::vector<ActivationKind>& activations);
std::string text_of(const DropoutRates& rates);
std::string text_of(const std::vector<FeatureDim>& dims);
std::string text_of(const MfKernelOptions& kernel);
std::string text_of(const std::vector<EnsemblePart>& ensemble);
template <NamedKind Kind>
std::string text_of(Kind kind) {
  return std::string(name_of(kind));
}
/// Empty if there is none.
template <typename T>
std::string text_of(const std::optional<T>& value) {
  return value ? text_of(*value) : "";
}

/// All throw InputError that names the option and its remedy; the value is then as it was.
void read_text(const OptionInfo& info, const std::string& text, bool& value);
void read_text(const OptionInfo& info, const std::string& text, std::int32_t& value);
void read_text(const OptionInfo& info, const std::string& text, std::int64_t& value);
void read_text(const OptionInfo& info, const std::string& text, std::uint64_t& value);
void read_text(const OptionInfo& info, const std::string& text, double& value);
void read_text(const OptionInfo& info, const std::string& text, std::string& value);
void read_text(const OptionInfo& info, const std::string& text, std::vector<std::int32_t>& widths);
void read_text(const OptionInfo& info, const std::string& text, std::vector<ActivationKind>& activations);
void read_text(const OptionInfo& info, const std::string& text, DropoutRates& rates);
void read_text(const OptionInfo& info, const std::string& text, std::vector<FeatureDim>& dims);
void read_text(const OptionInfo& info, const std::string& text, MfKernelOptions& kernel);
void read_text(const OptionInfo& info, const std::string& text, std::vector<EnsemblePart>& ensemble);

/// "not one of mf, mlp, neumf".
[[noreturn]] void refuse_choice(const OptionInfo& info, const std::string& text);

template <NamedKind Kind>
void read_text(const OptionInfo& info, const std::string& text, Kind& value) {
  const std::optional<Kind> kind = find_kind<Kind>(text);
  if (!kind) {
    refuse_choice(info, text);
  }
  value = *kind;
}
template <typename T>
void read_text(const OptionInfo& info, const std::string& text, std::optional<T>& value) {
  T read{};
  read_text(info, text, read);
  value = std::move(read);
}

/// Sets the option of that key, as the command line does: set_option(options, "optimizer", "sgd+adam"). Throws
/// InputError for an unknown key too.
void set_option(TrainOptions& options, std::string_view key, const std::string& text);

/// Throw InputError for values that no training takes.
void check_value(const OptionInfo& info, const std::vector<std::int32_t>& widths);
void check_value(const OptionInfo& info, const DropoutRates& rates);
void check_value(const OptionInfo& info, const std::vector<FeatureDim>& dims);
void check_value(const OptionInfo& info, const MfKernelOptions& kernel);
void check_value(const OptionInfo& info, const std::vector<EnsemblePart>& ensemble);

}  // namespace curate
