#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "cli/baseline_rows.h"
#include "cli/commands.h"
#include "cli/device_options.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "cli/tails.h"
#include "cli/training_options.h"
#include "curate/error.h"
#include "data/feature_request.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "recommend/predictor.h"
#include "report/progress.h"
#include "runs/run_data.h"
#include "runs/run_directory.h"
#include "runs/run_metrics.h"
#include "support/json_text.h"
#include "support/printable.h"
#include "train/baseline.h"
#include "train/ensemble.h"
#include "train/memory_estimate.h"
#include "train/metrics_json.h"
#include "train/option_visit.h"

namespace curate::cli {
namespace {

constexpr const char* kDefaultSplit = "random:0.1";

struct TrainArguments {
  RunConfig config;
  std::string config_file;
  std::string out;
  bool overwrite = false;
  bool json = false;
  bool quiet = false;
  ReadingArguments reading;
};

std::string absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

/// --features with absolute paths for its files, so that config.toml is good everywhere. Throws InputError.
std::string absolute_files(const std::string& features) {
  if (features.empty()) {
    return features;
  }
  std::string all;
  for (FeatureRequest& request : parse_feature_requests(features)) {
    request.file = absolute(request.file);
    if (request.file.find(',') != std::string::npos) {
      throw InputError(fmt::format("--features {}: {} has a comma, which separates features; use a path without one",
                                   printable(features), request.file));
    }
    all += all.empty() ? "" : ",";
    all += request.text();
  }
  return all;
}

/// The options of the model, or of the first member of every kind of an ensemble.
std::vector<TrainOptions> one_of_each_kind(const TrainOptions& resolved) {
  if (resolved.ensemble.empty()) {
    return {resolved};
  }
  std::vector<TrainOptions> kinds;
  for (TrainOptions& member : member_options(resolved)) {
    if (kinds.empty() || kinds.back().model != member.model) {
      kinds.push_back(std::move(member));
    }
  }
  return kinds;
}

/// Fills the configuration by rank: defaults, preset, config file, command line. Gives the device that the command
/// works on: what is wrong with it is better known before the data are read.
std::unique_ptr<Device> resolve_arguments(TrainArguments& arguments, const Reparse& reparse) {
  const std::string preset = arguments.config.options.preset;
  const std::string config_file = arguments.config_file;
  if (!preset.empty() || !config_file.empty()) {
    RunConfig base;
    base.options = preset_options(preset);
    arguments.config = config_file.empty() ? base : read_config(config_file, base);
    const RunConfig before = arguments.config;
    // A test part asked for on the command line replaces the file's, of whichever kind the two are.
    arguments.config.test.clear();
    arguments.config.split.clear();
    arguments.config.folds = 0;
    arguments.config.fold = 0;
    reparse();
    const RunConfig& now = arguments.config;
    if (now.test.empty() && now.split.empty() && now.folds == 0) {
      arguments.config.test = before.test;
      arguments.config.split = before.split;
      arguments.config.folds = before.folds;
      arguments.config.fold = before.fold;
    }
  }
  RunConfig& config = arguments.config;
  if (config.data.empty()) {
    throw InputError("no data: curate train DATA, with a MovieLens folder or a ratings file");
  }
  if (!config.test.empty() && !config.split.empty()) {
    throw InputError("--test and --split exclude each other; give one of them");
  }
  if (config.folds != 0 && (!config.test.empty() || !config.split.empty())) {
    throw InputError("--folds goes without --test and --split: every fold is a test part in turn");
  }
  if (config.folds < 0 || config.folds == 1) {
    throw InputError(fmt::format("--folds {}: must be 2 or more", config.folds));
  }
  if (config.test.empty() && config.split.empty() && config.folds == 0) {
    config.split = kDefaultSplit;
  }
  config.data = absolute(config.data);
  config.test = absolute(config.test);
  config.options.features = absolute_files(config.options.features);
  config.options = resolve(config.options);
  to_toml(config);  // throws for a path that it cannot hold
  std::unique_ptr<Device> device = make_device(config.options.device, config.options.threads);
  config.options.device = device->info().name;  // "auto" no more
  for (const TrainOptions& one : one_of_each_kind(config.options)) {
    check_device(*device, one);
  }
  return device;
}

std::string describe_layers(const TrainOptions& options) {
  if (options.layers->empty()) {
    return "no hidden layer";
  }
  return fmt::format("layers {} {}", text_of(options.layers), text_of(options.activations));
}

std::string describe_dropout(const TrainOptions& options) {
  std::string text;
  if (options.dropout != DropoutRates()) {
    text += fmt::format(", dropout {}", text_of(options.dropout));
  }
  if (options.dense_dropout > 0.0) {
    text += fmt::format(", dense dropout {:.3g}", *options.dense_dropout);
  }
  return text;
}

std::string describe_features(const TrainOptions& options, const std::vector<Feature>& features) {
  const std::vector<std::int64_t> dims = feature_dims(options, sources_of(features));
  std::string text;
  for (std::size_t f = 0; f < features.size(); ++f) {
    // The first value is "unknown".
    text += fmt::format("{}{} {} ({} {}, {} columns)", f == 0 ? "" : ", ", name_of(features[f].side), features[f].name,
                        features[f].values.size() - 1, features[f].kind == FeatureKind::number ? "buckets" : "values",
                        dims[f]);
  }
  return text;
}

/// A model, or the members of an ensemble that are of its kind.
void describe_model(const TrainOptions& options) {
  if (is_network(options.model)) {
    fmt::print(stderr, "model     {}, {}embeddings {} + {}, {}, output {}{}\n", name_of(options.model),
               options.factors           ? fmt::format("{} factors, ", *options.factors)
               : options.product == true ? "their product and layers of "
                                         : "",
               *options.user_dim, *options.item_dim, describe_layers(options), text_of(options.output),
               describe_dropout(options));
  } else {
    fmt::print(stderr, "model     mf, {} factors{}{}\n", *options.dim, options.biases ? ", biases" : "",
               options.non_negative ? ", non-negative" : "");
  }
}

void describe_training(const TrainOptions& options) {
  fmt::print(
      stderr, "training  {}, {} loss, batch {}, learning rate {:.3g} {}{}{}, L2 {:.3g}{}; seed {}\n",
      text_of(options.optimizer), name_of(options.loss), *options.batch, *options.learning_rate,
      name_of(options.schedule), options.warmup > 0.0 ? fmt::format(", warm-up {:.3g} epochs", options.warmup) : "",
      options.damping > 0.0 ? fmt::format(", damping {:.3g}", *options.damping) : "", *options.reg,
      options.weight_decay > 0.0 ? fmt::format(", weight decay {:.3g}", options.weight_decay) : "", options.seed);
}

void describe(const RunConfig& config, const RunData& data, const Device& device) {
  const Dataset& dataset = data.dataset;
  const TrainOptions& options = config.options;
  fmt::print(stderr, "data      {} ({}): {} ratings, {} users, {} items\n", dataset.source,
             dataset.layout + (dataset.from_cache ? ", from its cache" : ""), grouped(data.ratings),
             grouped(dataset.users.size()), grouped(dataset.items.size()));
  if (dataset.duplicates > 0) {
    fmt::print(stderr, "          {} repeated ratings of the same user and item dropped, the latest kept\n",
               grouped(dataset.duplicates));
  }
  const std::string test_source = !config.test.empty() ? config.test
                                  : config.fold > 0    ? fmt::format("fold {} of {}", config.fold, config.folds)
                                                       : config.split;
  fmt::print(stderr, "parts     {} to train on", grouped(data.train.size()));
  if (data.test) {
    fmt::print(stderr, ", {} to test on ({})", grouped(data.test->size()), test_source);
  }
  if (options.model == ModelKind::bias) {
    fmt::print(stderr, "; {:.3g} % of the training part held out to validate on\n", 100.0 * options.validation);
    fmt::print(stderr, "model     bias, solved with ridges that the ratings say\ndevice    {}\n",
               device.info().description);
    return;
  }
  fmt::print(stderr, "; {:.3g} % of the training part held out to choose the epoch\n", 100.0 * options.validation);
  if (!options.ensemble.empty()) {
    fmt::print(stderr, "ensemble  {}: the mean of {} members' predictions\n", text_of(options.ensemble),
               member_options(options).size());
  }
  for (const TrainOptions& one : one_of_each_kind(options)) {
    describe_model(one);
    if (!dataset.features.empty()) {
      fmt::print(stderr, "features  {}\n", describe_features(one, dataset.features));
    }
    describe_training(one);
  }
  fmt::print(stderr, "device    {}\n", device.info().description);
}

/// Unless logarithms are learnt already.
void warn_of_tails(const TrainArguments& arguments, const RunData& data) {
  if (data.tails && !arguments.quiet && arguments.config.options.transform == TransformKind::none) {
    fmt::print(stderr, "{}\n", warning_of(*data.tails, place_of(data.dataset, *data.tails)));
  }
}

/// Of a device that has memory of its own: what training needs of it, about. Throws InputError where it has less.
std::string plan_memory(const TrainOptions& options, const RunData& data, Device& device) {
  if (!device.has_own_memory()) {
    return "";
  }
  const auto memory = static_cast<std::int64_t>(device.info().memory_bytes);
  const Dataset& dataset = data.dataset;
  const std::unique_ptr<MeasuringDevice> measuring = device.make_measuring();
  const std::int64_t needed =
      estimate_memory(*measuring, options,
                      {dataset.users.size(), dataset.items.size(), data.train.size(), dataset.scale,
                       sources_of(dataset.features), data.train.has_timestamps()})
          .device_bytes();
  if (needed > memory) {
    throw InputError(fmt::format(
        "--device {}: training needs about {} of the GPU's memory, which has {}; give a smaller {}, or --device cpu",
        options.device, short_bytes(needed), short_bytes(memory),
        std::string(is_network(options.model) ? "--batch, --user-dim or --item-dim" : "--dim or --batch") +
            (options.ensemble.empty() ? "" : ", fewer members in --ensemble")));
  }
  return fmt::format("about {} of {}", short_bytes(needed), short_bytes(memory));
}

/// A few test ratings beside their predictions, where titles are known.
void show_samples(const RunData& data, const Predictor& predictor) {
  constexpr std::int64_t kSamples = 5;
  if (!data.test || data.test->size() < kSamples) {
    return;
  }
  const RatingTable& test = *data.test;
  std::vector<RawPair> pairs;
  std::vector<std::size_t> rows;
  for (std::int64_t s = 0; s < kSamples; ++s) {
    const auto row = static_cast<std::size_t>((2 * s + 1) * test.size() / (2 * kSamples));
    rows.push_back(row);
    pairs.push_back({data.dataset.users.id(test.users[row]), data.dataset.items.id(test.items[row])});
  }
  const std::vector<Prediction> predictions = predictor.predict(pairs);
  fmt::print(stderr, "\nA few test ratings and their predictions:\n");
  for (std::size_t s = 0; s < rows.size(); ++s) {
    const std::string& title = data.dataset.title(test.items[rows[s]]);
    fmt::print(stderr, "  user {:<6} rated {:.1f}, predicted {:.2f}  {}\n", pairs[s].user.text(), test.ratings[rows[s]],
               predictions[s].rating, title.empty() ? fmt::format("item {}", pairs[s].item.text()) : title);
  }
}

/// What was done about it, and what to try: of what was really given.
std::string describe_divergence(const Divergence& divergence, const TrainOptions& options) {
  const char* const rmse = options.transform == TransformKind::log ? "RMSE of logarithms" : "RMSE";
  const std::string what = divergence.kind == DivergenceKind::not_finite ? "its error is not finite"
                           : divergence.kind == DivergenceKind::grew
                               ? fmt::format("its {} is {:.4g}, above {:.4g}", rmse, divergence.rmse, divergence.limit)
                               : fmt::format("its best validation {} is {:.4g}, that of its start {:.4g}", rmse,
                                             divergence.rmse, divergence.limit);
  const std::string whose = divergence.member > 0 ? fmt::format(" of member {}", divergence.member) : "";
  const std::string text = fmt::format("warning: training{} diverged in epoch {} at learning rate {:.3g}: {}", whose,
                                       divergence.epoch, divergence.learning_rate, what);
  if (divergence.next_rate) {
    return fmt::format("{}; it starts over at {:.3g}", text, *divergence.next_rate);
  }
  return fmt::format(
      "{}; it is given up. Try an --lr below {:.3g}{}", text, divergence.learning_rate,
      options.units == UnitsKind::raw ? ", or --units spread" : fmt::format(", or a --reg above {:.3g}", *options.reg));
}

/// What an ensemble gains over its members.
std::string describe_members(const TrainResult& result) {
  std::string text;
  if (result.validation) {
    double sum = 0.0;
    for (const MemberResult& member : result.members) {
      sum += member.validation->rmse;
    }
    text =
        fmt::format("Validation RMSE of the {} members: {:.4f} on average; of their mean: {:.4f}.",
                    result.members.size(), sum / static_cast<double>(result.members.size()), result.validation->rmse);
  }
  if (result.refit) {
    text += "\nKept their second trainings, on all training ratings.";
  }
  return text;
}

std::string describe_choice(const TrainResult& result) {
  if (!result.members.empty()) {
    return describe_members(result);
  }
  if (result.best_epoch == 0) {
    return "No epoch was clearly better than the bias model, or the mean in place of it: that is kept.";
  }
  if (result.refit) {
    return fmt::format("Kept the second training, on all training ratings: {} epoch{}.", result.refit->history.size(),
                       result.refit->history.size() == 1 ? "" : "s");
  }
  if (result.validation) {
    return fmt::format("Kept epoch {} of {}: lowest validation RMSE{}.", result.best_epoch, result.history.size(),
                       result.validation->log_rmse ? " of logarithms" : "");
  }
  return "";
}

/// What is told on standard error while models are trained: phases, a table for each training, and what went wrong.
class TrainingProgress {
 public:
  TrainingProgress(const TrainOptions& options, PhaseLine& phases, bool quiet)
      : running_(options), phases_(&phases), quiet_(quiet) {
    start_table(options.epochs.value_or(1));
  }

  /// It has to outlive them.
  TrainEvents events() {
    TrainEvents events;
    events.on_divergence = [this](const Divergence& divergence) { tell_divergence(divergence); };
    events.on_member = [this](std::int32_t member, std::int32_t members, const TrainOptions& options) {
      begin_member(member, members, options);
    };
    if (quiet_) {
      return events;
    }
    events.on_epoch = [this](const EpochRecord& record) { table_->on_epoch(record); };
    events.on_refit = [this](std::int32_t epochs) { begin_refit(epochs); };
    events.on_phase = [this](const char* phase) {
      table_->finish();
      phases_->show(phase);
    };
    events.on_progress = [this](std::int32_t epoch, std::int64_t done, std::int64_t total) {
      table_->on_progress(epoch, done, total);
    };
    return events;
  }

  void finish() { table_->finish(); }

 private:
  void start_table(std::int32_t epochs) {
    epochs_ = epochs;
    table_.emplace(epochs);
  }

  void begin_member(std::int32_t member, std::int32_t members, const TrainOptions& options) {
    phases_->clear();
    running_ = options;
    start_table(*options.epochs);
    if (!quiet_) {
      fmt::print(stderr, "{}member {} of {}: {}, seed {}\n", member == 1 ? "" : "\n", member, members,
                 name_of(options.model), options.seed);
    }
  }

  void begin_refit(std::int32_t epochs) {
    fmt::print(stderr, "\nThe held-out part chose {}. Training again, on all training ratings (--no-refit: not):\n\n",
               epochs == 1 ? std::string("1 epoch") : fmt::format("{} epochs", epochs));
    start_table(epochs);
  }

  void tell_divergence(const Divergence& divergence) {
    table_->finish();
    fmt::print(stderr, "{}\n", describe_divergence(divergence, running_));
    start_table(epochs_);
  }

  TrainOptions running_;  ///< in an ensemble those of the member
  PhaseLine* phases_;
  bool quiet_;
  std::int32_t epochs_ = 0;  ///< of the training that runs
  std::optional<EpochTable> table_;
};

struct RunOutcome {
  std::optional<Metrics> test;
  std::optional<Metrics> baseline_test;
  std::string json;
};

/// Trains one run and writes its directory.
RunOutcome train_run(const TrainArguments& arguments, const RunConfig& config, const RunData& data, Device& device,
                     RunDirectory& directory, PhaseLine& phases) {
  const std::string memory = plan_memory(config.options, data, device);
  if (!arguments.quiet) {
    describe(config, data, device);
    if (!memory.empty()) {
      fmt::print(stderr, "memory    {} on the device\n", memory);
    }
    fmt::print(stderr, "\n");
  }
  TrainingProgress progress(config.options, phases, arguments.quiet);
  Trained trained = train_with_baseline(device, config.options, data.dataset, data.train, progress.events());
  TrainResult& result = trained.result;
  const Predictor predictor = make_predictor(device, result.model, std::move(trained.resident));
  progress.finish();
  std::optional<Metrics> test;
  if (data.test) {
    phases.show("evaluating");
    test = predictor.evaluate(*data.test);
    if (result.baseline) {
      result.baseline->test = evaluate_baseline(*result.baseline, result.model, *data.test);
    }
  }
  phases.show("writing the run");
  directory.write(config, result, test);
  phases.clear();

  if (!arguments.quiet) {
    show_samples(data, predictor);
    if (config.options.model != ModelKind::bias) {
      fmt::print(stderr, "\n{}", describe_choice(result));
    }
    fmt::print(stderr, "\nTrained in {} on {}.\nTime: {}.\n\n", short_seconds(result.seconds), result.device,
               phases.summary());
    if (const std::string worse = worse_than_baseline(config.options, result, test); !worse.empty()) {
      fmt::print(stderr, "{}\n\n", worse);
    }
  }
  if (!arguments.json) {
    fmt::print("{}", metrics_table(result_rows(result, test)));
    fmt::print("run written to {}\n", directory.path());
  }
  return {test, result.baseline ? result.baseline->test : std::nullopt, metrics_json(result, test)};
}

/// Mean and sample standard deviation.
std::pair<double, double> spread(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double mean = 0.0;
  for (const double value : values) {
    mean += value / count;
  }
  double squared = 0.0;
  for (const double value : values) {
    squared += (value - mean) * (value - mean);
  }
  return {mean, std::sqrt(squared / (count - 1.0))};
}

/// Test errors of folds.
class FoldErrors {
 public:
  void add(const Metrics& metrics) {
    rmse_.push_back(metrics.rmse);
    mae_.push_back(metrics.mae);
  }
  nlohmann::ordered_json json() const {
    const auto [rmse, rmse_deviation] = spread(rmse_);
    const auto [mae, mae_deviation] = spread(mae_);
    return {{"rmse", rmse},
            {"rmse_standard_deviation", rmse_deviation},
            {"mae", mae},
            {"mae_standard_deviation", mae_deviation}};
  }
  std::string text() const {
    const auto [rmse, rmse_deviation] = spread(rmse_);
    const auto [mae, mae_deviation] = spread(mae_);
    return fmt::format("test RMSE {:.5f} +- {:.5f}, MAE {:.5f} +- {:.5f}", rmse, rmse_deviation, mae, mae_deviation);
  }
  bool empty() const { return rmse_.empty(); }

 private:
  std::vector<double> rmse_;
  std::vector<double> mae_;
};

std::string model_name(const TrainArguments& arguments) {
  return !arguments.config.options.ensemble.empty() ? "ensemble" : std::string(name_of(arguments.config.options.model));
}

void train_folds(const TrainArguments& arguments, Device& device) {
  const RunConfig& all = arguments.config;
  FoldsDirectory directory = arguments.out.empty() ? FoldsDirectory::with_free_name(all.data, model_name(arguments))
                                                   : FoldsDirectory(arguments.out, all.folds, arguments.overwrite);
  PhaseLine reading;
  RunData data = load_folds(all, read_options(arguments.reading, reading));
  reading.clear();
  warn_of_tails(arguments, data);
  FoldErrors errors;
  FoldErrors baseline;
  nlohmann::ordered_json folds = nlohmann::ordered_json::array();
  for (std::int32_t fold = 1; fold <= all.folds; ++fold) {
    RunConfig config = all;
    config.fold = fold;
    PhaseLine phases;
    take_fold(data, config);
    RunDirectory run = directory.fold(fold);
    const RunOutcome outcome = train_run(arguments, config, data, device, run, phases);
    errors.add(*outcome.test);
    if (outcome.baseline_test) {
      baseline.add(*outcome.baseline_test);
    }
    folds.push_back(nlohmann::ordered_json::parse(outcome.json));
  }
  nlohmann::ordered_json json;
  json["run"] = directory.path();
  json["test"] = errors.json();
  json["baseline"] = nullptr;
  if (!baseline.empty()) {
    json["baseline"] = {{"test", baseline.json()}};
  }
  json["folds"] = std::move(folds);
  directory.write(json_text(json));
  if (arguments.json) {
    fmt::print("{}", json_text(json));
  } else {
    fmt::print("{} folds: {}\n", arguments.config.folds, errors.text());
    if (!baseline.empty()) {
      fmt::print("bias model: {}\n", baseline.text());
    }
  }
}

void train_as_asked(TrainArguments& arguments, const Reparse& reparse) {
  const std::unique_ptr<Device> device = resolve_arguments(arguments, reparse);
  if (arguments.config.folds > 0 && arguments.config.fold == 0) {
    train_folds(arguments, *device);
    return;
  }
  RunDirectory directory = arguments.out.empty()
                               ? RunDirectory::with_free_name(arguments.config.data, model_name(arguments))
                               : RunDirectory(arguments.out, arguments.overwrite);
  PhaseLine phases;
  const RunData data = load_run_data(arguments.config, read_options(arguments.reading, phases));
  phases.clear();
  warn_of_tails(arguments, data);
  const RunOutcome outcome = train_run(arguments, arguments.config, data, *device, directory, phases);
  if (arguments.json) {
    nlohmann::ordered_json json;
    json["run"] = directory.path();
    json.update(nlohmann::ordered_json::parse(outcome.json));
    fmt::print("{}", json_text(json));
  }
}

void run_train(TrainArguments& arguments, const Reparse& reparse) {
  const std::string config_file = arguments.config_file;
  try {
    train_as_asked(arguments, reparse);
  } catch (const InputError& error) {
    const std::string message = error.what();
    if (config_file.empty() || message.find(config_file) != std::string::npos) {
      throw;
    }
    throw InputError(fmt::format("{} (options of {} included)", message, config_file));
  }
}

}  // namespace

Command add_train(CLI::App& root) {
  CLI::App* app = root.add_subcommand("train", "train a model on ratings and write a run directory");
  const auto arguments = std::make_shared<TrainArguments>();
  RunConfig& config = arguments->config;
  app->add_option("data", config.data, "MovieLens folder, or a file of user, item, rating[, timestamp]");
  app->add_option("--test", config.test, "file of ratings to test on");
  app->add_option(
      "--split", config.split,
      fmt::format("test part: random:FRACTION, time:FRACTION (the latest) or none (default: {})", kDefaultSplit));
  app->add_option("--folds", config.folds, "cross-validation: train once per fold, test on it")
      ->transform(whole_number<std::int32_t>);
  app->add_option("--fold", config.fold)->transform(whole_number<std::int32_t>)->group("");
  app->add_option("--rating-range", config.rating_range, "MIN:MAX; ratings outside are an error");
  add_text_ids(*app, config.text_ids);
  add_no_cache(*app, arguments->reading.no_cache);
  app->add_option("--preset", config.options.preset,
                  "options as a whole: notebook-mf (3 non-negative factors, Adam, batch 32)");
  app->add_option("--config", arguments->config_file, "config.toml of a run: its options, unless given here");
  app->add_option("--out", arguments->out, "run directory (default: a new one under runs/)");
  app->add_flag("--overwrite", arguments->overwrite, "replace a run in --out");
  app->add_flag("--json", arguments->json, "metrics as JSON on standard output");
  app->add_flag("--quiet", arguments->quiet, "no progress and no descriptions on standard error");
  add_debug_device(*app);
  visit_options(config.options, [&](auto& member, const OptionInfo& info) { add_training_option(*app, member, info); });
  return {app, [arguments](const Reparse& reparse) { run_train(*arguments, reparse); }};
}

}  // namespace curate::cli
