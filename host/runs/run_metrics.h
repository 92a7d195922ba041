#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "curate/metrics.h"
#include "curate/trainer.h"

namespace curate {

/// metrics.json.
std::string metrics_json(const TrainResult& result, const std::optional<Metrics>& test);

/// metrics.json of a run, read back.
struct RunMetrics {
  std::optional<Metrics> train;
  std::optional<Metrics> validation;
  std::optional<Metrics> test;
  std::int32_t epochs = 0;      ///< that were run; of an ensemble by all members together
  std::int32_t best_epoch = 0;  ///< whose model was kept, from 1; 0: that of the start, or members have one each
  std::int32_t members = 0;     ///< of an ensemble; else 0
  double seconds = 0.0;
  std::string device;
};

/// Throws InputError naming the file, and the line of broken JSON or the value that is not as it should be.
RunMetrics read_metrics(const std::string& path);

}  // namespace curate
