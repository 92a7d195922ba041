#include "train/run_directory.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>

#include "curate/error.h"
#include "data/split_request.h"
#include "support/atomic_file.h"
#include "support/json_text.h"
#include "support/printable.h"
#include "support/split_list.h"
#include "support/toml_text.h"
#include "train/metrics_json.h"
#include "train/option_json.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// Calls visit(key, member) for what RunConfig has beyond TrainOptions.
template <typename Config, typename Visitor>
void visit_data_options(Config& config, Visitor&& visit) {
  visit("data", config.data);
  visit("test", config.test);
  visit("split", config.split);
  visit("folds", config.folds);
  visit("fold", config.fold);
  visit("rating_range", config.rating_range);
  visit("text_ids", config.text_ids);
}

/// What an entry of config.toml says; errors name its place.
class Entry {
 public:
  Entry(const std::string& path, const toml::key& key, const toml::node& node)
      : key_(key.str()), node_(node), place_(fmt::format("{}:{}", path, node.source().begin.line)) {}

  std::string_view key() const { return key_; }
  const std::string& place() const { return place_; }

  void read(bool& value) const { value = exactly<bool>("true or false"); }
  void read(std::string& value) const { value = exactly<std::string>("a string in quotes"); }
  void read(std::int32_t& value) const { value = whole_number<std::int32_t>(); }
  void read(std::int64_t& value) const { value = whole_number<std::int64_t>(); }
  void read(std::uint64_t& value) const {
    // The greatest are digits in quotes.
    const auto digits = parse_number<std::uint64_t>(node_.value_exact<std::string>().value_or(""));
    value = digits ? *digits : whole_number<std::uint64_t>();
  }
  void read(double& value) const {
    const auto number = node_.value<double>();
    if (!number || node_.is_boolean()) {
      fail("a number");
    }
    value = *number;
  }

  template <typename T>
  void read(const OptionInfo& info, T& value) const {
    if constexpr (requires { value.has_value(); }) {
      typename T::value_type given{};
      read(info, given);
      value = std::move(given);
    } else if constexpr (requires { read(value); }) {
      read(value);
    } else {
      // All else is text.
      std::string text;
      read(text);
      try {
        read_text(info, text, value);
      } catch (const InputError& error) {
        throw InputError(fmt::format("{}: {} {}: {}", place_, error.key(), error.problem(), error.remedy()));
      }
    }
  }

 private:
  [[noreturn]] void fail(const char* wanted) const {
    throw InputError(fmt::format("{}: {} takes {}", place_, key_, wanted));
  }
  template <typename T>
  T exactly(const char* wanted) const {
    const auto value = node_.value_exact<T>();
    if (!value) {
      fail(wanted);
    }
    return *value;
  }
  template <typename T>
  T whole_number() const {
    const auto value = exactly<std::int64_t>("a whole number in range");
    if (!std::in_range<T>(value)) {
      fail("a whole number in range");
    }
    return static_cast<T>(value);
  }

  std::string_view key_;
  const toml::node& node_;
  std::string place_;
};

std::pair<float, float> parse_rating_range(const std::string& text) {
  float low = 0.0F;
  float high = 0.0F;
  const std::size_t colon = text.find(':');
  const char* end = text.data() + text.size();
  if (colon != std::string::npos) {
    const char* middle = text.data() + colon;
    const auto first = std::from_chars(text.data(), middle, low);
    const auto second = std::from_chars(middle + 1, end, high);
    if (first.ec == std::errc() && first.ptr == middle && second.ec == std::errc() && second.ptr == end &&
        std::isfinite(low) && std::isfinite(high) && low < high) {
      return {low, high};
    }
  }
  throw InputError("rating_range", printable(text), "not MIN:MAX with MIN below MAX; write for instance 0.5:5");
}

SplitRequest split_request(const std::string& text) {
  const std::optional<SplitRequest> request = parse_split(text);
  if (!request || request->kind == SplitRequest::Kind::folds) {
    throw InputError("split", printable(text),
                     "write random:FRACTION or time:FRACTION with a fraction between 0 and 1, or none");
  }
  return *request;
}

std::string csv_number(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

std::string history_csv(const std::vector<EpochRecord>& history) {
  std::string text = "epoch,seconds,train_rmse,validation_rmse,learning_rate,ratings_per_second\n";
  for (const EpochRecord& record : history) {
    text += fmt::format("{},{},{},{},{},{}\n", record.epoch, record.seconds, record.train_rmse,
                        csv_number(record.validation_rmse), record.learning_rate, record.ratings_per_second);
  }
  return text;
}

}  // namespace

std::string to_toml(const RunConfig& config) {
  std::string text = fmt::format(
      "# Written by curate {}: all options of a run. Another one may start from them: option config, this file.\n",
      CURATE_VERSION);
  visit_data_options(config, [&](const char* key, const auto& value) {
    if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
      text += fmt::format("{} = {}\n", key, toml_text(value));
    } else {
      text += fmt::format("{} = {}\n", key, value);
    }
  });
  return text + to_toml(config.options);
}

RunConfig read_config(const std::string& path, const RunConfig& base) {
  const std::string content = read_file(path);
  toml::table table;
  try {
    table = toml::parse(content, path);
  } catch (const toml::parse_error& error) {
    throw InputError(
        fmt::format("{}:{}: {}; correct that line", path, error.source().begin.line, printable(error.description())));
  }
  RunConfig config = base;
  if (const toml::node* preset = table.get("preset")) {
    try {
      config.options = preset_options(preset->value<std::string>().value_or("?"));
    } catch (const InputError& error) {
      throw InputError(fmt::format("{}:{}: {} {}: {}", path, preset->source().begin.line, error.key(), error.problem(),
                                   error.remedy()));
    }
  }
  for (const auto& [key, node] : table) {
    const Entry entry(path, key, node);
    bool known = entry.key() == "preset";
    visit_data_options(config, [&](const char* name, auto& member) {
      if (entry.key() == name) {
        known = true;
        entry.read(member);
      }
    });
    visit_options(config.options, [&](auto& member, const OptionInfo& info) {
      if (entry.key() == info.key) {
        known = true;
        entry.read(info, member);
      }
    });
    if (!known) {
      throw InputError(fmt::format("{}: no option is called {}; `help` lists them", entry.place(),
                                   printable(std::string(entry.key()))));
    }
  }
  return config;
}

nlohmann::ordered_json config_json(const RunConfig& config) {
  nlohmann::ordered_json json;
  const auto put = [&](std::string_view key, const auto& value) {
    const bool absent = key.starts_with("fold") && option_json(value) == 0;
    json[std::string(key)] = absent ? nlohmann::ordered_json() : option_json(value);
  };
  visit_data_options(config, put);
  put("preset", config.options.preset);
  visit_options(config.options, [&](const auto& value, const OptionInfo& info) { put(info.key, value); });
  return json;
}

namespace {

ReadOptions read_options_of(const RunConfig& config, const ReadOptions& how) {
  ReadOptions read = how;
  read.text_ids = config.text_ids;
  read.threads = config.options.threads;
  // Nothing else here looks at them.
  read.timestamps = config.split.rfind("time:", 0) == 0;
  if (!config.rating_range.empty()) {
    read.rating_range = parse_rating_range(config.rating_range);
  }
  return read;
}

/// All ratings in one table.
RunData read_run_data(const RunConfig& config, const ReadOptions& read) {
  if (config.data.empty()) {
    throw InputError("no data is named; train again, or give data");
  }
  if (config.fold != 0 && (config.fold < 1 || config.fold > config.folds)) {
    throw InputError(
        fmt::format("fold {} of {}: no such fold; give 1 to the number of folds", config.fold, config.folds));
  }
  RunData data;
  data.dataset = read_dataset(config.data, read);
  data.ratings = data.dataset.ratings.size();
  return data;
}

void add_features_asked_for(Dataset& dataset, const RunConfig& config) {
  if (!config.options.features.empty()) {
    add_features(dataset, config.options.features);
  }
}

}  // namespace

RunData load_run_data(const RunConfig& config, const ReadOptions& how) {
  ReadOptions read = read_options_of(config, how);
  RunData data = read_run_data(config, read);
  const auto tell_splitting = [&] {
    if (read.progress) {
      read.progress("splitting", 0, 0);
    }
  };
  if (!config.test.empty()) {
    if (!read.rating_range && data.dataset.layout != "delimited") {
      read.rating_range = {data.dataset.scale.min, data.dataset.scale.max};
    }
    data.test = read_more_ratings(data.dataset, config.test, read);
    data.train = std::move(data.dataset.ratings);
  } else if (config.fold > 0) {
    tell_splitting();
    take_fold(data, config);
  } else if (config.split == "none" || config.split.empty()) {
    data.train = std::move(data.dataset.ratings);
  } else {
    tell_splitting();
    Split split =
        split_as_asked(data.dataset.ratings, split_request(config.split), config.options.seed, config.options.threads);
    data.train = std::move(split.train);
    data.test = std::move(split.test);
  }
  add_features_asked_for(data.dataset, config);
  data.dataset.ratings = {};
  return data;
}

RunData load_folds(const RunConfig& config, const ReadOptions& how) {
  RunData data = read_run_data(config, read_options_of(config, how));
  add_features_asked_for(data.dataset, config);
  return data;
}

void take_fold(RunData& data, const RunConfig& config) {
  const RatingTable& ratings = data.dataset.ratings;
  const std::vector<std::int32_t> fold_of = assign_folds(ratings.size(), config.folds, config.options.seed);
  Split split = split_fold(ratings, fold_of, config.fold - 1, config.options.threads);
  data.train = std::move(split.train);
  data.test = std::move(split.test);
}

namespace {

bool holds_run(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / "config.toml", error) || fs::exists(path / "metrics.json", error);
}

/// The label of --out errors; refuses a run that would be overwritten.
std::string checked_label(const std::string& path, bool overwrite) {
  if (!overwrite && holds_run(path)) {
    throw InputError("out", path, "holds a run already; give another directory, or `overwrite`");
  }
  return fmt::format("`out` {}", path);
}

}  // namespace

RunDirectory::RunDirectory(const std::string& path, bool overwrite)
    : directory_(path, checked_label(path, overwrite)) {}

void RunDirectory::write(const RunConfig& config, const TrainResult& result, const std::optional<Metrics>& test) {
  // All files are written elsewhere first: a full disk must not leave a mix of two runs.
  const fs::path target = path();
  const fs::path staging = target / ".partial";
  fs::remove_all(staging);
  fs::create_directory(staging);
  const std::string folder = staging.string();
  try {
    result.model.save(folder);
    write_file_atomically(folder + "/history.csv", history_csv(result.history));
    write_file_atomically(folder + "/metrics.json", metrics_json(result, test));
    write_file_atomically(folder + "/config.toml", to_toml(config));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(staging, ignored);
    throw;
  }
  directory_.keep();
  // config.toml goes first and comes last: a directory that has one is a whole run.
  fs::remove(target / "config.toml");
  fs::remove(target / "features.json");  // of a run before, which may have had some
  if (fs::exists(staging / "features.json")) {
    fs::rename(staging / "features.json", target / "features.json");
  }
  for (const char* name :
       {"users.tsv", "items.tsv", "model.safetensors", "history.csv", "metrics.json", "config.toml"}) {
    fs::rename(staging / name, target / name);
  }
  fs::remove(staging);
}

void check_folds_fit(const std::string& out, std::int32_t folds, bool overwrite) {
  const fs::path path = out;
  if (fs::exists(path / "config.toml")) {
    throw InputError("out", out, "holds a single run, which `overwrite` keeps; give another directory");
  }
  const std::string label = checked_label(out, overwrite);
  for (std::int32_t fold = 1; fold <= folds; ++fold) {
    checked_label((path / fmt::format("fold-{}", fold)).string(), overwrite);
  }
}

std::string metrics_json(const TrainResult& result, const std::optional<Metrics>& test) {
  nlohmann::ordered_json json;
  json["train"] = to_json(result.train);
  json["validation"] = result.validation ? to_json(*result.validation) : nlohmann::ordered_json(nullptr);
  json["test"] = test ? to_json(*test) : nlohmann::ordered_json(nullptr);
  json["best_epoch"] = result.best_epoch;
  json["epochs"] = result.history.size();
  json["seconds"] = result.seconds;
  json["device"] = result.device;
  return json_text(json);
}

namespace {

constexpr const char* kTrainAgain = "train the run again";

/// A value of metrics.json.
template <typename T>
T value_of(const nlohmann::json& json, const std::string& path, const char* key, T least) {
  const auto found = json.find(key);
  const bool sound = found != json.end() && (std::is_integral_v<T> ? found->is_number_integer() : found->is_number());
  const double value = sound ? found->template get<double>() : 0.0;
  if (!sound || !(value >= static_cast<double>(least)) || value > static_cast<double>(std::numeric_limits<T>::max())) {
    throw InputError(fmt::format("{}: {} is not {} of {} or more; {}", path, key,
                                 std::is_integral_v<T> ? "a whole number" : "a number", least, kTrainAgain));
  }
  return found->template get<T>();
}

std::optional<Metrics> metrics_of(const nlohmann::json& json, const std::string& path, const char* part) {
  const auto found = json.find(part);
  if (found == json.end() || found->is_null()) {
    return std::nullopt;
  }
  if (!found->is_object()) {
    throw InputError(fmt::format("{}: {} is not an object of metrics; {}", path, part, kTrainAgain));
  }
  Metrics metrics;
  metrics.rmse = value_of(*found, path, "rmse", 0.0);
  metrics.mse = value_of(*found, path, "mse", 0.0);
  metrics.mae = value_of(*found, path, "mae", 0.0);
  metrics.mae_whole_stars = value_of(*found, path, "mae_whole_stars", 0.0);
  metrics.ratings = value_of<std::int64_t>(*found, path, "ratings", 0);
  metrics.cold_ratings = value_of<std::int64_t>(*found, path, "cold_ratings", 0);
  metrics.warm_rmse = value_of(*found, path, "warm_rmse", 0.0);
  metrics.cold_rmse = value_of(*found, path, "cold_rmse", 0.0);
  return metrics;
}

}  // namespace

RunMetrics read_metrics(const std::string& path) {
  const std::string content = read_file(path);
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(content);
  } catch (const nlohmann::json::parse_error& error) {
    const auto at = std::min<std::size_t>(content.size(), error.byte);
    const auto line = 1 + std::count(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    throw InputError(fmt::format("{}:{}: not JSON; {}", path, line, kTrainAgain));
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("{}: {}; {}", path, printable(error.what()), kTrainAgain));
  }
  if (!json.is_object()) {
    throw InputError(fmt::format("{}: not the metrics of a run; {}", path, kTrainAgain));
  }
  RunMetrics metrics;
  metrics.train = metrics_of(json, path, "train");
  metrics.validation = metrics_of(json, path, "validation");
  metrics.test = metrics_of(json, path, "test");
  metrics.epochs = value_of<std::int32_t>(json, path, "epochs", 1);
  metrics.best_epoch = value_of<std::int32_t>(json, path, "best_epoch", 1);
  metrics.seconds = value_of(json, path, "seconds", 0.0);
  if (const auto device = json.find("device"); device != json.end() && device->is_string()) {
    metrics.device = device->get<std::string>();
  }
  if (metrics.best_epoch > metrics.epochs) {
    throw InputError(
        fmt::format("{}: best_epoch {} of {} epochs; {}", path, metrics.best_epoch, metrics.epochs, kTrainAgain));
  }
  return metrics;
}

std::vector<EpochRecord> read_history(const std::string& path) {
  const std::string content = read_file(path);
  std::vector<EpochRecord> history;
  std::vector<std::string> header;
  std::int64_t line = 0;
  const auto fail = [&](const std::string& problem) {
    throw InputError(fmt::format("{}:{}: {}; {}", path, std::max<std::int64_t>(1, line), problem, kTrainAgain));
  };
  for (std::size_t from = 0; from < content.size();) {
    const std::size_t end = content.find('\n', from);
    ++line;
    if (end == std::string::npos) {
      fail("cut off");
    }
    const std::vector<std::string> fields = split_list(content.substr(from, end - from));
    from = end + 1;
    if (line == 1) {
      header = fields;
      continue;
    }
    if (fields.size() != header.size()) {
      fail(fmt::format("{} fields, not the {} of the first line", fields.size(), header.size()));
    }
    const auto number = [&](const char* column, bool may_be_absent) -> std::optional<double> {
      const auto found = std::find(header.begin(), header.end(), column);
      if (found == header.end()) {
        fail(fmt::format("no column is called {}", column));
      }
      const std::string& text = fields[static_cast<std::size_t>(found - header.begin())];
      if (text.empty() && may_be_absent) {
        return std::nullopt;
      }
      double value = 0.0;
      const char* text_end = text.data() + text.size();
      const auto [stop, error] = std::from_chars(text.data(), text_end, value);
      if (error != std::errc() || stop != text_end || !std::isfinite(value) || value < 0.0) {
        fail(fmt::format("{} is \"{}\", not a number of 0 or more", column, printable(text)));
      }
      return value;
    };
    EpochRecord record;
    record.epoch = static_cast<std::int32_t>(line - 1);
    if (number("epoch", false) != static_cast<double>(record.epoch)) {
      fail(fmt::format("not epoch {}, which comes next", record.epoch));
    }
    record.seconds = number("seconds", false).value_or(0.0);
    record.train_rmse = number("train_rmse", false).value_or(0.0);
    record.validation_rmse = number("validation_rmse", true);
    record.learning_rate = number("learning_rate", false).value_or(0.0);
    record.ratings_per_second = number("ratings_per_second", false).value_or(0.0);
    history.push_back(record);
  }
  if (history.empty()) {
    fail("no epoch");
  }
  return history;
}

std::string free_run_name(const std::string& data, const std::string& model) {
  fs::path path = fs::path(data).lexically_normal();
  if (path.filename().empty()) {
    path = path.parent_path();
  }
  const std::string base = fmt::format("runs/{}-{}", path.filename().string(), model);
  std::string name = base;
  for (int number = 2; fs::exists(name); ++number) {
    name = fmt::format("{}-{}", base, number);
  }
  return name;
}

}  // namespace curate
