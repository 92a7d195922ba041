#pragma once

#include <string>

#include "curate/options.h"

namespace curate {

/// Why that device cannot train what the resolved options say, with a remedy; empty where it can.
std::string device_gap(const std::string& device, const TrainOptions& resolved);

}  // namespace curate
