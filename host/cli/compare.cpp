#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "cli/commands.h"
#include "cli/output.h"
#include "report/compare_runs.h"
#include "report/svg_plot.h"
#include "support/atomic_file.h"
#include "support/json_text.h"

namespace curate::cli {
namespace {

struct CompareArguments {
  std::vector<std::string> runs;
  std::string sort;
  std::string plot;
  bool json = false;
};

/// Characters in a line of standard output; 0 if it is no terminal. COLUMNS overrides, if it is set.
std::size_t output_width() {
  const char* columns = std::getenv("COLUMNS");
  const std::string_view text = columns == nullptr ? "" : columns;
  std::size_t width = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), width);
  if (error == std::errc() && end == text.data() + text.size() && width > 0) {
    return width;
  }
  struct winsize size {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void run_compare(const CLI::App& app, const CompareArguments& arguments) {
  const bool plot = app.get_option("--plot")->count() > 0;
  if (plot) {
    check_plot_place(arguments.plot);
  }
  const RunComparison comparison = compare_runs(arguments.runs, arguments.sort);
  if (plot) {
    write_file_atomically(arguments.plot, svg_plot(comparison_plot(comparison)));
  }
  if (arguments.json) {
    fmt::print("{}", json_text(comparison_json(comparison)));
    return;
  }
  fmt::print("{}", comparison_table(comparison, {output_width(), ::isatty(STDOUT_FILENO) == 1}));
  if (plot) {
    fmt::print("plot written to {}\n", arguments.plot);
  }
}

}  // namespace

Command add_compare(CLI::App& root) {
  CLI::App* app = root.add_subcommand("compare", "options and errors of trained runs side by side, and their curves");
  const auto arguments = std::make_shared<CompareArguments>();
  app->add_option("runs", arguments->runs, "run directories of curate train, or folders with run directories in them")
      ->required();
  app->add_option("--sort", arguments->sort,
                  fmt::format("lowest first: {} (default: test-rmse, or validation-rmse if no run has a test part)",
                              fmt::join(comparison_sort_names(), ", ")));
  app->add_option("--plot", arguments->plot, "write a picture (SVG) of the learning curves");
  app->add_flag("--json", arguments->json, "all of it as one JSON object, every epoch included");
  return {app, [app, arguments](const Reparse& /*reparse*/) { run_compare(*app, *arguments); }};
}

}  // namespace curate::cli
