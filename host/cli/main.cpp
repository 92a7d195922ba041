#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/flags.h"
#include "curate/error.h"

namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

/// The message as one line, with flags for options: names of files may hold line ends and other control characters.
void print_error(const std::string& message) {
  std::string line;
  for (const char c : curate::cli::in_flags(message)) {
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  fmt::print(stderr, "curate: {}\n", line);
}

int run(int argc, char** argv) {
  CLI::App app("cuRate: trains rating-prediction recommenders and predicts with them");
  app.name("curate");
  app.set_version_flag("--version", CURATE_VERSION);
  app.require_subcommand(1);
  std::vector<curate::cli::Command> commands;
  commands.push_back(curate::cli::add_train(app));
  commands.push_back(curate::cli::add_evaluate(app));
  commands.push_back(curate::cli::add_predict(app));
  commands.push_back(curate::cli::add_compare(app));
  commands.push_back(curate::cli::add_bench(app));
  CLI::App* data = app.add_subcommand("data", "look at data sets, convert or split them, or make one up");
  data->require_subcommand(1);
  commands.push_back(curate::cli::add_data_inspect(*data));
  commands.push_back(curate::cli::add_data_generate(*data));
  commands.push_back(curate::cli::add_data_convert(*data));
  commands.push_back(curate::cli::add_data_split(*data));
  commands.push_back(curate::cli::add_options(app));
  commands.push_back(curate::cli::add_doctor(app));
  const auto parse = [&] { app.parse(argc, argv); };
  try {
    parse();
  } catch (const CLI::ParseError& error) {
    // Help and version are not errors.
    const int code = app.exit(error);
    return code == 0 ? 0 : kBadInput;
  }
  for (const curate::cli::Command& command : commands) {
    if (command.app->parsed()) {
      command.run(parse);
    }
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw curate::Error("standard output: cannot write the results; give a place with room for them");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const curate::InputError& error) {
    print_error(error.what());
    return kBadInput;
  } catch (const curate::AsyncDeviceError& error) {
    print_error(fmt::format("{}; an operation before this one failed: the same command with --debug-device names it",
                            error.what()));
    return kFailed;
  } catch (const std::bad_alloc&) {
    print_error("out of memory; ask for less (factors, batch, users, items, ratings), or use a larger machine");
    return kFailed;
  } catch (const std::exception& error) {
    print_error(error.what());
    return kFailed;
  }
}
