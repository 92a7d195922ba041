#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <functional>
#include <string>
#include <system_error>

namespace curate::cli {

/// Parses the command line again from the start. What stands there then wins over what a handler has filled the options
/// with in between (a preset, a config file).
using Reparse = std::function<void()>;

/// For Option::transform. Checks that the text is a whole number of type T and rewrites it in plain decimal: CLI11
/// itself takes 010 for 8 and clamps what does not fit.
template <typename T>
std::string whole_number(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end) {
    throw CLI::ValidationError("'" + text + "' is not a whole number that fits");
  }
  return std::to_string(value);
}

/// Each adds a subcommand and returns what runs it after parsing.
struct Command {
  CLI::App* app;
  std::function<void(const Reparse&)> run;
};

Command add_train(CLI::App& root);
Command add_evaluate(CLI::App& root);
Command add_predict(CLI::App& root);
Command add_compare(CLI::App& root);
Command add_bench(CLI::App& root);
Command add_data_inspect(CLI::App& data);
Command add_data_generate(CLI::App& data);
Command add_data_convert(CLI::App& data);
Command add_data_split(CLI::App& data);
Command add_options(CLI::App& root);
Command add_doctor(CLI::App& root);

}  // namespace curate::cli
