#pragma once

#include <nlohmann/json.hpp>

#include "curate/metrics.h"
#include "curate/trainer.h"

namespace curate {

/// Metrics under the names of metrics.json, in its order.
nlohmann::ordered_json to_json(const Metrics& metrics);
nlohmann::ordered_json to_json(const Divergence& divergence);

}  // namespace curate
