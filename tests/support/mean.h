#pragma once

#include <numeric>

#include "curate/dataset.h"

namespace curate {

inline double mean_of(const Column<float>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace curate
