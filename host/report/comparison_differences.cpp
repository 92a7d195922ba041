#include "report/comparison_differences.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "report/progress.h"

namespace curate {

std::string test_source(const RunConfig& config) {
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

namespace {

using Part = std::optional<Metrics> RunMetrics::*;

std::string test_part(const ComparedRun& run) {
  return fmt::format("{}, {} ratings", test_source(run.config), grouped(run.metrics.test->ratings));
}

std::string validation_part(const ComparedRun& run) {
  const RunConfig& config = run.config;
  const std::string rest = config.test.empty() ? ", without " + test_source(config) : "";
  return fmt::format("{} of {}{}, seed {}, {} ratings", config.options.validation, config.data, rest,
                     config.options.validation_seed.value_or(config.options.seed),
                     grouped(run.metrics.validation->ratings));
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

}  // namespace

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
        "test errors cannot be compared, because the runs were tested on different ratings: {}", listed(tests)));
  } else if (!comparison.same_validation) {
    comparison.warnings.push_back(fmt::format(
        "validation errors cannot be compared, because the runs held out different ratings: {}", listed(validations)));
  }
}

}  // namespace curate
