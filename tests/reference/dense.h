#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>

#include "device/device.h"
#include "tests/reference/matrix.h"

namespace curate::reference {

/// A fully connected layer's parameters.
struct Dense {
  Matrix weight;  ///< [outputs, inputs]
  Matrix bias;    ///< [outputs, 1]
};

inline double activate(double z, const Activation& activation) {
  const auto low = static_cast<double>(activation.low);
  const auto high = static_cast<double>(activation.high);
  switch (activation.kind) {
    case ActivationKind::linear:
      return z;
    case ActivationKind::relu:
      return std::max(z, low);
    case ActivationKind::tanh:
      return std::tanh(z);
    case ActivationKind::sigmoid:
      return low + (high - low) / (1.0 + std::exp(-z));
  }
  throw std::logic_error("unknown activation");
}

/// activation'(z) where activation(z) = y.
inline double slope_at_output(double y, const Activation& activation) {
  const auto low = static_cast<double>(activation.low);
  const auto high = static_cast<double>(activation.high);
  switch (activation.kind) {
    case ActivationKind::linear:
      return 1.0;
    case ActivationKind::relu:
      return y > low ? 1.0 : 0.0;
    case ActivationKind::tanh:
      return 1.0 - y * y;
    case ActivationKind::sigmoid:
      // low + (high - low) s has the slope (high - low) s (1 - s).
      return high == low ? 0.0 : (y - low) * (high - y) / (high - low);
  }
  throw std::logic_error("unknown activation");
}

/// The largest slope: an error of z makes one of y that is at most this many times as large.
inline double steepest_slope(const Activation& activation) {
  if (activation.kind == ActivationKind::sigmoid) {
    return std::abs(static_cast<double>(activation.high) - static_cast<double>(activation.low)) / 4.0;
  }
  return 1.0;
}

/// z[b, j] = bias[j] + sum_k in[b, k] weight[j, k], before the activation.
inline Matrix dense_sums(const Matrix& in, const Dense& params) {
  Matrix sums(in.rows, params.weight.rows);
  for (std::int64_t b = 0; b < in.rows; ++b) {
    for (std::int64_t j = 0; j < params.weight.rows; ++j) {
      double sum = params.bias(j, 0);
      for (std::int64_t k = 0; k < in.cols; ++k) {
        sum += in(b, k) * params.weight(j, k);
      }
      sums(b, j) = sum;
    }
  }
  return sums;
}

inline Matrix dense_forward(const Matrix& in, const Dense& params, const Activation& activation) {
  Matrix out = dense_sums(in, params);
  for (double& value : out.values) {
    value = activate(value, activation);
  }
  return out;
}

struct DenseGradients {
  Matrix out;     ///< h, by the sums before the activation
  Matrix weight;  ///< by the parameters
  Matrix bias;
  Matrix in;  ///< by the inputs
};

/// Backward from h on.
inline DenseGradients dense_backward_from_sums(const Matrix& h, const Matrix& in, const Dense& params) {
  DenseGradients grad{h, Matrix(h.cols, in.cols), Matrix(h.cols, 1), Matrix(h.rows, in.cols)};
  for (std::int64_t b = 0; b < h.rows; ++b) {
    for (std::int64_t j = 0; j < h.cols; ++j) {
      for (std::int64_t k = 0; k < in.cols; ++k) {
        grad.weight(j, k) += h(b, j) * in(b, k);
        grad.in(b, k) += h(b, j) * params.weight(j, k);
      }
      grad.bias(j, 0) += h(b, j);
    }
  }
  return grad;
}

/// All gradients, from the layer's inputs and outputs. Slopes come from the outputs alone.
inline DenseGradients dense_backward(const Matrix& grad_out, const Matrix& in, const Matrix& out, const Dense& params,
                                     const Activation& activation) {
  Matrix h = grad_out;
  for (std::int64_t b = 0; b < h.rows; ++b) {
    for (std::int64_t j = 0; j < h.cols; ++j) {
      h(b, j) *= slope_at_output(out(b, j), activation);
    }
  }
  return dense_backward_from_sums(h, in, params);
}

inline Matrix absolute(Matrix matrix) {
  for (double& value : matrix.values) {
    value = std::abs(value);
  }
  return matrix;
}

/// The sums of the absolute values of all terms of z, for the rounding bound.
inline Matrix dense_sums_magnitudes(const Matrix& in, const Dense& params) {
  return dense_sums(absolute(in), {absolute(params.weight), absolute(params.bias)});
}

/// The same of all gradients. The slope of a tanh or sigmoid comes from an output by a subtraction, so its error is one
/// of the steepest slope, however small it is.
inline DenseGradients dense_backward_magnitudes(const Matrix& grad_out, const Matrix& in, const Dense& params,
                                                const Activation& activation) {
  Matrix h = absolute(grad_out);
  for (double& value : h.values) {
    value *= steepest_slope(activation);
  }
  return dense_backward_from_sums(h, absolute(in), {absolute(params.weight), absolute(params.bias)});
}

}  // namespace curate::reference
