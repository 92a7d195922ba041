#include "report/compare_runs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "curate/error.h"
#include "report/comparison_differences.h"
#include "report/comparison_figures.h"
#include "report/distinct_ends.h"
#include "support/file_set.h"
#include "support/printable.h"
#include "support/utf8.h"
#include "train/safetensors.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

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
    throw InputError(fmt::format("{}: the file has {} epochs, but {} says {}; train the run again", history,
                                 run.history.size(), metrics, run.metrics.epochs));
  }
  run.parameters = count_parameters((folder / "model.safetensors").string());
  return run;
}

ComparedRun read_run(const std::string& path) {
  return read_set(path, "config.toml", [&] { return read_run_once(path); });
}

// Sorting.

std::string option_name(std::string_view key) {
  std::string name(key);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

void sort_runs(std::vector<ComparedRun>& runs, const std::string& key) {
  std::vector<const Figure*> figures = {find_figure(key)};
  if (key == "test_rmse") {
    figures.push_back(find_figure("validation_rmse"));
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

}  // namespace

std::vector<std::string> find_runs(const std::vector<std::string>& paths) {
  constexpr int kLevels = 2;
  constexpr const char* kRemedy = "give a run directory of curate train, or a folder with run directories in it";
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
          fmt::format("{}/config.toml: missing, so the run is incomplete; train it again, or give another run", path));
    }
    const std::size_t before = runs.size();
    add_runs_within(path, kLevels, runs);
    if (runs.size() == before) {
      refuse_unfinished(path, "config.toml");
      throw InputError(
          fmt::format("{}: neither a run nor a folder with runs, because config.toml is missing; {}", path, kRemedy));
    }
  }
  std::map<std::string, std::string> known;
  for (const std::string& run : runs) {
    std::error_code error;
    const fs::path canonical = fs::canonical(run, error);
    const auto [first, added] = known.emplace(error ? run : canonical.string(), run);
    if (!added) {
      throw InputError(first->second == run
                           ? fmt::format("{}: this run is given twice; give every run once", run)
                           : fmt::format("{}: this is the same run as {}; give every run once", run, first->second));
    }
  }
  return runs;
}

std::vector<std::string> comparison_sort_names() {
  std::vector<std::string> names = {"name"};
  for (const Figure& figure : comparison_figures()) {
    names.push_back(option_name(figure.key));
  }
  return names;
}

RunComparison compare_runs(const std::vector<std::string>& paths, const std::string& sort) {
  std::string key = sort;
  std::replace(key.begin(), key.end(), '-', '_');
  if (!sort.empty() && key != "name" && find_figure(key) == nullptr) {
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
    key = any_has(comparison.runs, *find_figure("test_rmse"))         ? "test_rmse"
          : any_has(comparison.runs, *find_figure("validation_rmse")) ? "validation_rmse"
                                                                      : "name";
  }
  if (key != "name" && !any_has(comparison.runs, *find_figure(key))) {
    throw InputError("sort", sort, "none of the runs has that figure; give another, like seconds");
  }
  comparison.sorted_by = key;
  sort_runs(comparison.runs, key);
  find_differences(comparison);
  return comparison;
}

}  // namespace curate
