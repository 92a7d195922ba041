#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/commands.h"
#include "cli/device_options.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "curate/error.h"
#include "curate/predictor.h"
#include "runs/run_data.h"
#include "support/file_set.h"
#include "support/json_text.h"
#include "train/metrics_json.h"

namespace curate::cli {
namespace {

struct EvaluateArguments {
  std::string run;
  std::string data;
  std::string rating_range;
  ReadingArguments reading;
  ComputeOptions compute;
  bool json = false;
};

/// The model and, where it is asked for, the configuration that it was trained by.
std::pair<Model, RunConfig> load_run(const std::string& run, const std::string& config_path, bool configured) {
  return read_set(run, "config.toml", [&] {
    Model model = Model::load(run);
    return std::pair(std::move(model), configured ? read_config(config_path) : RunConfig());
  });
}

void run_evaluate(const EvaluateArguments& arguments) {
  const std::string config_path = arguments.run + "/config.toml";
  auto [model, config] = load_run(arguments.run, config_path, arguments.data.empty());
  PhaseLine line;
  RatingTable ratings;
  std::string source;
  if (arguments.data.empty()) {
    // The same reading and splitting as in training, so the same test ratings.
    config.options.features.clear();  // the model has them
    source = config.test.empty() ? config.data : config.test;
    try {
      const RunData data = load_run_data(config, read_options(arguments.reading, line));
      if (!data.test) {
        throw InputError("trained without a test part; give --data FILE");
      }
      ratings = model.translate(data.dataset, *data.test);
    } catch (const InputError& error) {
      // The option stands in the file, and `evaluate` has no flag for it.
      throw InputError(fmt::format("{}: {}", config_path, message_in_config(error)));
    }
  } else {
    config.data = arguments.data;
    config.split = "none";
    config.rating_range = arguments.rating_range;
    config.text_ids = arguments.reading.text_ids || !model.parts().users.numbers() || !model.parts().items.numbers();
    const RunData data = load_run_data(config, read_options(arguments.reading, line));
    ratings = model.translate(data.dataset, data.train);
    source = arguments.data;
  }
  line.clear();
  const Metrics metrics = Predictor(model, arguments.compute).evaluate(ratings);
  if (arguments.json) {
    nlohmann::ordered_json json;
    json["run"] = arguments.run;
    json["data"] = source;
    json["test"] = to_json(metrics);
    fmt::print("{}", json_text(json));
  } else {
    fmt::print("{}", metrics_table({{"test", metrics}}));
  }
}

}  // namespace

Command add_evaluate(CLI::App& root) {
  CLI::App* app = root.add_subcommand("evaluate", "errors of a trained model on its test part, or on other ratings");
  const auto arguments = std::make_shared<EvaluateArguments>();
  app->add_option("run", arguments->run, "run directory of curate train")->required();
  app->add_option("--data", arguments->data, "ratings to evaluate on (default: the run's test part)");
  app->add_option("--rating-range", arguments->rating_range, "MIN:MAX; ratings in --data outside are an error");
  app->add_option("--device", arguments->compute.device, "auto, cpu, cuda, or cuda:N for the GPU numbered N")
      ->capture_default_str();
  add_debug_device(*app);
  app->add_option("--threads", arguments->compute.threads, "CPU threads; 0: all cores")
      ->transform(whole_number<std::int32_t>)
      ->capture_default_str();
  add_reading_options(*app, arguments->reading);
  app->add_flag("--json", arguments->json, "metrics as JSON");
  return {app, [arguments](const Reparse& /*reparse*/) { run_evaluate(*arguments); }};
}

}  // namespace curate::cli
