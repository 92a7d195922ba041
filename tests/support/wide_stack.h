#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/dense_stack.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/half_matrix.h"
#include "tests/support/random_inputs.h"

namespace curate::test {

/// What the operations round: all operands in bf16 and hidden layers' biases, but for the last layer's weights and the
/// gradient by its sum.
inline const reference::StackRounding kWideRounding(ProductPrecision::bf16, true, false);

struct WideCase {
  std::vector<std::int64_t> widths;  ///< inputs, then every layer's outputs
  Activation last;
  BatchCase batch;       ///< no dim; its padding, in eights, is that of inputs and their gradient
  float dropout = 0.0F;  ///< after every hidden layer
  bool with_grad_in = true;

  std::string label() const {
    return label_of(widths) + ", " + label_of(last) + ", dropout " + std::to_string(dropout) + ", " + batch.label();
  }
};

/// Whole numbers up to `most`, divided.
inline std::vector<float> whole_numbers(RandomInputs& random, std::int64_t count, float most, float divisor) {
  std::vector<float> values = random.matrix(count, 1, -most, most);
  for (float& value : values) {
    value = std::round(value) / divisor;
  }
  return values;
}

/// On the host. Numbers are such that bf16 has them and hidden sums are exact in f32, whatever their order: what is
/// rounded between the layers, and which relus are on, is then the same everywhere, and only the last sums differ.
struct HostWideStack {
  explicit HostWideStack(const WideCase& test) : test_case(test) {
    RandomInputs random(test.batch.seed);
    const std::int64_t rows = test.batch.batch_size;
    in = whole_numbers(random, rows * test.widths.front(), 3.0F, 1.0F);
    for (std::size_t l = 0; l + 1 < test.widths.size(); ++l) {
      const std::int64_t inputs = test.widths[l];
      const std::int64_t outputs = test.widths[l + 1];
      const bool last = l + 2 == test.widths.size();
      HostDense layer{inputs, outputs, rows, {}, {}, {}};
      // A last layer that bf16 has not, with sums about 0.
      layer.weight =
          last ? random.matrix(1, inputs, -0.01F, 0.01F) : whole_numbers(random, outputs * inputs, 4.0F, 32.0F);
      layer.bias = whole_numbers(random, outputs, 8.0F, 4.0F);
      if (l == 0) {
        // Sums of the first layer are odd multiples of 1/64, never 0: the mask's bit of a sum of 0 is the library's.
        std::transform(layer.bias.begin(), layer.bias.end(), layer.bias.begin(),
                       [](float value) { return value + 1.0F / 64.0F; });
      }
      layers.push_back(layer);
      const auto purpose = static_cast<RandomPurpose>(static_cast<std::uint32_t>(RandomPurpose::dropout_dense) + l);
      dropouts.push_back({last ? 0.0F : test.dropout, purpose});
    }
    grad_out = whole_numbers(random, rows, 5.0F, 1.0F);
    // What a longer batch left behind.
    std::fill(in.begin() + test.batch.count() * test.widths.front(), in.end(), 1e30F);
    std::fill(grad_out.begin() + test.batch.count(), grad_out.end(), std::numeric_limits<float>::quiet_NaN());
  }

  Activation activation(std::size_t l) const {
    return l + 1 == layers.size() ? test_case.last : Activation{ActivationKind::relu};
  }
  std::vector<reference::StackLayer> stack() const {
    std::vector<reference::StackLayer> stack;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      stack.push_back({layers[l].params(), activation(l), dropouts[l]});
    }
    return stack;
  }

  WideCase test_case;
  std::vector<float> in;
  std::vector<HostDense> layers;
  std::vector<DropoutParams> dropouts;
  std::vector<float> grad_out;
};

/// On a device, with all that the operations need.
struct DeviceWideStack {
  DeviceWideStack(Device& stack_device, const HostWideStack& host)
      : device(&stack_device),
        test(host.test_case),
        in(*device, DType::bf16, host.in, rows(), inputs(), (inputs() + 7) / 8 * 8 + 8 * test.batch.padding),
        out(filled(*device, rows(), 1)),
        grad_out(*device, host.grad_out, rows(), 1),
        grad_in(test.with_grad_in
                    ? filled(*device, rows(), inputs(), (inputs() + 3) / 4 * 4 - inputs() + 4 * test.batch.padding)
                    : DeviceMatrix<float>()) {
    device->run(ops::PrepareDense{{rows(), 1, 1}, ProductPrecision::bf16});
    for (std::size_t l = 0; l < host.layers.size(); ++l) {
      params.emplace_back(*device, host.layers[l]);
      grad_params.emplace_back(*device, host.layers[l].outputs, host.layers[l].inputs, kUntouched);
      stack.push_back({params[l].params(), host.activation(l), host.dropouts[l]});
      grad_views.push_back(grad_params[l].params());
    }
    plan = device->run(ops::LayOutDenseStack{stack, rows()});
    workspace = DeviceMatrix<float>(*device,
                                    std::vector<float>(static_cast<std::size_t>(plan ? plan->workspace : 0),
                                                       std::numeric_limits<float>::quiet_NaN()),
                                    plan ? plan->workspace : 0);
    StepState at = batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch);
    at.seed = test.batch.seed;
    at.epoch = 2;
    state = on_device(*device, at);
  }

  void forward() const {
    device->enqueue(ops::DenseStackForward{out.view(), in.view(), stack, workspace.view(), state.view()});
  }
  void backward() const {
    device->enqueue(ops::DenseStackBackward{
        {grad_out.view(), grad_in.view()}, grad_views, in.view(), stack, workspace.view(), state.view()});
  }

  std::int64_t rows() const { return test.batch.batch_size; }
  std::int64_t inputs() const { return test.widths.front(); }

  Device* device;
  WideCase test;
  HalfMatrix in;
  DeviceMatrix<float> out;
  DeviceMatrix<float> grad_out;
  DeviceMatrix<float> grad_in;
  std::vector<DeviceDense> params;
  std::vector<DeviceDense> grad_params;
  std::vector<DenseParams> grad_views;
  DenseStack stack;
  std::optional<DenseStackLayout> plan;
  DeviceMatrix<float> workspace;
  DeviceMatrix<StepState> state;
};

/// Outputs and gradients of the batch against the reference.
inline void expect_close(const DeviceWideStack& got, const HostWideStack& host, std::int64_t batch) {
  WideCase test = host.test_case;
  // Devices' exponential functions differ in the last bit of f32, and so does here and there the rounding of a gradient
  // to bf16.
  const bool approximate = test.last.kind == ActivationKind::sigmoid || test.last.kind == ActivationKind::tanh;
  const double near = approximate ? 6e-5 : 2e-6;
  test.batch.batch = batch;
  const std::int64_t count = test.batch.count();
  const reference::StackPlace place = {test.batch.seed, 2, test.batch.begin()};
  const std::vector<reference::StackLayer> stack = host.stack();
  const reference::StackValues values =
      reference::dense_stack_forward(first_of(host.in, count, got.inputs()), stack, place, kWideRounding);
  const reference::StackGradients gradients =
      reference::dense_stack_backward(first_of(host.grad_out, count, 1), values, stack, place, kWideRounding);
  const reference::Matrix magnitude = reference::dense_sums_magnitudes(values.in.back(), stack.back().params);
  EXPECT_TRUE(sums_close(first_rows(got.out, count), values.out.back(), magnitude, near, test.label() + ", outputs"));
  for (std::size_t l = 0; l < stack.size(); ++l) {
    const std::string label = test.label() + ", layer " + std::to_string(l);
    const reference::DenseGradients& expected = gradients.layers[l];
    const reference::DenseGradients magnitudes =
        reference::dense_backward_magnitudes(expected.out, values.in[l], stack[l].params, {});
    EXPECT_TRUE(
        sums_close(got.grad_params[l].weight.values(), expected.weight, magnitudes.weight, near, label + ", weight"));
    EXPECT_TRUE(sums_close(got.grad_params[l].bias.values(), expected.bias, magnitudes.bias, near, label + ", bias"));
    if (l == 0 && test.with_grad_in) {
      EXPECT_TRUE(sums_close(first_rows(got.grad_in, count), gradients.in, magnitudes.in, near, label + ", inputs"));
    }
  }
}

inline std::vector<WideCase> wide_cases() {
  return {
      {{64, 132, 64, 1}, {}, {801, 1, 512, 0, 512, 0}},
      {{13, 132, 68, 1}, {ActivationKind::sigmoid, 0.5F, 5.0F}, {802, 1, 520, 1, 900, 0}, 0.5F},
      {{64, 160, 1}, {ActivationKind::relu}, {803, 1, 600, 0, 599, 1}, 0.5F},
      {{70, 64, 64, 64, 64, 4, 1}, {ActivationKind::tanh}, {804, 1, 513, 0, 513, 0}, 0.0F, false},
      {{256, 256, 128, 64, 1}, {}, {805, 1, 512, 0, 300, 0}},
      {{64, 68, 512, 1}, {}, {806, 1, 512, 0, 512, 2}, 0.5F, false},
      // More rows than the blocks of the last layer's kernel take at once.
      {{4, 64, 64, 132, 1}, {}, {807, 1, 4400, 0, 4300, 0}, 0.5F},
  };
}

}  // namespace curate::test
