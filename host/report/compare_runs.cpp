#include "report/compare_runs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "curate/error.h"
#include "report/progress.h"
#include "support/file_set.h"
#include "support/printable.h"
#include "support/utf8.h"
#include "train/metrics_json.h"
#include "train/safetensors.h"

namespace curate {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Finding and reading.

bool is_run(const fs::path& path) {
  settle_set(path.string());
  std::error_code error;
  return fs::exists(path / "config.toml", error);
}

/// Runs within a folder, by name; a cross-validation's are a level further down.
void add_runs_within(const fs::path& folder, int levels, std::vector<std::string>& runs) {
  std::error_code error;
  std::vector<fs::path> inside;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (fs::is_directory(at->path(), ignored) && at->path().filename().native().front() != '.') {
      inside.push_back(at->path());
    }
  }
  if (error) {
    throw InputError(fmt::format("{}: cannot read: {}; check its permissions", folder.string(), error.message()));
  }
  std::sort(inside.begin(), inside.end());
  for (const fs::path& path : inside) {
    if (is_run(path)) {
      runs.push_back(path.string());
    } else if (levels > 1) {
      add_runs_within(path, levels - 1, runs);
    }
  }
}

fs::path absolute(const std::string& path) {
  const fs::path normal = fs::absolute(path).lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

/// For every path the shortest end of it, in whole names, that no other path has.
std::vector<std::string> distinct_ends(const std::vector<fs::path>& paths) {
  const auto end_of = [](const fs::path& path, int names) {
    fs::path rest = path;
    fs::path end;
    for (; names > 0 && rest.has_relative_path(); --names) {
      end = end.empty() ? rest.filename() : rest.filename() / end;
      rest = rest.parent_path();
    }
    return end.empty() ? path.string() : end.string();
  };
  std::vector<std::string> ends(paths.size());
  bool shared = true;
  for (int names = 1; shared; ++names) {
    std::map<std::string, int> uses;
    for (const fs::path& path : paths) {
      ++uses[end_of(path, names)];
    }
    shared = false;
    for (std::size_t p = 0; p < paths.size(); ++p) {
      const bool longer_left = names < std::distance(paths[p].begin(), paths[p].end());
      if (ends[p].empty() && (uses[end_of(paths[p], names)] == 1 || !longer_left)) {
        ends[p] = end_of(paths[p], names);
      }
      shared = shared || ends[p].empty();
    }
  }
  return ends;
}

std::int64_t count_parameters(const std::string& path) {
  std::int64_t count = 0;
  for (const auto& [name, shape] : read_tensor_shapes(path)) {
    std::int64_t elements = name.starts_with("fallback.") ? 0 : 1;
    for (const std::int64_t extent : shape) {
      elements *= extent;
    }
    count += elements;
  }
  return count;
}

ComparedRun read_run_once(const std::string& path) {
  const fs::path folder = path;
  ComparedRun run;
  run.path = path;
  run.config = read_config((folder / "config.toml").string());
  run.options = config_json(run.config);
  const std::string metrics = (folder / "metrics.json").string();
  run.metrics = read_metrics(metrics);
  const std::string history = (folder / "history.csv").string();
  run.history = read_history(history);
  if (run.history.size() != static_cast<std::size_t>(run.metrics.epochs)) {
    throw InputError(fmt::format("{}: {} epochs, but {} tells of {}; train the run again", history, run.history.size(),
                                 metrics, run.metrics.epochs));
  }
  run.parameters = count_parameters((folder / "model.safetensors").string());
  return run;
}

ComparedRun read_run(const std::string& path) {
  return read_set(path, "config.toml", [&] { return read_run_once(path); });
}

// Columns of figures.

struct Figure {
  const char* key;
  const char* title;  ///< of the column, in one line or two
  bool lowest_is_best;
  std::optional<double> (*value)(const ComparedRun&);
};

using Part = std::optional<Metrics> RunMetrics::*;

template <Part part, double Metrics::*metric>
std::optional<double> metric_of(const ComparedRun& run) {
  const std::optional<Metrics>& metrics = run.metrics.*part;
  return metrics ? std::optional((*metrics).*metric) : std::nullopt;
}

constexpr std::array<Figure, 8> kFigures = {{
    {"epochs", "epochs\nrun", false, [](const ComparedRun& run) { return std::optional<double>(run.metrics.epochs); }},
    {"best_epoch", "best\nepoch", false,
     [](const ComparedRun& run) { return std::optional<double>(run.metrics.best_epoch); }},
    {"parameters", "parameters", false,
     [](const ComparedRun& run) { return std::optional(static_cast<double>(run.parameters)); }},
    {"seconds", "seconds", true, [](const ComparedRun& run) { return std::optional(run.metrics.seconds); }},
    {"test_rmse", "test\nRMSE", true, metric_of<&RunMetrics::test, &Metrics::rmse>},
    {"test_mae", "test\nMAE", true, metric_of<&RunMetrics::test, &Metrics::mae>},
    {"test_mae_whole_stars", "whole\nstars", true, metric_of<&RunMetrics::test, &Metrics::mae_whole_stars>},
    {"validation_rmse", "validation\nRMSE", true, metric_of<&RunMetrics::validation, &Metrics::rmse>},
}};

const Figure* figure_of(std::string_view key) {
  const auto* found = std::find_if(kFigures.begin(), kFigures.end(), [&](const Figure& one) { return one.key == key; });
  return found == kFigures.end() ? nullptr : found;
}

bool any_has(const std::vector<ComparedRun>& runs, const Figure& figure) {
  return std::any_of(runs.begin(), runs.end(), [&](const ComparedRun& run) { return figure.value(run).has_value(); });
}

std::string option_name(std::string_view key) {
  std::string name(key);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

/// The lowest value of a figure; nothing if that would say nothing: one run, or other ratings.
std::optional<double> best_of(const RunComparison& comparison, const Figure& figure) {
  const std::string_view key = figure.key;
  const bool comparable = !(key.starts_with("test") && !comparison.same_test) &&
                          !(key.starts_with("validation") && !comparison.same_validation);
  std::optional<double> best;
  std::size_t runs = 0;
  for (const ComparedRun& run : comparison.runs) {
    if (const std::optional<double> value = figure.value(run)) {
      best = std::min(best.value_or(*value), *value);
      ++runs;
    }
  }
  return figure.lowest_is_best && comparable && runs > 1 ? best : std::nullopt;
}

// What the runs were tested on.

std::string source_of(const RunConfig& config) {
  if (!config.test.empty()) {
    return config.test;
  }
  if (config.fold > 0) {
    return fmt::format("fold {} of {} of {}, seed {}", config.fold, config.folds, config.data, config.options.seed);
  }
  return config.split.starts_with("random:")
             ? fmt::format("{} of {}, seed {}", config.split, config.data, config.options.seed)
             : fmt::format("{} of {}", config.split, config.data);
}

std::string test_part(const ComparedRun& run) {
  return fmt::format("{}, {} ratings", source_of(run.config), grouped(run.metrics.test->ratings));
}

std::string validation_part(const ComparedRun& run) {
  const RunConfig& config = run.config;
  const std::string rest = config.test.empty() ? ", without " + source_of(config) : "";
  return fmt::format("{} of {}{}, seed {}, {} ratings", config.options.validation, config.data, rest,
                     config.options.seed, grouped(run.metrics.validation->ratings));
}

/// Names of runs by what `part` says of those that have it.
std::map<std::string, std::vector<std::string>> runs_by(const std::vector<ComparedRun>& runs, Part has,
                                                        std::string (*part)(const ComparedRun&)) {
  std::map<std::string, std::vector<std::string>> groups;
  for (const ComparedRun& run : runs) {
    if (run.metrics.*has) {
      groups[part(run)].push_back(run.name);
    }
  }
  return groups;
}

std::string listed(const std::map<std::string, std::vector<std::string>>& groups) {
  constexpr std::size_t kMost = 3;
  std::string text;
  std::size_t number = 0;
  for (const auto& [part, names] : groups) {
    if (++number > kMost) {
      text += fmt::format("; {} others", groups.size() - kMost);
      break;
    }
    const std::size_t shown = std::min(kMost, names.size());
    text += fmt::format("{}{} ({}{})", number == 1 ? "" : "; ", part,
                        fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                        names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
  }
  return text;
}

void find_differences(RunComparison& comparison) {
  const std::vector<ComparedRun>& runs = comparison.runs;
  for (const auto& [key, value] : runs.front().options.items()) {
    const std::string& name = key;
    if (std::any_of(runs.begin(), runs.end(),
                    [&](const ComparedRun& run) { return run.options[name] != runs.front().options[name]; })) {
      comparison.differing.push_back(name);
    }
  }
  const auto tests = runs_by(runs, &RunMetrics::test, test_part);
  const auto validations = runs_by(runs, &RunMetrics::validation, validation_part);
  comparison.same_test = tests.size() <= 1;
  comparison.same_validation = validations.size() <= 1;
  if (!comparison.same_test) {
    comparison.warnings.push_back(fmt::format(
        "test errors are not comparable, for the runs were tested on different ratings: {}", listed(tests)));
  } else if (!comparison.same_validation) {
    comparison.warnings.push_back(
        fmt::format("validation errors are not comparable, for the ratings held out differ: {}", listed(validations)));
  }
}

void sort_runs(std::vector<ComparedRun>& runs, const std::string& key) {
  std::vector<const Figure*> figures = {figure_of(key)};
  if (key == "test_rmse") {
    figures.push_back(figure_of("validation_rmse"));
  }
  if (key == "name") {
    std::sort(runs.begin(), runs.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return;
  }
  constexpr double kAbsent = std::numeric_limits<double>::infinity();
  std::stable_sort(runs.begin(), runs.end(), [&](const ComparedRun& a, const ComparedRun& b) {
    for (const Figure* figure : figures) {
      const double of_a = figure->value(a).value_or(kAbsent);
      const double of_b = figure->value(b).value_or(kAbsent);
      if (of_a != of_b) {
        return of_a < of_b;
      }
    }
    return false;
  });
}

// Options.

/// The options that tell most of a run; a narrow table keeps the first ones longest.
constexpr std::array<const char*, 17> kMainOptions = {"model",  "features", "optimizer", "dim",        "lr",    "reg",
                                                      "epochs", "batch",    "preset",    "data",       "test",  "split",
                                                      "fold",   "folds",    "seed",      "validation", "device"};

std::size_t rank_of(const std::string& key) {
  return static_cast<std::size_t>(std::find(kMainOptions.begin(), kMainOptions.end(), key) - kMainOptions.begin());
}

/// What the options would be if only the main ones had been given.
Json default_options(const RunConfig& config) {
  RunConfig base;
  try {
    base.options = preset_options(config.options.preset);
    base.options.model = config.options.model;
    base.options.optimizer = config.options.optimizer;
    base.options.dim = config.options.dim;
    base.options.batch = config.options.batch;
    base.options.features = config.options.features;  // which optimizers there are depends on them
    base.options = resolve(base.options);
  } catch (const InputError&) {
    // Options that this version refuses: all of them are shown.
    return Json::object();
  }
  return config_json(base);
}

/// Options that some run has otherwise than its main options imply.
std::set<std::string> chosen_options(const std::vector<ComparedRun>& runs) {
  std::set<std::string> chosen;
  for (const ComparedRun& run : runs) {
    const Json by_default = default_options(run.config);
    for (const auto& [key, value] : run.options.items()) {
      const auto found = by_default.find(key);
      if (found == by_default.end() || *found != value || rank_of(key) < kMainOptions.size()) {
        chosen.insert(key);
      }
    }
  }
  return chosen;
}

std::string option_text(const Json& value) {
  if (value.is_null()) {
    return "-";
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "on" : "off";
  }
  if (value.is_string()) {
    return printable_utf8(value.get<std::string>());
  }
  return value.is_number_float() ? fmt::format("{}", value.get<double>()) : value.dump();
}

std::string common_options(const RunComparison& comparison) {
  const ComparedRun& run = comparison.runs.front();
  const std::set<std::string> chosen = chosen_options(comparison.runs);
  std::vector<std::string> texts;
  bool rest = false;
  for (const auto& [key, value] : run.options.items()) {
    if (std::find(comparison.differing.begin(), comparison.differing.end(), key) != comparison.differing.end() ||
        value.is_null()) {
      continue;
    }
    if (chosen.count(key) > 0) {
      texts.push_back(fmt::format("{} {}", key, option_text(value)));
    } else {
      rest = true;
    }
  }
  if (rest) {
    texts.emplace_back("all other options at their defaults");
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

// The table.

struct Cell {
  std::string text;
  bool best = false;
};

constexpr std::size_t kTitleLines = 2;

struct TableColumn {
  std::array<std::string, kTitleLines> title;
  std::vector<Cell> cells;
  bool left = false;
  bool marked = false;  ///< has room for the mark of the best

  std::size_t width() const {
    std::size_t widest = std::max(character_count(title[0]), character_count(title[1]));
    for (const Cell& cell : cells) {
      widest = std::max(widest, character_count(cell.text));
    }
    return widest + (marked ? 1 : 0);
  }
};

constexpr std::size_t kGap = 2;

std::size_t table_width(const std::vector<TableColumn>& columns) {
  std::size_t width = 0;
  for (const TableColumn& column : columns) {
    width += column.width() + (width > 0 ? kGap : 0);
  }
  return width;
}

/// A text within a column, with its mark; `bold` wraps what is no blank.
std::string aligned(const TableColumn& column, const std::string& text, bool best, bool bold) {
  const std::string mark = !column.marked ? "" : best ? "*" : " ";
  const std::string blanks(column.width() - character_count(text) - mark.size(), ' ');
  const std::string shown = bold && best ? "\x1b[1m" + text + mark + "\x1b[0m" : text + mark;
  return column.left ? shown + blanks : blanks + shown;
}

std::string table_row(const std::vector<std::string>& texts) {
  std::string row;
  for (const std::string& text : texts) {
    row += (row.empty() ? std::string() : std::string(kGap, ' ')) + text;
  }
  row.resize(row.find_last_not_of(' ') + 1);
  return row + "\n";
}

int decimals_of_seconds(const std::vector<ComparedRun>& runs) {
  double least = std::numeric_limits<double>::infinity();
  for (const ComparedRun& run : runs) {
    least = std::min(least, run.metrics.seconds);
  }
  return least < 1.0 ? 3 : least < 100.0 ? 2 : 0;
}

TableColumn figure_column(const RunComparison& comparison, const Figure& figure) {
  const std::string_view key = figure.key;
  const int decimals = key == "seconds" ? decimals_of_seconds(comparison.runs) : 4;
  const bool whole = !figure.lowest_is_best;
  const std::optional<double> best = best_of(comparison, figure);
  TableColumn column;
  const std::string title = figure.title;
  const std::size_t line_end = title.find('\n');
  column.title = line_end == std::string::npos
                     ? std::array<std::string, kTitleLines>{"", title}
                     : std::array<std::string, kTitleLines>{title.substr(0, line_end), title.substr(line_end + 1)};
  column.marked = best.has_value();
  for (const ComparedRun& run : comparison.runs) {
    const std::optional<double> value = figure.value(run);
    Cell& cell = column.cells.emplace_back();
    cell.text = !value  ? "-"
                : whole ? grouped(static_cast<std::int64_t>(*value))
                        : fmt::format("{:.{}f}", *value, decimals);
    // What looks the same is marked the same.
    cell.best = best && value && cell.text == fmt::format("{:.{}f}", *best, decimals);
  }
  return column;
}

TableColumn option_column(const RunComparison& comparison, const std::string& key) {
  TableColumn column;
  column.title.back() = key;
  std::vector<std::string> texts;
  for (const ComparedRun& run : comparison.runs) {
    const Json& value = run.options[key];
    texts.push_back(option_text(value));
  }
  if (key == "data" || key == "test") {
    // Paths are told apart by their ends.
    std::set<std::string> different(texts.begin(), texts.end());
    different.erase("-");
    const std::vector<fs::path> paths(different.begin(), different.end());
    const std::vector<std::string> ends = distinct_ends(paths);
    for (std::string& text : texts) {
      const auto found = std::find(paths.begin(), paths.end(), fs::path(text));
      text = found == paths.end() ? text : ends[static_cast<std::size_t>(found - paths.begin())];
    }
  }
  for (std::string& text : texts) {
    column.cells.push_back({std::move(text), false});
  }
  return column;
}

/// What becomes of the options that differ.
struct OptionChoice {
  std::vector<std::string> shown;    ///< in the order of config.toml, as are the others
  std::vector<std::string> no_room;  ///< too much for the width
  std::vector<std::string> implied;  ///< in all runs what their main options make of them by default
};

OptionChoice choose_options(const RunComparison& comparison, std::size_t taken, std::size_t width) {
  const std::set<std::string> chosen = chosen_options(comparison.runs);
  OptionChoice choice;
  std::vector<std::string> by_rank;
  for (const std::string& key : comparison.differing) {
    (chosen.count(key) > 0 ? by_rank : choice.implied).push_back(key);
  }
  std::stable_sort(by_rank.begin(), by_rank.end(),
                   [](const std::string& a, const std::string& b) { return rank_of(a) < rank_of(b); });
  std::set<std::string> fitting;
  for (const std::string& key : by_rank) {
    const std::size_t more = kGap + option_column(comparison, key).width();
    if (width == 0 || taken + more <= width) {
      taken += more;
      fitting.insert(key);
    }
  }
  for (const std::string& key : comparison.differing) {
    if (chosen.count(key) > 0) {
      (fitting.count(key) > 0 ? choice.shown : choice.no_room).push_back(key);
    }
  }
  return choice;
}

// JSON.

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json metrics_or_null(const std::optional<Metrics>& metrics) {
  return metrics ? to_json(*metrics) : Json();
}

Json json_of(const ComparedRun& run) {
  Json json;
  json["run"] = run.path;
  json["name"] = run.name;
  json["options"] = run.options;
  json["epochs"] = run.metrics.epochs;
  json["best_epoch"] = run.metrics.best_epoch;
  json["parameters"] = run.parameters;
  json["seconds"] = run.metrics.seconds;
  json["device"] = run.metrics.device;
  json["train"] = metrics_or_null(run.metrics.train);
  json["validation"] = metrics_or_null(run.metrics.validation);
  json["test"] = metrics_or_null(run.metrics.test);
  json["tested_on"] = run.metrics.test ? Json(source_of(run.config)) : Json();
  Json history = Json::array();
  for (const EpochRecord& record : run.history) {
    history.push_back({{"epoch", record.epoch},
                       {"seconds", record.seconds},
                       {"train_rmse", record.train_rmse},
                       {"validation_rmse", optional_json(record.validation_rmse)},
                       {"learning_rate", record.learning_rate},
                       {"ratings_per_second", record.ratings_per_second}});
  }
  json["history"] = std::move(history);
  return json;
}

// The picture.

bool has_validation(const ComparedRun& run) {
  return std::all_of(run.history.begin(), run.history.end(),
                     [](const EpochRecord& record) { return record.validation_rmse.has_value(); });
}

struct Curve {
  std::vector<double> seconds;  ///< since the start, at the end of every epoch
  std::vector<double> rmse;
};

Curve curve_of(const ComparedRun& run) {
  const bool validated = has_validation(run);
  Curve curve;
  double seconds = 0.0;
  for (const EpochRecord& record : run.history) {
    seconds += record.seconds;
    curve.seconds.push_back(seconds);
    curve.rmse.push_back(validated ? *record.validation_rmse : record.train_rmse);
  }
  return curve;
}

/// Where to cut off first epochs that would press all later ones into a strip; nothing if no epoch does.
std::optional<double> error_limit(const std::vector<Curve>& curves) {
  constexpr double kRoom = 1.25;
  constexpr double kWorthCutting = 1.8;
  double low = std::numeric_limits<double>::infinity();
  double worst_end = 0.0;
  std::vector<double> all;
  for (const Curve& curve : curves) {
    const double least = *std::min_element(curve.rmse.begin(), curve.rmse.end());
    low = std::min(low, least);
    worst_end = std::max(worst_end, least);
    all.insert(all.end(), curve.rmse.begin(), curve.rmse.end());
  }
  std::sort(all.begin(), all.end());
  const double high = all.back();
  const double most = all[static_cast<std::size_t>(0.9 * static_cast<double>(all.size() - 1))];
  const double limit = low + kRoom * (std::max(most, worst_end) - low);
  return high - low > kWorthCutting * (limit - low) && limit > low ? std::optional(limit) : std::nullopt;
}

}  // namespace

std::vector<std::string> find_runs(const std::vector<std::string>& paths) {
  constexpr int kLevels = 2;
  constexpr const char* kRemedy = "give a run directory of curate train, or the folder that holds such";
  std::vector<std::string> runs;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      throw InputError(fmt::format("{}: {}; {}", path.empty() ? "\"\"" : path,
                                   error                     ? error.message()
                                   : fs::exists(path, error) ? "not a directory"
                                                             : "no such directory",
                                   kRemedy));
    }
    if (is_run(path)) {
      runs.push_back(path);
      continue;
    }
    if (fs::exists(fs::path(path) / "model.safetensors", error)) {
      throw InputError(
          fmt::format("{}/config.toml: not there, so this is no whole run; train it again, or give another", path));
    }
    const std::size_t before = runs.size();
    add_runs_within(path, kLevels, runs);
    if (runs.size() == before) {
      refuse_unfinished(path, "config.toml");
      throw InputError(
          fmt::format("{}: neither a run nor a folder of runs, for no config.toml is there; {}", path, kRemedy));
    }
  }
  std::map<std::string, std::string> known;
  for (const std::string& run : runs) {
    std::error_code error;
    const fs::path canonical = fs::canonical(run, error);
    const auto [first, added] = known.emplace(error ? run : canonical.string(), run);
    if (!added) {
      throw InputError(first->second == run
                           ? fmt::format("{}: given twice; give every run once", run)
                           : fmt::format("{}: the same run as {}; give every run once", run, first->second));
    }
  }
  return runs;
}

std::vector<std::string> comparison_sort_names() {
  std::vector<std::string> names = {"name"};
  for (const Figure& figure : kFigures) {
    names.push_back(option_name(figure.key));
  }
  return names;
}

RunComparison compare_runs(const std::vector<std::string>& paths, const std::string& sort) {
  std::string key = sort;
  std::replace(key.begin(), key.end(), '-', '_');
  if (!sort.empty() && key != "name" && figure_of(key) == nullptr) {
    throw InputError("sort", printable(sort), fmt::format("not one of {}", fmt::join(comparison_sort_names(), ", ")));
  }
  RunComparison comparison;
  std::vector<fs::path> whole;
  for (const std::string& path : find_runs(paths)) {
    comparison.runs.push_back(read_run(path));
    whole.push_back(absolute(path));
  }
  const std::vector<std::string> names = distinct_ends(whole);
  for (std::size_t r = 0; r < names.size(); ++r) {
    comparison.runs[r].name = printable_utf8(names[r]);
  }
  if (key.empty()) {
    key = any_has(comparison.runs, *figure_of("test_rmse"))         ? "test_rmse"
          : any_has(comparison.runs, *figure_of("validation_rmse")) ? "validation_rmse"
                                                                    : "name";
  }
  if (key != "name" && !any_has(comparison.runs, *figure_of(key))) {
    throw InputError("sort", sort, "none of the runs has that figure; give another, like seconds");
  }
  comparison.sorted_by = key;
  sort_runs(comparison.runs, key);
  find_differences(comparison);
  return comparison;
}

std::string comparison_table(const RunComparison& comparison, const TableStyle& style) {
  TableColumn names;
  names.title.back() = "run";
  names.left = true;
  for (const ComparedRun& run : comparison.runs) {
    names.cells.push_back({run.name, false});
  }
  std::vector<TableColumn> figures;
  bool marks = false;
  for (const Figure& figure : kFigures) {
    if (any_has(comparison.runs, figure)) {
      figures.push_back(figure_column(comparison, figure));
      marks = marks || figures.back().marked;
    }
  }
  const std::size_t taken = names.width() + kGap + table_width(figures);
  const OptionChoice options = choose_options(comparison, taken, style.width);
  std::vector<TableColumn> columns = {std::move(names)};
  for (const std::string& key : options.shown) {
    columns.push_back(option_column(comparison, key));
  }
  columns.insert(columns.end(), std::make_move_iterator(figures.begin()), std::make_move_iterator(figures.end()));

  const bool one = comparison.runs.size() == 1;
  std::string text = fmt::format("{}: {}\n\n", one ? "options" : "in all runs", common_options(comparison));
  std::vector<std::string> texts;
  for (std::size_t line = 0; line < kTitleLines; ++line) {
    texts.clear();
    for (const TableColumn& column : columns) {
      texts.push_back(aligned(column, column.title[line], false, false));
    }
    text += table_row(texts);
  }
  for (std::size_t r = 0; r < comparison.runs.size(); ++r) {
    texts.clear();
    for (const TableColumn& column : columns) {
      texts.push_back(aligned(column, column.cells[r].text, column.cells[r].best, style.bold));
    }
    text += table_row(texts);
  }
  std::string notes;
  if (marks) {
    notes += "*: the lowest of its column\n";
  }
  if (!options.no_room.empty()) {
    notes += fmt::format("no room for these, which differ too: {}\n", fmt::join(options.no_room, ", "));
  }
  if (!options.implied.empty()) {
    notes += fmt::format("as model, optimizer and preset have them by default: {}\n", fmt::join(options.implied, ", "));
  }
  for (const std::string& warning : comparison.warnings) {
    notes += fmt::format("warning: {}\n", printable_utf8(warning));
  }
  return text + (notes.empty() ? "" : "\n" + notes);
}

nlohmann::ordered_json comparison_json(const RunComparison& comparison) {
  Json json;
  json["sorted_by"] = comparison.sorted_by;
  json["differing_options"] = comparison.differing;
  json["same_test_ratings"] = comparison.same_test;
  json["same_validation_ratings"] = comparison.same_validation;
  json["warnings"] = comparison.warnings;
  json["best"] = Json::object();
  for (const Figure& figure : kFigures) {
    const std::optional<double> best = best_of(comparison, figure);
    if (best) {
      const auto run = std::find_if(comparison.runs.begin(), comparison.runs.end(),
                                    [&](const ComparedRun& one) { return figure.value(one) == best; });
      json["best"][figure.key] = run->path;
    }
  }
  json["runs"] = Json::array();
  for (const ComparedRun& run : comparison.runs) {
    json["runs"].push_back(json_of(run));
  }
  return json;
}

PlotPage comparison_plot(const RunComparison& comparison) {
  const std::vector<ComparedRun>& runs = comparison.runs;
  const auto validated = std::count_if(runs.begin(), runs.end(), has_validation);
  const bool all_validated = validated == static_cast<std::ptrdiff_t>(runs.size());
  PlotPage page;
  page.title = runs.size() == 1 ? runs.front().name : fmt::format("{} runs", runs.size());
  LinePanel by_epoch;
  by_epoch.title = "Error by epoch";
  by_epoch.x_label = "epoch";
  by_epoch.x_scale = LinePanel::Scale::whole_numbers;
  by_epoch.y_label = all_validated    ? "RMSE on ratings held out"
                     : validated == 0 ? "RMSE on ratings learnt"
                                      : "RMSE on ratings held out (or learnt)";
  LinePanel by_seconds;
  by_seconds.title = "Error over training time";
  by_seconds.y_label = by_epoch.y_label;
  std::vector<Curve> curves;
  double shortest = std::numeric_limits<double>::infinity();
  double longest = 0.0;
  double first = shortest;
  for (const ComparedRun& run : runs) {
    const Curve& curve = curves.emplace_back(curve_of(run));
    shortest = std::min(shortest, curve.seconds.back());
    longest = std::max(longest, curve.seconds.back());
    first = std::min(first, curve.seconds.front());
    LineSeries line;
    line.name = run.name + (has_validation(run) || validated == 0 ? "" : " (learnt)");
    line.ring = static_cast<std::size_t>(run.metrics.best_epoch - 1);
    LineSeries timed = line;
    for (std::size_t k = 0; k < curve.rmse.size(); ++k) {
      line.points.emplace_back(static_cast<double>(k + 1), curve.rmse[k]);
      timed.points.emplace_back(curve.seconds[k], curve.rmse[k]);
    }
    by_epoch.series.push_back(std::move(line));
    by_seconds.series.push_back(std::move(timed));
  }
  // On a linear axis the fast runs would be at its left end.
  constexpr double kFarApart = 10.0;
  const bool logarithmic = first > 0.0 && longest > kFarApart * shortest;
  by_seconds.x_scale = logarithmic ? LinePanel::Scale::logarithmic : LinePanel::Scale::linear;
  by_seconds.x_label = logarithmic ? "seconds of training (logarithmic)" : "seconds of training";
  by_epoch.y_limit = by_seconds.y_limit = error_limit(curves);
  page.note = fmt::format("{}. Rings: the epoch whose model was kept.{}", common_options(comparison),
                          by_epoch.y_limit ? " The highest errors are cut off." : "");
  for (const std::string& warning : comparison.warnings) {
    page.note += fmt::format(" Warning: {}.", warning);
  }
  page.shared_legend = true;
  page.panels = {std::move(by_epoch), std::move(by_seconds)};
  return page;
}

}  // namespace curate
