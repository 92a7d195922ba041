#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "device/device.h"
#include "tests/reference/matrix.h"

namespace curate::reference {

struct Table {
  Matrix weights;
  Matrix gradient;
  Matrix first_moment;
  Matrix second_moment;
};

/// One optimizer step, the t-th (from 1), on the rows named, at learning_rate = the given one times params.rate. The
/// rows must be distinct. Elementwise, in this order:
///   g = gradient + 2 l2 w, with the w from before the step
///   w -= learning_rate weight_decay w
///   the optimizer's step along g, from the w that has decayed (g is not taken anew)
///   w = max(w, 0) where non_negative, gradient = 0
inline void update_rows(Table& table, const std::vector<std::int32_t>& rows, const OptimizerParams& params,
                        double given_rate, std::int64_t t) {
  const double learning_rate = given_rate * static_cast<double>(params.rate);
  const auto beta1 = static_cast<double>(params.beta1);
  const auto beta2 = static_cast<double>(params.beta2);
  const auto epsilon = static_cast<double>(params.epsilon);
  const auto l2 = static_cast<double>(params.l2);
  const auto weight_decay = static_cast<double>(params.weight_decay);
  for (const std::int32_t row : rows) {
    for (std::int64_t k = 0; k < table.weights.cols; ++k) {
      double& w = table.weights(row, k);
      const double g = table.gradient(row, k) + 2.0 * l2 * w;
      w -= learning_rate * weight_decay * w;
      switch (params.kind) {
        case OptimizerKind::sgd:
          w -= learning_rate * g;
          break;
        case OptimizerKind::adagrad: {
          double& v = table.second_moment(row, k);
          v += g * g;
          w -= learning_rate * g / (std::sqrt(v) + epsilon);
          break;
        }
        case OptimizerKind::adam: {
          double& m = table.first_moment(row, k);
          double& v = table.second_moment(row, k);
          m = beta1 * m + (1.0 - beta1) * g;
          v = beta2 * v + (1.0 - beta2) * g * g;
          const double m_hat = m / (1.0 - std::pow(beta1, static_cast<double>(t)));
          const double v_hat = v / (1.0 - std::pow(beta2, static_cast<double>(t)));
          w -= learning_rate * m_hat / (std::sqrt(v_hat) + epsilon);
          break;
        }
      }
      if (params.non_negative) {
        w = std::max(w, 0.0);
      }
      table.gradient(row, k) = 0.0;
    }
  }
}

/// The same step on all rows.
inline void update_dense(Table& table, const OptimizerParams& params, double learning_rate, std::int64_t t) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(table.weights.rows));
  std::iota(rows.begin(), rows.end(), 0);
  update_rows(table, rows, params, learning_rate, t);
}

}  // namespace curate::reference
