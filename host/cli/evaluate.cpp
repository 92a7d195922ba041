#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/device_options.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "curate/error.h"
#include "curate/predictor.h"
#include "support/json_text.h"
#include "train/metrics_json.h"
#include "train/run_directory.h"

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

void run_evaluate(const EvaluateArguments& arguments) {
  const Model model = Model::load(arguments.run);
  PhaseLine line;
  RatingTable ratings;
  std::string source;
  if (arguments.data.empty()) {
    // The same reading and splitting as in training, so the same test ratings.
    const std::string config_path = arguments.run + "/config.toml";
    RunConfig config = read_config(config_path);
    config.options.features.clear();  // the model has them
    source = config.test.empty() ? config.data : config.test;
    try {
      const RunData data = load_run_data(config, read_options(arguments.reading, line));
      if (!data.test) {
        throw InputError("trained without a test part; give --data FILE");
      }
      ratings = model.translate(data.dataset, *data.test);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}: {}", config_path, error.what()));
    }
  } else {
    RunConfig config;
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
