#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <new>
#include <vector>

#include "cli/commands.h"
#include "curate/error.h"

namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

int run(int argc, char** argv) {
  CLI::App app("cuRate: trains rating-prediction recommenders and predicts with them");
  app.name("curate");
  app.set_version_flag("--version", CURATE_VERSION);
  app.require_subcommand(1);
  std::vector<curate::cli::Command> commands;
  commands.push_back(curate::cli::add_train(app));
  commands.push_back(curate::cli::add_evaluate(app));
  commands.push_back(curate::cli::add_predict(app));
  CLI::App* data = app.add_subcommand("data", "look at data sets, or make one up");
  data->require_subcommand(1);
  commands.push_back(curate::cli::add_data_inspect(*data));
  commands.push_back(curate::cli::add_data_generate(*data));
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
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const curate::InputError& error) {
    fmt::print(stderr, "curate: {}\n", error.what());
    return kBadInput;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "curate: out of memory; use a smaller --dim or --batch, or a machine with more memory\n");
    return kFailed;
  } catch (const std::exception& error) {
    fmt::print(stderr, "curate: {}\n", error.what());
    return kFailed;
  }
}
