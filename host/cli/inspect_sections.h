#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "data/feature_table.h"
#include "train/memory_estimate.h"

namespace curate::cli {

/// How much of a data set one kind of side information is known for.
struct SideCoverage {
  std::string side;  ///< "user" or "item"
  std::string name;
  FeatureKind kind = FeatureKind::number;
  std::int64_t values = 0;  ///< how many names, or numbers of a vector, there are; 0 for a number
  float min = 0.0F;         ///< of a number
  float max = 0.0F;
  std::int64_t rows = 0;  ///< users or items in all
  std::int64_t ratings = 0;
  FeatureCoverage known;
};

/// What one kind of model takes to be trained on all ratings of a data set.
struct ModelMemory {
  TrainOptions options;
  MemoryEstimate cpu;
  MemoryEstimate gpu;
};

/// Reads the side files beside the ratings. Throws InputError for malformed ones.
std::vector<SideCoverage> side_coverage(const Dataset& dataset);
nlohmann::ordered_json to_json(const std::vector<SideCoverage>& coverage);
std::string to_text(const std::vector<SideCoverage>& coverage);

std::vector<ModelMemory> training_memory(const Dataset& dataset);
nlohmann::ordered_json to_json(const std::vector<ModelMemory>& memory);
std::string to_text(const std::vector<ModelMemory>& memory);

}  // namespace curate::cli
