#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace curate::cli {

/// Parses the command line again from the start, so that what is written on it wins over what a handler has filled the
/// options with in between (a preset, a config file).
using Reparse = std::function<void()>;

/// Each adds a subcommand and returns what runs it after parsing.
struct Command {
  CLI::App* app;
  std::function<void(const Reparse&)> run;
};

Command add_train(CLI::App& root);
Command add_evaluate(CLI::App& root);
Command add_predict(CLI::App& root);
Command add_data_inspect(CLI::App& data);
Command add_data_generate(CLI::App& data);
Command add_doctor(CLI::App& root);

}  // namespace curate::cli
