#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/dense.h"
#include "tests/reference/matrix.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {

/// Every kind, the sigmoid in the ranges of ratings too.
inline std::vector<Activation> all_activations() {
  return {{ActivationKind::linear},
          {ActivationKind::relu},
          {ActivationKind::tanh},
          {ActivationKind::sigmoid},
          {ActivationKind::sigmoid, 0.5F, 5.0F}};
}

inline std::string label_of(const Activation& activation) {
  const char* const names[] = {"linear", "relu", "tanh", "sigmoid"};
  std::string label = names[static_cast<int>(activation.kind)];
  if (activation.kind == ActivationKind::sigmoid) {
    label += " from " + std::to_string(activation.low) + " to " + std::to_string(activation.high);
  }
  return label;
}

/// Inputs of a stack's first layer, then every layer's outputs: 13-100-1.
inline std::string label_of(const std::vector<std::int64_t>& widths) {
  std::string label;
  for (const std::int64_t width : widths) {
    label += (label.empty() ? "" : "-") + std::to_string(width);
  }
  return label;
}

/// The first rows of a matrix that lies contiguous.
inline reference::Matrix first_of(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  return reference::Matrix(rows, cols, std::vector<float>(values.begin(), values.begin() + rows * cols));
}

/// Within `relative` of the largest of the magnitudes, each the sum of an element's terms without their signs.
inline testing::AssertionResult sums_close(const std::vector<float>& got, const reference::Matrix& expected,
                                           const reference::Matrix& magnitudes, double relative,
                                           const std::string& label) {
  const double largest = *std::max_element(magnitudes.values.begin(), magnitudes.values.end());
  return all_close(got, expected.values, {relative * largest, 0.0}, label);
}

/// One layer on one batch.
struct DenseCase {
  std::int64_t inputs = 1;
  std::int64_t outputs = 1;
  std::int64_t in_padding = 0;
  Activation activation;
  BatchCase batch;    ///< its padding is that of the outputs; no dim
  bool wide = false;  ///< enough for a library that works on rows past the count too

  std::string label() const {
    return std::to_string(inputs) + " to " + std::to_string(outputs) + ", " + label_of(activation) +
           ", padding of inputs " + std::to_string(in_padding) + ", " + batch.label();
  }
};

/// All pairs of sizes around the widths of vectors, warps and tiles, and some that none of them divides; full and short
/// batches, from one rating to more than any block takes at once. The counts that choose the rest have no common
/// divisor, so that everything meets everything.
inline std::vector<DenseCase> dense_cases() {
  std::vector<DenseCase> cases;
  const std::vector<Activation> activations = all_activations();
  const auto add = [&](std::int64_t inputs, std::int64_t outputs, std::int64_t batch_size) {
    const std::size_t n = cases.size();
    const std::int64_t padding = n / 4 % 2 == 0 ? 0 : 5;
    const std::int64_t in_padding = n / 8 % 2 == 0 ? 0 : 3;
    cases.push_back({inputs, outputs, in_padding, activations[n % activations.size()],
                     batch_case(2000 + n, outputs, batch_size, 1 + static_cast<std::int64_t>(n / 2 % 2), padding)});
  };
  const std::int64_t sizes[] = {1, 2, 3, 5, 7, 13, 16, 17, 64, 100, 128, 200};
  for (const std::int64_t inputs : sizes) {
    for (const std::int64_t outputs : sizes) {
      for (const std::int64_t batch_size : {1, 5, 32}) {
        add(inputs, outputs, batch_size);
      }
    }
  }
  for (int repeat = 0; repeat < 3; ++repeat) {
    add(1, 1, 1000);
    add(2, 200, 1000);
    add(7, 5, 1000);
    add(17, 16, 1000);
    add(16, 17, 1000);
    add(64, 13, 1000);
    add(3, 128, 1000);
    add(100, 1, 1000);
    add(200, 3, 1000);
  }
  for (const std::int64_t batch_size : kSizesPastABlock) {
    add(1, 1, batch_size);
    add(7, 5, batch_size);
  }
  // 257 and 513 parameters, whose partial sums are added by a thread each.
  add(256, 1, 1000);
  add(512, 1, 1000);
  return cases;
}

/// More rows than any engine takes without splitting the batch.
inline std::vector<DenseCase> large_dense_cases() {
  return {{13, 16, 0, {ActivationKind::relu}, {2900, 16, 20011, 0, 20011, 0}},
          {100, 1, 3, {ActivationKind::sigmoid, 0.5F, 5.0F}, {2901, 1, 20011, 1, 40000, 2}}};
}

/// Layers that a GPU multiplies by a library; full and short batches, and one without ratings.
inline std::vector<DenseCase> wide_dense_cases() {
  return {{64, 64, 0, {ActivationKind::relu}, {2950, 64, 512, 0, 512, 0}, true},
          {128, 64, 4, {ActivationKind::linear}, {2951, 64, 1024, 1, 1500, 8}, true},
          {64, 132, 0, {ActivationKind::tanh}, {2952, 132, 600, 0, 599, 4}, true},
          {100, 68, 8, {ActivationKind::sigmoid, 0.5F, 5.0F}, {2953, 68, 777, 2, 1555, 0}, true},
          {256, 72, 0, {ActivationKind::relu}, {2954, 72, 513, 0, 300, 12}, true}};
}

/// A layer and a batch for it on the host.
struct HostDense {
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t batch = 0;
  std::vector<float> in;      ///< [batch, inputs]
  std::vector<float> weight;  ///< [outputs, inputs]
  std::vector<float> bias;    ///< [outputs]

  reference::Dense params() const {
    return {reference::Matrix(outputs, inputs, weight), reference::Matrix(outputs, 1, bias)};
  }
  reference::Matrix inputs_of_first(std::int64_t count) const {
    return reference::Matrix(count, inputs, std::vector<float>(in.begin(), in.begin() + count * inputs));
  }
};

/// Sums before the activation with a spread of about one, whatever the number of inputs. The rows past the count hold
/// what the last full batch left there, or nothing sensible at all; of wide layers something finite, as the contract
/// asks, and out of all proportion.
inline HostDense random_dense(RandomInputs& inputs, const DenseCase& test) {
  const auto scale = static_cast<float>(3.0 / std::sqrt(static_cast<double>(test.inputs)));
  HostDense host{test.inputs, test.outputs, test.batch.batch_size, {}, {}, {}};
  host.in = inputs.matrix(host.batch, host.inputs);
  host.weight = inputs.matrix(host.outputs, host.inputs, -scale, scale);
  host.bias = inputs.matrix(host.outputs, 1, -0.5F, 0.5F);
  std::fill(host.in.begin() + test.batch.count() * host.inputs, host.in.end(),
            test.wide ? 1e30F : std::numeric_limits<float>::quiet_NaN());
  return host;
}

/// A layer's parameters on a device, or their gradients.
struct DeviceDense {
  DeviceDense(Device& device, const HostDense& host)
      : weight(device, host.weight, host.outputs, host.inputs), bias(device, host.bias, host.outputs) {}
  DeviceDense(Device& device, std::int64_t outputs, std::int64_t inputs, float value)
      : weight(device, std::vector<float>(static_cast<std::size_t>(outputs * inputs), value), outputs, inputs),
        bias(device, std::vector<float>(static_cast<std::size_t>(outputs), value), outputs) {}

  DenseParams params() const { return {weight.view(), bias.view()}; }

  DeviceMatrix<float> weight;
  DeviceMatrix<float> bias;
};

/// [rows, cols] full of `value` on a device.
inline DeviceMatrix<float> filled(Device& device, std::int64_t rows, std::int64_t cols, std::int64_t padding = 0,
                                  float value = kUntouched) {
  return DeviceMatrix<float>(device, std::vector<float>(static_cast<std::size_t>(rows * cols), value), rows, cols,
                             cols + padding);
}

/// Columns of a wider matrix: `before` in front of `cols` and 2 behind, so that rows begin anywhere.
class DeviceWindow {
 public:
  DeviceWindow(Device& device, const std::vector<float>& values, std::int64_t rows, std::int64_t cols,
               std::int64_t before)
      : rows_(rows), cols_(cols), before_(before) {
    std::vector<float> wide(static_cast<std::size_t>(rows * width()), kUntouched);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::copy_n(values.begin() + row * cols, cols, wide.begin() + row * width() + before);
    }
    matrix_ = DeviceMatrix<float>(device, wide, rows, width());
  }

  MatrixView view() const { return matrix_.view().columns(before_, cols_); }

  /// [rows, cols] contiguous. Blocks.
  std::vector<float> values() const {
    const std::vector<float> wide = matrix_.values();
    std::vector<float> values;
    for (std::int64_t row = 0; row < rows_; ++row) {
      const auto first = wide.begin() + row * width() + before_;
      values.insert(values.end(), first, first + cols_);
    }
    return values;
  }

  /// Whether all other columns hold kUntouched still. Blocks.
  testing::AssertionResult others_untouched() const {
    const std::vector<float> wide = matrix_.values();
    for (std::size_t i = 0; i < wide.size(); ++i) {
      const std::int64_t col = static_cast<std::int64_t>(i) % width();
      if ((col < before_ || col >= before_ + cols_) && wide[i] != kUntouched) {
        return testing::AssertionFailure() << "column " << col << " of the wider matrix overwritten, element " << i;
      }
    }
    return testing::AssertionSuccess();
  }

 private:
  std::int64_t width() const { return before_ + cols_ + 2; }

  std::int64_t rows_;
  std::int64_t cols_;
  std::int64_t before_;
  DeviceMatrix<float> matrix_;
};

}  // namespace curate::test
