#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/reference/mf.h"

namespace curate::reference {

/// prediction[b] of the first `count` rows.
inline std::vector<double> dot_rows(const Mf& rows, std::int64_t count) {
  std::vector<double> prediction;
  for (std::int64_t b = 0; b < count; ++b) {
    prediction.push_back(predict(rows, b, b));
  }
  return prediction;
}

/// The sum of the absolute values of all terms of prediction[b], for the rounding bound.
inline std::vector<double> dot_rows_magnitudes(const Mf& rows, std::int64_t count) {
  Mf absolute = rows;
  for (Matrix* matrix : {&absolute.user, &absolute.item, &absolute.user_bias, &absolute.item_bias}) {
    for (double& value : matrix->values) {
      value = std::abs(value);
    }
  }
  absolute.mean = std::abs(absolute.mean);
  return dot_rows(absolute, count);
}

}  // namespace curate::reference
