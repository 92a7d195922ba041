#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/dense.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {

/// One layer's forward and backward pass with the buffers that they need.
struct DensePass {
  DensePass(Device& layer_device, const DenseCase& layer_case)
      : device(&layer_device),
        test(layer_case),
        random(test.batch.seed),
        host(random_dense(random, test)),
        gradients(random.matrix(host.batch, host.outputs)),
        in(*device, host.in, host.batch, host.inputs, host.inputs + test.in_padding),
        out(filled(*device, host.batch, host.outputs, test.batch.padding)),
        params(*device, host),
        grad_out(*device, gradients, host.batch, host.outputs),
        grad_in(filled(*device, host.batch, host.inputs)),
        grad_params(*device, host.outputs, host.inputs, kUntouched),
        state(on_device(*device, batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch))) {}

  void forward() const {
    device->enqueue(ops::DenseForward{{out.view(), in.view()}, params.params(), test.activation, state.view()});
  }
  void backward() const {
    device->enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                       grad_params.params(),
                                       {out.view(), in.view()},
                                       params.params(),
                                       test.activation,
                                       state.view()});
  }

  /// Of a linear layer, whose every result is a sum: whether all lie within `rounding` of their terms' magnitudes, in
  /// units of f32's roundings, on top of those.
  testing::AssertionResult close(std::int64_t rounding) const {
    const std::int64_t count = test.batch.count();
    const reference::Matrix exact_in = host.inputs_of_first(count);
    const reference::Matrix exact_grad(count, host.outputs,
                                       std::vector<float>(gradients.begin(), gradients.begin() + count * host.outputs));
    const reference::Matrix sums = reference::dense_forward(exact_in, host.params(), test.activation);
    const reference::DenseGradients grad =
        reference::dense_backward(exact_grad, exact_in, sums, host.params(), test.activation);
    const reference::DenseGradients magnitudes =
        reference::dense_backward_magnitudes(exact_grad, exact_in, host.params(), test.activation);
    const auto compare = [&](const std::vector<float>& got, const reference::Matrix& expected,
                             const reference::Matrix& magnitude, std::int64_t length, const char* what) {
      return dot_close(got, expected.values, magnitude.values, {length + rounding}, test.label() + what);
    };
    testing::AssertionResult result =
        compare(first_rows(out, count), sums, reference::dense_sums_magnitudes(exact_in, host.params()),
                host.inputs + 1, ", outputs");
    if (result) {
      result = compare(first_rows(grad_in, count), grad.in, magnitudes.in, host.outputs, ", gradient of inputs");
    }
    if (result) {
      result = compare(grad_params.weight.values(), grad.weight, magnitudes.weight, count, ", gradient of weights");
    }
    if (result) {
      result = compare(grad_params.bias.values(), grad.bias, magnitudes.bias, count, ", gradient of the bias");
    }
    return result;
  }

  Device* device;
  DenseCase test;
  RandomInputs random;
  HostDense host;
  std::vector<float> gradients;
  DeviceMatrix<float> in;
  DeviceMatrix<float> out;
  DeviceDense params;
  DeviceMatrix<float> grad_out;
  DeviceMatrix<float> grad_in;
  DeviceDense grad_params;
  DeviceMatrix<StepState> state;
};

/// A linear layer on a batch that is short by `missing`.
inline DenseCase linear(std::int64_t inputs, std::int64_t outputs, std::int64_t batch, std::int64_t missing = 0) {
  return {inputs, outputs, 0, {}, {501, outputs, batch, 0, batch - missing, 0}, true};
}

inline DenseSize size_of(const DenseCase& test) {
  return {test.batch.batch_size, test.inputs, test.outputs};
}

/// Rounding of both operands of a product, as the hardware may do it, in units of f32's half ones.
constexpr std::int64_t kTf32 = std::int64_t{1} << 14U;
constexpr std::int64_t kBf16 = std::int64_t{1} << 16U;

}  // namespace curate::test
