#include "cli/baseline_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "cli/output.h"
#include "train/baseline.h"

namespace curate::cli {
namespace {

/// What may make a model better that fits its training ratings too closely, or not closely enough.
std::string remedy_for(const TrainOptions& options, const TrainResult& result) {
  if (!options.preset.empty()) {
    return "leave out --preset, or take --model bias";
  }
  if (!result.members.empty()) {
    return "try one of its members alone, or take --model bias";
  }
  const auto epochs = static_cast<std::int32_t>(result.history.size());
  if (result.validation && result.best_epoch == epochs) {
    return fmt::format("its last epoch was its best: try --epochs {}, or take --model bias", 2 * epochs);
  }
  return fmt::format("try --reg {:.2g}, or take --model bias", std::max(0.05, 2.0 * options.reg.value()));
}

}  // namespace

std::vector<std::pair<std::string, Metrics>> result_rows(const TrainResult& result,
                                                         const std::optional<Metrics>& test) {
  std::vector<std::pair<std::string, Metrics>> rows = {{"train", result.train}};
  const auto add = [&](const char* part, const std::optional<Metrics>& own, const std::optional<Metrics>& baseline) {
    if (own) {
      rows.emplace_back(part, *own);
    }
    if (baseline) {
      rows.emplace_back(kBaselineRow, *baseline);
    }
  };
  const Baseline none;
  const Baseline& baseline = result.baseline ? *result.baseline : none;
  add("validation", result.validation, baseline.validation);
  add("test", test, baseline.test);
  return rows;
}

std::string worse_than_baseline(const TrainOptions& options, const TrainResult& result,
                                const std::optional<Metrics>& test) {
  if (!is_worse_than_baseline(result, test)) {
    return "";
  }
  const bool validated = result.validation.has_value();
  return fmt::format("The model is worse than the bias model: {} RMSE {:.5f} against {:.5f}; {}",
                     validated ? "validation" : "test", validated ? result.validation->rmse : test->rmse,
                     validated ? result.baseline->validation->rmse : result.baseline->test->rmse,
                     remedy_for(options, result));
}

}  // namespace curate::cli
