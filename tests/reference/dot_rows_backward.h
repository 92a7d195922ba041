#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/mf.h"

namespace curate::reference {

/// Gradients of the first `count` rows; those of absent biases are absent.
inline Mf dot_rows_backward(const std::vector<double>& grad_prediction, const Mf& rows, double l2, std::int64_t count) {
  const double c = 2.0 * l2 / static_cast<double>(count);
  Mf grad;
  grad.user = Matrix(count, rows.user.cols);
  grad.item = Matrix(count, rows.item.cols);
  grad.user_bias = Matrix(rows.user_bias.absent() ? 0 : count, 1);
  grad.item_bias = Matrix(rows.item_bias.absent() ? 0 : count, 1);
  for (std::int64_t b = 0; b < count; ++b) {
    const double g = grad_prediction.at(static_cast<std::size_t>(b));
    for (std::int64_t k = 0; k < rows.user.cols; ++k) {
      grad.user(b, k) = g * rows.item(b, k) + c * rows.user(b, k);
      grad.item(b, k) = g * rows.user(b, k) + c * rows.item(b, k);
    }
    if (!rows.user_bias.absent()) {
      grad.user_bias(b, 0) = g + c * rows.user_bias(b, 0);
    }
    if (!rows.item_bias.absent()) {
      grad.item_bias(b, 0) = g + c * rows.item_bias(b, 0);
    }
  }
  return grad;
}

/// The same with absolute values throughout: the magnitudes of the two terms of every element, for the rounding bound.
inline Mf dot_rows_backward_magnitudes(std::vector<double> grad_prediction, Mf rows, double l2, std::int64_t count) {
  for (double& value : grad_prediction) {
    value = std::abs(value);
  }
  for (Matrix* matrix : {&rows.user, &rows.item, &rows.user_bias, &rows.item_bias}) {
    for (double& value : matrix->values) {
      value = std::abs(value);
    }
  }
  return dot_rows_backward(grad_prediction, rows, l2, count);
}

}  // namespace curate::reference
