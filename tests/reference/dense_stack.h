#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "device/device.h"
#include "tests/reference/dense.h"
#include "tests/reference/dropout.h"
#include "tests/reference/matrix.h"

namespace curate::reference {

/// A layer of a stack.
struct StackLayer {
  Dense params;
  Activation activation;
  DropoutParams dropout;
};

/// The batch's place in the epoch, for the masks.
struct StackPlace {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t begin = 0;
};

/// To the nearest number with so many bits after the point.
inline double round_to_bits(double value, int bits) {
  if (value == 0.0 || !std::isfinite(value)) {
    return value;
  }
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits + 1)), exponent - bits - 1);
}

/// Every element as the operands of products are rounded.
inline Matrix rounded(Matrix matrix, ProductPrecision precision) {
  if (precision != ProductPrecision::f32) {
    for (double& value : matrix.values) {
      value = round_to_bits(value, precision == ProductPrecision::tf32 ? 10 : 7);
    }
  }
  return matrix;
}

/// [batch, cols] times the mask and its scale.
inline Matrix stack_dropout(Matrix rows, const DropoutParams& params, const StackPlace& place) {
  if (params.rate == 0.0F) {
    return rows;
  }
  const auto scale = static_cast<double>(1.0F / (1.0F - params.rate));
  for (std::int64_t b = 0; b < rows.rows; ++b) {
    for (std::int64_t c = 0; c < rows.cols; ++c) {
      const bool drops = dropped({place.seed, place.epoch, place.begin + b, rows.cols}, c, params);
      rows(b, c) = drops ? 0.0 : rows(b, c) * scale;
    }
  }
  return rows;
}

/// What is rounded when a stack's layers are multiplied.
struct StackRounding {
  StackRounding(ProductPrecision operands = ProductPrecision::f32) : precision(operands) {}  // NOLINT: by precision
  StackRounding(ProductPrecision operands, bool biases, bool last_layer)
      : precision(operands), hidden_biases(biases), last(last_layer) {}

  ProductPrecision precision;
  bool hidden_biases = false;  ///< too
  bool last = true;            ///< the last layer's operands too; what goes into it always is

  ProductPrecision of(std::size_t layer, std::size_t layers) const {
    return last || layer + 1 < layers ? precision : ProductPrecision::f32;
  }
};

/// What goes into every layer, what comes out of it before its dropout.
struct StackValues {
  std::vector<Matrix> in;
  std::vector<Matrix> out;
};

/// Layer by layer, by dense_forward. Hidden outputs are rounded when they are made, and again after their dropout.
inline StackValues dense_stack_forward(const Matrix& in, const std::vector<StackLayer>& stack, const StackPlace& place,
                                       const StackRounding& rounding = {}) {
  const ProductPrecision precision = rounding.precision;
  StackValues values;
  Matrix next = in;
  for (const StackLayer& layer : stack) {
    const bool hidden = values.in.size() + 1 < stack.size();
    const Dense params = {rounded(layer.params.weight, rounding.of(values.in.size(), stack.size())),
                          hidden && rounding.hidden_biases ? rounded(layer.params.bias, precision) : layer.params.bias};
    values.in.push_back(std::move(next));
    values.out.push_back(dense_forward(rounded(values.in.back(), precision), params, layer.activation));
    Matrix& out = values.out.back();
    if (values.out.size() == stack.size() || precision == ProductPrecision::f32) {
      next = stack_dropout(out, layer.dropout, place);
      continue;
    }
    out = rounded(std::move(out), precision);
    next = rounded(stack_dropout(out, layer.dropout, place), precision);
    for (std::size_t e = 0; e < next.values.size(); ++e) {
      const double kept = next.values[e] * (1.0 - static_cast<double>(layer.dropout.rate));
      out.values[e] = next.values[e] == 0.0 ? out.values[e] : kept;
    }
  }
  return values;
}

struct StackGradients {
  std::vector<DenseGradients> layers;  ///< every layer's `out` is h
  Matrix in;
};

/// Layer by layer, by dense_backward.
inline StackGradients dense_stack_backward(const Matrix& grad_out, const StackValues& values,
                                           const std::vector<StackLayer>& stack, const StackPlace& place,
                                           const StackRounding& rounding = {}) {
  StackGradients gradients;
  gradients.layers.resize(stack.size());
  Matrix gradient = grad_out;
  for (std::size_t l = stack.size(); l-- > 0;) {
    const StackLayer& layer = stack[l];
    const ProductPrecision precision = rounding.of(l, stack.size());
    Matrix h = dense_backward(gradient, values.in[l], values.out[l], layer.params, layer.activation).out;
    gradients.layers[l] = dense_backward_from_sums(rounded(h, precision), rounded(values.in[l], rounding.precision),
                                                   {rounded(layer.params.weight, precision), layer.params.bias});
    gradients.layers[l].out = std::move(h);
    gradient = gradients.layers[l].in;
    if (l > 0) {
      gradient = stack_dropout(std::move(gradient), stack[l - 1].dropout, place);
    }
  }
  gradients.in = std::move(gradient);
  return gradients;
}

}  // namespace curate::reference
