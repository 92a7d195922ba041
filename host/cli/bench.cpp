#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "benchmark/benchmark.h"
#include "cli/commands.h"
#include "cli/device_options.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "cli/training_options.h"
#include "curate/dataset.h"
#include "curate/error.h"
#include "data/movielens_like.h"
#include "data/movielens_shape.h"
#include "device/device.h"
#include "report/benchmark_report.h"
#include "report/progress.h"
#include "report/svg_plot.h"
#include "support/atomic_file.h"
#include "support/json_text.h"

namespace curate::cli {
namespace {

struct BenchArguments {
  BenchmarkOptions options;
  std::string data;
  std::string devices;
  std::string models = "mf";
  std::string dims = "32,64,128";
  double target_rmse = 0.0;
  std::string like = "ml-20m";
  double scale = 0.0;
  ReadingArguments reading;
  bool json = false;
  std::string plot;
};

// With them the default run takes less than a minute on two cores, and networks do not take hours.
constexpr double kDefaultScale = 1.0;
constexpr double kDefaultScaleOfNetworks = 0.01;

void resolve_arguments(const CLI::App& app, BenchArguments& arguments) {
  BenchmarkOptions& options = arguments.options;
  options.models = parse_models(arguments.models);
  options.dims = parse_dims(arguments.dims);
  if (app.get_option("--device")->count() == 0) {
    arguments.devices = why_no_cuda().empty() ? "cpu,cuda" : "cpu";
  }
  options.devices = parse_devices(arguments.devices);
  if (app.get_option("--target-rmse")->count() > 0) {
    options.target_rmse = arguments.target_rmse;
  }
  for (const char* name : {"--like", "--scale"}) {
    if (!arguments.data.empty() && app.get_option(name)->count() > 0) {
      throw InputError(fmt::format("{} is for made-up data and goes without DATA; remove one of them", name));
    }
  }
  for (const char* name : {"--text-ids", "--no-cache"}) {
    if (arguments.data.empty() && app.get_option(name)->count() > 0) {
      throw InputError(fmt::format("{} is for files; give DATA as well, or remove it", name));
    }
  }
  if (app.get_option("--scale")->count() == 0) {
    const bool networks =
        std::find(options.models.begin(), options.models.end(), ModelKind::mlp) != options.models.end();
    arguments.scale = networks ? kDefaultScaleOfNetworks : kDefaultScale;
  }
  if (app.get_option("--plot")->count() > 0) {
    // Asked first: a minute of measuring should not end in a file that cannot be written.
    check_plot_place(arguments.plot);
  }
}

/// Fills `data` with what is said of the ratings.
Dataset load(const BenchArguments& arguments, BenchmarkData& data) {
  data.source = arguments.data;
  data.seed = arguments.options.seed;
  Dataset dataset;
  if (!arguments.data.empty()) {
    PhaseLine phases;
    ReadOptions how = read_options(arguments.reading, phases);
    how.threads = arguments.options.threads;
    how.timestamps = false;
    dataset = read_dataset(arguments.data, how);
    data.source = dataset.source;
  } else {
    MovielensLikeOptions like;
    like.like = arguments.like;
    like.scale = arguments.scale;
    like.seed = arguments.options.seed;
    data.source = "made up";
    data.like = like.like;
    data.scale = like.scale;
    LiveLine line;
    line.show("planting the model");
    SyntheticDataset made =
        generate_movielens_like(like, arguments.options.threads, false, [&](std::int64_t done, std::int64_t total) {
          const double fraction = static_cast<double>(done) / static_cast<double>(total);
          line.show(fmt::format("making up {} ratings {} {:3.0f} %", grouped(total), progress_bar(fraction, 30),
                                100.0 * fraction));
        });
    dataset = std::move(made.dataset);
    data.best_rmse = made.best_rmse;
  }
  data.ratings = dataset.ratings.size();
  data.users = dataset.users.size();
  data.items = dataset.items.size();
  return dataset;
}

std::string progress_text(const BenchmarkProgress& at, std::int32_t rounds) {
  const BenchmarkRow& row = *at.row;
  const std::string phase =
      at.epoch > 0 ? fmt::format("epoch {} of {}", at.epoch, row.options.epochs.value()) : at.phase;
  return fmt::format("{} {:3.0f} %  round {} of {}, {} dim {} on {}: {}", progress_bar(at.done, 30), 100.0 * at.done,
                     at.round, rounds, row.model(), row.dim(), row.device, phase);
}

void run_bench(const CLI::App& app, BenchArguments& arguments) {
  resolve_arguments(app, arguments);
  const BenchmarkOptions& options = arguments.options;
  // Devices that are missing are better known before the data are read.
  const std::vector<BenchmarkDevice> devices = find_devices(options.devices, options.threads);
  const bool gpu = std::any_of(devices.begin(), devices.end(), [](const BenchmarkDevice& device) {
    return !device.absent.empty() || device.opened->has_own_memory();
  });
  for (const char* name : {"--precision", "--sgd-kernel"}) {
    if (!gpu && app.get_option(name)->count() > 0) {
      throw InputError(fmt::format("{} is for GPUs; give --device cuda as well, or remove it", name));
    }
  }
  benchmark_rows(options, devices);
  if (arguments.data.empty()) {
    movielens_shape(arguments.like, arguments.scale);
  }
  BenchmarkData data;
  const Dataset dataset = load(arguments, data);
  check_benchmark_data(dataset);
  if (!arguments.json) {
    fmt::print("{}\n", benchmark_head(options, data));
    std::fflush(stdout);
  }
  LiveLine line;
  const BenchmarkResult result = run_benchmark(
      options, devices, dataset, [&](const BenchmarkProgress& at) { line.show(progress_text(at, options.rounds)); });
  line.clear();
  if (!arguments.plot.empty()) {
    write_file_atomically(arguments.plot, svg_plot(benchmark_plot(options, data, result)));
  }
  if (arguments.json) {
    fmt::print("{}", json_text(benchmark_json(options, data, result)));
    return;
  }
  fmt::print("{}", benchmark_tables(result));
  if (!arguments.plot.empty()) {
    fmt::print("plot written to {}\n", arguments.plot);
  }
}

}  // namespace

Command add_bench(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "bench", "measure the speed of training beside what the machine could do, and the time to an RMSE");
  const auto arguments = std::make_shared<BenchArguments>();
  BenchmarkOptions& options = arguments->options;
  app->add_option("data", arguments->data,
                  "MovieLens folder, or a file of user, item, rating (default: ratings are made up in memory)");
  app->add_option("--device", arguments->devices,
                  "cpu, cuda or both: cpu,cuda (default: cpu, and cuda if it works here)");
  add_debug_device(*app);
  app->add_option("--model", arguments->models, "mf, mlp or both: mf,mlp")->capture_default_str();
  app->add_option("--dim", arguments->dims, "factors per user and item, like 32,64,128")->capture_default_str();
  app->add_option("--epochs", options.epochs, "epochs of a training, 2 or more (default: mf 20, mlp 25)")
      ->transform(whole_number<std::int32_t>);
  app->add_option("--rounds", options.rounds, "trainings of each configuration, which take turns")
      ->transform(whole_number<std::int32_t>)
      ->capture_default_str();
  app->add_option("--threads", options.threads, "CPU threads; 0: all cores")
      ->transform(whole_number<std::int32_t>)
      ->capture_default_str();
  app->add_option("--target-rmse", arguments->target_rmse,
                  "RMSE to take the time to (default: for each model the highest of its rows' best RMSEs)");
  app->add_option("--seed", options.seed, "seed of every random number")
      ->transform(whole_number<std::uint64_t>)
      ->capture_default_str();
  app->add_flag("--biases,!--no-biases", options.biases, "mf: user and item biases (default: on)");
  add_training_option(*app, options.precision, find_option("precision"));
  add_training_option(*app, options.sgd_kernel, find_option("sgd_kernel"));
  app->add_option(
         "--like", arguments->like,
         fmt::format("made-up data: the release whose shape they have: {}", fmt::join(movielens_shape_names(), ", ")))
      ->capture_default_str();
  app->add_option("--scale", arguments->scale,
                  fmt::format("made-up data: part of its users and ratings, 0.01 to 1 (default: {}, with mlp {})",
                              kDefaultScale, kDefaultScaleOfNetworks));
  add_reading_options(*app, arguments->reading);
  app->add_flag("--json", arguments->json, "all of it as one JSON object");
  app->add_option("--plot", arguments->plot, "write a picture (SVG) of speed and learning curves");
  app->footer(
      "Work that is counted, per rating: mf 8 dim + 8 (biases) + 4 bytes: row and bias of the item read and written,\n"
      "the rating read. mlp 6 x the sum of inputs x outputs of the dense layers: operations forward and backward.");
  return {app, [app, arguments](const Reparse& /*reparse*/) { run_bench(*app, *arguments); }};
}

}  // namespace curate::cli
