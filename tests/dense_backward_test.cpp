#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/dense.h"
#include "tests/reference/matrix.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DenseBackwardTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DenseBackwardTest);

TEST(DenseBackwardReference, hand_computed) {
  const reference::Matrix in(2, 3, std::vector<double>{1, 2, 3, -1, 0, 2});
  const reference::Matrix out(2, 2, std::vector<double>{0, 4, 2, 0});
  const reference::Matrix grad_out(2, 2, std::vector<double>{5, 2, -1, 7});
  const reference::Dense params{reference::Matrix(2, 3, std::vector<double>{1, 0, -1, 2, 1, 0.5}),
                                reference::Matrix(2, 1, std::vector<double>{0.5, -1})};
  reference::DenseGradients grad = reference::dense_backward(grad_out, in, out, params, {ActivationKind::relu});
  EXPECT_EQ(grad.out.values, (std::vector<double>{0, 2, -1, 0}));
  EXPECT_EQ(grad.weight.values, (std::vector<double>{1, 0, -2, 2, 4, 6}));
  EXPECT_EQ(grad.bias.values, (std::vector<double>{-1, 2}));
  EXPECT_EQ(grad.in.values, (std::vector<double>{4, 2, 1, -1, 0, 1}));

  grad = reference::dense_backward(grad_out, in, out, params, {});
  EXPECT_EQ(grad.out.values, grad_out.values);
  // 5 * 1 + -1 * -1, 5 * 2, 5 * 3 - 2; 2 - 7, 4, 6 + 14.
  EXPECT_EQ(grad.weight.values, (std::vector<double>{6, 10, 13, -5, 4, 20}));
  EXPECT_EQ(grad.bias.values, (std::vector<double>{4, 9}));
  EXPECT_EQ(grad.in.values, (std::vector<double>{9, 2, -4, 13, 7, 4.5}));
  const reference::DenseGradients magnitudes = reference::dense_backward_magnitudes(grad_out, in, params, {});
  EXPECT_EQ(magnitudes.weight.values, (std::vector<double>{6, 10, 17, 9, 4, 20}));
  EXPECT_EQ(magnitudes.bias.values, (std::vector<double>{6, 9}));
  EXPECT_EQ(magnitudes.in.values, (std::vector<double>{9, 2, 6, 15, 7, 4.5}));
}

TEST(DenseBackwardReference, hand_computed_slopes) {
  EXPECT_EQ(reference::slope_at_output(-3.0, {ActivationKind::linear}), 1.0);
  EXPECT_EQ(reference::slope_at_output(3.0, {ActivationKind::relu}), 1.0);
  EXPECT_EQ(reference::slope_at_output(0.0, {ActivationKind::relu}), 0.0);
  EXPECT_EQ(reference::slope_at_output(0.5, {ActivationKind::tanh}), 0.75);
  EXPECT_EQ(reference::slope_at_output(0.25, {ActivationKind::sigmoid}), 0.1875);
  EXPECT_EQ(reference::slope_at_output(2.0, {ActivationKind::sigmoid, 1.0F, 5.0F}), 0.75);
  EXPECT_EQ(reference::slope_at_output(3.0, {ActivationKind::sigmoid, 1.0F, 5.0F}), 1.0);
  EXPECT_EQ(reference::steepest_slope({ActivationKind::sigmoid, 1.0F, 5.0F}), 1.0);
  EXPECT_EQ(reference::slope_at_output(2.0, {ActivationKind::sigmoid, 2.0F, 2.0F}), 0.0);
}

/// A layer, its inputs, and the gradient of some objective by its outputs: the objective is their product.
struct LayerObjective {
  reference::Matrix in;
  reference::Dense params;
  reference::Matrix grad_out;
  Activation activation;

  double value() const {
    const reference::Matrix out = reference::dense_forward(in, params, activation);
    double sum = 0.0;
    for (std::size_t i = 0; i < out.values.size(); ++i) {
      sum += grad_out.values[i] * out.values[i];
    }
    return sum;
  }

  /// Central differences by every element of `parameter`, which is part of this.
  std::vector<double> differences(reference::Matrix& parameter) const {
    constexpr double kStep = 1e-5;
    std::vector<double> gradient;
    for (double& element : parameter.values) {
      const double at = element;
      element = at + kStep;
      const double above = value();
      element = at - kStep;
      const double below = value();
      element = at;
      gradient.push_back((above - below) / (2.0 * kStep));
    }
    return gradient;
  }
};

// Catches a reference (and so a contract) whose slopes are not those of its activations.
TEST(DenseBackwardReference, matches_finite_differences) {
  constexpr std::int64_t kBatch = 6;
  std::vector<Activation> activations = all_activations();
  activations.push_back({ActivationKind::sigmoid, -3.0F, 2.0F});
  for (const Activation& activation : activations) {
    RandomInputs random(401);
    const HostDense host = random_dense(random, {4, 3, 0, activation, {401, 3, kBatch, 0, kBatch, 0}});
    LayerObjective objective{host.inputs_of_first(kBatch), host.params(),
                             reference::Matrix(kBatch, 3, random.matrix(kBatch, 3)), activation};
    const reference::Matrix out = reference::dense_forward(objective.in, objective.params, activation);
    const reference::DenseGradients grad =
        reference::dense_backward(objective.grad_out, objective.in, out, objective.params, activation);
    const std::string label = label_of(activation) + ", seed 401";
    EXPECT_TRUE(gradient_close(grad.in.values, objective.differences(objective.in), 1e-8, label + ", inputs"));
    EXPECT_TRUE(
        gradient_close(grad.weight.values, objective.differences(objective.params.weight), 1e-8, label + ", weight"));
    EXPECT_TRUE(gradient_close(grad.bias.values, objective.differences(objective.params.bias), 1e-8, label + ", bias"));
  }
}

/// A batch for the backward pass. The outputs are those of no forward pass: their slopes must come from them alone.
struct HostBackward {
  HostDense layer;
  std::vector<float> out;
  std::vector<float> grad_out;

  reference::Matrix first(const std::vector<float>& values, std::int64_t count) const {
    return reference::Matrix(count, layer.outputs,
                             std::vector<float>(values.begin(), values.begin() + count * layer.outputs));
  }
};

/// The rows past the count are NaN where they are only read, of wide layers where they are read not even that.
HostBackward random_backward(RandomInputs& random, const DenseCase& test, float lowest_gradient = -1.0F) {
  HostBackward host{random_dense(random, test), {}, {}};
  const Activation& activation = test.activation;
  host.out = random.matrix(host.layer.batch, test.outputs);
  for (float& y : host.out) {
    if (activation.kind == ActivationKind::relu) {
      y = std::max(y, 0.0F);
    } else if (activation.kind == ActivationKind::sigmoid) {
      y = activation.low + (activation.high - activation.low) * (0.5F + 0.49F * y);
    }
  }
  host.grad_out = random.matrix(host.layer.batch, test.outputs, lowest_gradient, 1.0F);
  const std::int64_t past = test.batch.count() * test.outputs;
  std::fill(host.out.begin() + past, host.out.end(), kNan);
  std::fill(host.grad_out.begin() + past, host.grad_out.end(), test.wide ? kNan : kUntouched);
  return host;
}

/// How sums over the batch are compared: by the bound of their length, or by their largest, which is the sharper one
/// for long sums.
enum class Sums : std::uint8_t { by_length, by_largest };

testing::AssertionResult batch_sums_close(const std::vector<float>& got, const reference::Matrix& expected,
                                          const reference::Matrix& magnitudes, std::int64_t length, Sums sums,
                                          const std::string& label) {
  // A slope adds a few roundings to every term.
  return sums == Sums::by_largest ? gradient_close(got, expected.values, 1e-5, label)
                                  : dot_close(got, expected.values, magnitudes.values, {length + 8}, label);
}

/// What is computed for a batch against the reference. `grad_in` may be empty.
testing::AssertionResult gradients_match(const HostBackward& host, std::int64_t count, const Activation& activation,
                                         const std::vector<float>& grad_out, const DeviceDense& grad_params,
                                         const std::vector<float>& grad_in, Sums sums, const std::string& label) {
  const reference::Matrix in = host.layer.inputs_of_first(count);
  const reference::Matrix exact = host.first(host.grad_out, count);
  const reference::DenseGradients expected =
      reference::dense_backward(exact, in, host.first(host.out, count), host.layer.params(), activation);
  const reference::DenseGradients magnitudes =
      reference::dense_backward_magnitudes(exact, in, host.layer.params(), activation);
  const bool rounds = activation.kind == ActivationKind::tanh || activation.kind == ActivationKind::sigmoid;
  testing::AssertionResult result =
      dot_close(grad_out, expected.out.values, magnitudes.out.values, {rounds ? 8 : 0}, label + ", h");
  if (result) {
    result = batch_sums_close(grad_params.weight.values(), expected.weight, magnitudes.weight, count, sums,
                              label + ", gradient of the weight");
  }
  if (result) {
    result = batch_sums_close(grad_params.bias.values(), expected.bias, magnitudes.bias, count, sums,
                              label + ", gradient of the bias");
  }
  if (result && !grad_in.empty()) {
    result = batch_sums_close(grad_in, expected.in, magnitudes.in, host.layer.outputs, Sums::by_length,
                              label + ", gradient of the inputs");
  }
  return result;
}

void expect_backward(Device& device, const DenseCase& test, bool with_grad_in, Sums sums,
                     float lowest_gradient = -1.0F) {
  const std::string label = test.label() + (with_grad_in ? "" : ", no gradient of the inputs");
  RandomInputs random(test.batch.seed);
  const HostBackward host = random_backward(random, test, lowest_gradient);
  const std::int64_t batch = host.layer.batch;
  const DeviceMatrix<float> in(device, host.layer.in, batch, test.inputs, test.inputs + test.in_padding);
  const DeviceMatrix<float> out(device, host.out, batch, test.outputs, test.outputs + test.batch.padding);
  const DeviceDense layer(device, host.layer);
  // Both sides of the layer are padded in turns.
  const DeviceMatrix<float> grad_out(device, host.grad_out, batch, test.outputs, test.outputs + test.in_padding);
  const DeviceMatrix<float> grad_in =
      with_grad_in ? filled(device, batch, test.inputs, test.batch.padding) : DeviceMatrix<float>();
  const DeviceDense grad_params(device, test.outputs, test.inputs, kUntouched);
  const DeviceMatrix<StepState> state =
      on_device(device, batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch));
  device.enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                    grad_params.params(),
                                    {out.view(), in.view()},
                                    layer.params(),
                                    test.activation,
                                    state.view()});

  const std::int64_t count = test.batch.count();
  ASSERT_TRUE(gradients_match(host, count, test.activation, first_rows(grad_out, count), grad_params,
                              with_grad_in ? first_rows(grad_in, count) : std::vector<float>(), sums, label));
  ASSERT_TRUE(untouched_from(grad_out, count, label + ", h", test.wide));
  if (with_grad_in) {
    ASSERT_TRUE(untouched_from(grad_in, count, label + ", gradient of the inputs", test.wide));
  }
}

// Catches: a slope of another activation, taken from the sum instead of the output, without the range of a sigmoid or
// with 1 at a relu's 0; h not stored, or stored before it is read; the transpose of the weight or of its gradient;
// gradients added to what was there; rows past the count (they hold NaN, or a number out of all proportion) summed or
// overwritten; tails and every ld.
TEST_P(DenseBackwardTest, matches_reference) {
  std::size_t n = 0;
  for (const DenseCase& test : dense_cases()) {
    expect_backward(device(), test, n % 7 < 5, Sums::by_length);
    ++n;
  }
}

// Large enough that an engine shares the work among threads. Catches: rows that fall between two shares, and partial
// sums that are lost or counted twice.
TEST_P(DenseBackwardTest, matches_reference_where_threads_share_the_work) {
  for (const DenseCase& test : large_dense_cases()) {
    // Sums of gradients of one sign do not cancel, so that they can be told from those of a row less.
    expect_backward(device(), test, true, Sums::by_largest, 0.0F);
  }
}

// Catches: the gradient of the bias taken over the wrong operand, rows past the count (they hold NaN, or numbers out of
// all proportion) in the sums, a transpose too many or too few.
TEST_P(DenseBackwardTest, wide_layers_match_reference) {
  for (DenseCase test : wide_dense_cases()) {
    for (const Activation& activation : all_activations()) {
      expect_backward(device(), test, true, Sums::by_length);
      test.activation = activation;
      test.batch.num_ratings = test.batch.begin() + 511;
    }
    expect_backward(device(), test, false, Sums::by_largest, 0.0F);
  }
}

TEST_P(DenseBackwardTest, nan_in_a_wide_layer_shows_in_all_that_it_enters) {
  constexpr std::int64_t kBatch = 512;
  const DenseCase test{64, 68, 0, {ActivationKind::relu}, {411, 68, kBatch, 0, kBatch, 0}, true};
  RandomInputs random(test.batch.seed);
  HostBackward host = random_backward(random, test);
  host.grad_out[7 * 68 + 3] = kNan;
  host.out[7 * 68 + 3] = 0.5F;
  host.layer.in[9 * 64 + 5] = kNan;
  const DeviceMatrix<float> in(device(), host.layer.in, kBatch, 64);
  const DeviceMatrix<float> out(device(), host.out, kBatch, 68);
  const DeviceDense layer(device(), host.layer);
  const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, 68);
  const DeviceMatrix<float> grad_in = filled(device(), kBatch, 64);
  const DeviceDense grad_params(device(), 68, 64, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
  device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                      grad_params.params(),
                                      {out.view(), in.view()},
                                      layer.params(),
                                      test.activation,
                                      state.view()});
  const std::vector<float> by_weight = grad_params.weight.values();
  for (std::size_t i = 0; i < by_weight.size(); ++i) {
    ASSERT_EQ(std::isnan(by_weight[i]), i / 64 == 3 || i % 64 == 5) << "weight, element " << i;
  }
  const std::vector<float> by_bias = grad_params.bias.values();
  for (std::size_t i = 0; i < by_bias.size(); ++i) {
    ASSERT_EQ(std::isnan(by_bias[i]), i == 3) << "bias, element " << i;
  }
  const std::vector<float> by_inputs = grad_in.values();
  for (std::size_t i = 0; i < by_inputs.size(); ++i) {
    ASSERT_EQ(std::isnan(by_inputs[i]), i / 64 == 7) << "inputs, element " << i;
  }
}

TEST_P(DenseBackwardTest, a_wide_batch_without_ratings_has_gradients_of_zero) {
  constexpr std::int64_t kBatch = 512;
  const DenseCase test{64, 64, 0, {ActivationKind::sigmoid}, {412, 64, kBatch, 3, 600, 0}, true};
  RandomInputs random(test.batch.seed);
  const HostBackward host = random_backward(random, test);
  const DeviceMatrix<float> in(device(), host.layer.in, kBatch, 64);
  const DeviceMatrix<float> out(device(), host.out, kBatch, 64);
  const DeviceDense layer(device(), host.layer);
  const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, 64);
  const DeviceMatrix<float> grad_in = filled(device(), kBatch, 64);
  const DeviceDense grad_params(device(), 64, 64, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(600, kBatch, 3));
  device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                      grad_params.params(),
                                      {out.view(), in.view()},
                                      layer.params(),
                                      test.activation,
                                      state.view()});
  EXPECT_TRUE(all_close(grad_params.weight.values(), std::vector<float>(64 * 64, 0.0F), {}, "weight"));
  EXPECT_TRUE(all_close(grad_params.bias.values(), std::vector<float>(64, 0.0F), {}, "bias"));
}

TEST_P(DenseBackwardTest, a_captured_wide_call_follows_the_state) {
  constexpr std::int64_t kBatch = 512;
  const DenseCase test{64, 68, 0, {ActivationKind::tanh}, {413, 68, kBatch, 0, kBatch, 0}, true};
  RandomInputs random(test.batch.seed);
  HostBackward host = random_backward(random, test);
  const DeviceMatrix<float> in(device(), host.layer.in, kBatch, 64);
  const DeviceMatrix<float> out(device(), host.out, kBatch, 68);
  const DeviceDense layer(device(), host.layer);
  const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, 68);
  const DeviceMatrix<float> grad_in = filled(device(), kBatch, 64);
  const DeviceDense grad_params(device(), 68, 64, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  device().run(ops::PrepareDense{{kBatch, 64, 68}});
  device().enqueue(ops::BeginEpoch{state.view(), {1, 0, 2 * kBatch - 100, kBatch, {}}});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                        grad_params.params(),
                                        {out.view(), in.view()},
                                        layer.params(),
                                        test.activation,
                                        state.view()});
    device().enqueue(ops::AdvanceStep{state.view()});
  });
  for (const std::int64_t count : {kBatch, kBatch - 100, std::int64_t{0}}) {
    const std::string label = std::to_string(count) + " ratings, " + test.label();
    host.layer.in = random.matrix(kBatch, 64);
    host.grad_out = random.matrix(kBatch, 68);
    device().upload(in.view(), std::span<const float>(host.layer.in));
    device().upload(grad_out.view(), std::span<const float>(host.grad_out));
    device().replay(*graph, 1);
    if (count > 0) {
      EXPECT_TRUE(gradients_match(host, count, test.activation, first_rows(grad_out, count), grad_params,
                                  first_rows(grad_in, count), Sums::by_length, label));
    } else {
      EXPECT_TRUE(all_close(grad_params.weight.values(), std::vector<float>(64 * 68, 0.0F), {}, label + ", weight"));
      EXPECT_TRUE(all_close(grad_params.bias.values(), std::vector<float>(68, 0.0F), {}, label + ", bias"));
    }
  }
}

TEST_P(DenseBackwardTest, every_activation_on_every_range) {
  for (const Activation& activation :
       {Activation{ActivationKind::linear, 3.0F, 4.0F}, Activation{ActivationKind::relu, 3.0F, 4.0F},
        Activation{ActivationKind::tanh, 3.0F, 4.0F}, Activation{ActivationKind::sigmoid, 0.0F, 1.0F},
        Activation{ActivationKind::sigmoid, 1.0F, 10.0F}, Activation{ActivationKind::sigmoid, -3.0F, -1.0F}}) {
    for (const bool with_grad_in : {false, true}) {
      expect_backward(device(), {7, 5, 0, activation, batch_case(402, 5, 40, 1, 0)}, with_grad_in, Sums::by_length);
    }
  }
}

// The whole pass through the layer, as training runs it: slopes of the outputs that the device itself computed.
TEST_P(DenseBackwardTest, forward_and_backward_together_match_reference) {
  constexpr std::int64_t kBatch = 33;
  for (const Activation& activation : all_activations()) {
    const DenseCase test{21, 10, 0, activation, {403, 10, kBatch, 0, kBatch, 0}};
    RandomInputs random(test.batch.seed);
    const HostBackward host = random_backward(random, test);
    const DeviceMatrix<float> in(device(), host.layer.in, kBatch, test.inputs);
    const DeviceMatrix<float> out = filled(device(), kBatch, test.outputs);
    const DeviceDense layer(device(), host.layer);
    const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, test.outputs);
    const DeviceMatrix<float> grad_in = filled(device(), kBatch, test.inputs);
    const DeviceDense grad_params(device(), test.outputs, test.inputs, kUntouched);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
    device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), activation, state.view()});
    device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                        grad_params.params(),
                                        {out.view(), in.view()},
                                        layer.params(),
                                        activation,
                                        state.view()});
    const reference::Matrix exact_in = host.layer.inputs_of_first(kBatch);
    const reference::DenseGradients expected = reference::dense_backward(
        host.first(host.grad_out, kBatch), exact_in,
        reference::dense_forward(exact_in, host.layer.params(), activation), host.layer.params(), activation);
    const std::string label = test.label();
    EXPECT_TRUE(gradient_close(grad_out.values(), expected.out.values, 1e-5, label + ", h"));
    EXPECT_TRUE(gradient_close(grad_params.weight.values(), expected.weight.values, 1e-5, label + ", weight"));
    EXPECT_TRUE(gradient_close(grad_params.bias.values(), expected.bias.values, 1e-5, label + ", bias"));
    EXPECT_TRUE(gradient_close(grad_in.values(), expected.in.values, 1e-5, label + ", inputs"));
  }
}

// Gradients of concatenated inputs, and of outputs that are part of a concatenation: rows that begin anywhere.
TEST_P(DenseBackwardTest, works_on_columns_of_wider_matrices) {
  for (const std::int64_t before : {1, 2, 3, 5}) {
    const DenseCase test{17, 13, 0, {ActivationKind::tanh}, batch_case(404, 13, 21, 2, 0)};
    const std::string label = std::to_string(before) + " columns before, " + test.label();
    RandomInputs random(test.batch.seed);
    const HostBackward host = random_backward(random, test);
    const DeviceWindow in(device(), host.layer.in, 21, 17, before);
    const DeviceWindow out(device(), host.out, 21, 13, 6 - before);
    const DeviceWindow grad_out(device(), host.grad_out, 21, 13, before + 1);
    const DeviceWindow grad_in(device(), std::vector<float>(21 * 17, kUntouched), 21, 17, 7 - before);
    const DeviceDense layer(device(), host.layer);
    const DeviceDense grad_params(device(), 13, 17, kUntouched);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(test.batch.num_ratings, 21, 2));
    device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                        grad_params.params(),
                                        {out.view(), in.view()},
                                        layer.params(),
                                        test.activation,
                                        state.view()});

    const std::int64_t count = test.batch.count();
    std::vector<float> h = grad_out.values();
    std::vector<float> by_inputs = grad_in.values();
    for (std::int64_t i = count * 13; i < 21 * 13; ++i) {
      ASSERT_EQ(h[static_cast<std::size_t>(i)], kUntouched) << label;
    }
    for (std::int64_t i = count * 17; i < 21 * 17; ++i) {
      ASSERT_EQ(by_inputs[static_cast<std::size_t>(i)], kUntouched) << label;
    }
    h.resize(static_cast<std::size_t>(count * 13));
    by_inputs.resize(static_cast<std::size_t>(count * 17));
    EXPECT_TRUE(gradients_match(host, count, test.activation, h, grad_params, by_inputs, Sums::by_length, label));
    EXPECT_TRUE(grad_out.others_untouched()) << label;
    EXPECT_TRUE(grad_in.others_untouched()) << label;
  }
}

/// h of single elements: one input, one output, weight 1.
std::vector<float> slopes(Device& device, const std::vector<float>& outputs, const std::vector<float>& gradients,
                          const Activation& activation) {
  const auto count = static_cast<std::int64_t>(outputs.size());
  const DeviceMatrix<float> in(device, std::vector<float>(outputs.size(), 1.0F), count);
  const DeviceMatrix<float> out(device, outputs, count);
  const DeviceMatrix<float> grad_out(device, gradients, count);
  const DeviceMatrix<float> weight(device, {1.0F}, 1);
  const DeviceMatrix<float> bias(device, {0.0F}, 1);
  const DeviceDense grad_params(device, 1, 1, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device, batch_state(count, count));
  device.enqueue(ops::DenseBackward{{grad_out.view(), {}},
                                    grad_params.params(),
                                    {out.view(), in.view()},
                                    {weight.view(), bias.view()},
                                    activation,
                                    state.view()});
  return grad_out.values();
}

// A relu that is off passes nothing on, at an output of 0 of either sign; one that is on passes everything on.
TEST_P(DenseBackwardTest, relu_is_on_or_off) {
  const std::vector<float> outputs = {0.0F, -0.0F, 1.0F, 1e-30F, 1e30F, 0.0F, 2.0F, 0.0F, 3.0F};
  const std::vector<float> gradients = {5.0F, -5.0F, 1e-30F, -4.0F, 3.0F, 2.0F, -1.0F, -3e38F, 7.0F};
  EXPECT_TRUE(all_close(slopes(device(), outputs, gradients, {ActivationKind::relu}),
                        std::vector<float>{0, 0, 1e-30F, -4, 3, 0, -1, 0, 7}, {}, "relu"));
}

// Outputs at the ends of the range, where a saturated layer is, and outputs of a range without extent: all ratings of
// the data may be the same.
TEST_P(DenseBackwardTest, saturated_outputs_have_no_slope) {
  const std::vector<float> gradients = {5.0F, -5.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F, -7.0F};
  const std::vector<double> zeros(9, 0.0);
  const auto expect_zeros = [&](const std::vector<float>& outputs, const Activation& activation) {
    EXPECT_TRUE(all_close(slopes(device(), outputs, gradients, activation), zeros, {2e-5, 0.0}, label_of(activation)));
  };
  expect_zeros({1, -1, 1, -1, 1, -1, 1, -1, 1}, {ActivationKind::tanh});
  expect_zeros({0, 1, 0, 1, 0, 1, 0, 1, 0}, {ActivationKind::sigmoid});
  expect_zeros({5, 0.5F, 5, 0.5F, 5, 0.5F, 5, 0.5F, 5}, {ActivationKind::sigmoid, 0.5F, 5.0F});
  expect_zeros(std::vector<float>(9, 4.0F), {ActivationKind::sigmoid, 4.0F, 4.0F});
}

// Catches: gradients that are cleaned of what would show that training has diverged.
TEST_P(DenseBackwardTest, nan_in_a_gradient_shows_in_all_that_it_enters) {
  constexpr std::int64_t kBatch = 9;
  constexpr std::size_t kRow = 4;
  for (const Activation& activation : all_activations()) {
    for (const std::int64_t inputs : {1, 5, 19}) {
      for (const std::int64_t outputs : {1, 3, 17}) {
        const DenseCase test{inputs, outputs, 0, activation, {405, outputs, kBatch, 0, kBatch, 0}};
        RandomInputs random(test.batch.seed);
        HostBackward host = random_backward(random, test);
        const auto column = static_cast<std::size_t>(outputs - 1);
        const std::size_t at = kRow * static_cast<std::size_t>(outputs) + column;
        host.grad_out[at] = kNan;
        host.out[at] = 0.625F;  // a slope everywhere
        const DeviceMatrix<float> in(device(), host.layer.in, kBatch, inputs);
        const DeviceMatrix<float> out(device(), host.out, kBatch, outputs);
        const DeviceDense layer(device(), host.layer);
        const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, outputs);
        const DeviceMatrix<float> grad_in = filled(device(), kBatch, inputs);
        const DeviceDense grad_params(device(), outputs, inputs, kUntouched);
        const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
        device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                            grad_params.params(),
                                            {out.view(), in.view()},
                                            layer.params(),
                                            activation,
                                            state.view()});
        const auto expect_nan = [&](const std::vector<float>& got, const char* what, const auto& expected) {
          for (std::size_t i = 0; i < got.size(); ++i) {
            ASSERT_EQ(std::isnan(got[i]), expected(i)) << test.label() << ", " << what << ", element " << i;
          }
        };
        expect_nan(grad_out.values(), "h", [&](std::size_t i) { return i == at; });
        expect_nan(grad_params.weight.values(), "weight",
                   [&](std::size_t i) { return i / static_cast<std::size_t>(inputs) == column; });
        expect_nan(grad_params.bias.values(), "bias", [&](std::size_t i) { return i == column; });
        expect_nan(grad_in.values(), "inputs",
                   [&](std::size_t i) { return i / static_cast<std::size_t>(inputs) == kRow; });
      }
    }
  }
}

TEST_P(DenseBackwardTest, nan_in_an_input_or_a_weight_shows_in_its_gradient) {
  constexpr std::int64_t kBatch = 9;
  constexpr std::int64_t kInputs = 18;
  constexpr std::int64_t kOutputs = 11;
  const DenseCase test{kInputs, kOutputs, 0, {ActivationKind::linear}, {406, kOutputs, kBatch, 0, kBatch, 0}};
  RandomInputs random(test.batch.seed);
  HostBackward host = random_backward(random, test);
  host.layer.in[3 * kInputs + 17] = kNan;
  host.layer.weight[10 * kInputs + 2] = kNan;
  const DeviceMatrix<float> in(device(), host.layer.in, kBatch, kInputs);
  const DeviceMatrix<float> out(device(), host.out, kBatch, kOutputs);
  const DeviceDense layer(device(), host.layer);
  const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, kOutputs);
  const DeviceMatrix<float> grad_in = filled(device(), kBatch, kInputs);
  const DeviceDense grad_params(device(), kOutputs, kInputs, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
  device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                      grad_params.params(),
                                      {out.view(), in.view()},
                                      layer.params(),
                                      test.activation,
                                      state.view()});
  const std::vector<float> by_weight = grad_params.weight.values();
  for (std::size_t i = 0; i < by_weight.size(); ++i) {
    ASSERT_EQ(std::isnan(by_weight[i]), i % kInputs == 17) << "weight, element " << i;
  }
  const std::vector<float> by_inputs = grad_in.values();
  for (std::size_t i = 0; i < by_inputs.size(); ++i) {
    ASSERT_EQ(std::isnan(by_inputs[i]), i % kInputs == 2) << "inputs, element " << i;
  }
  for (const float value : grad_params.bias.values()) {
    ASSERT_FALSE(std::isnan(value)) << "bias";
  }
}

// An update would take the gradients of the last batch once more, if they stayed.
TEST_P(DenseBackwardTest, a_batch_without_ratings_has_gradients_of_zero) {
  constexpr std::int64_t kBatch = 8;
  for (const bool with_grad_in : {false, true}) {
    const DenseCase test{19, 5, 3, {ActivationKind::sigmoid}, {407, 5, kBatch, 3, 20, 2}};
    for (const std::int64_t batch : {3, 4}) {
      RandomInputs random(test.batch.seed);
      const HostBackward host = random_backward(random, test);
      const DeviceMatrix<float> in(device(), host.layer.in, kBatch, 19, 22);
      const DeviceMatrix<float> out(device(), host.out, kBatch, 5, 7);
      const DeviceDense layer(device(), host.layer);
      const DeviceMatrix<float> grad_out = filled(device(), kBatch, 5, 2);
      const DeviceMatrix<float> grad_in = with_grad_in ? filled(device(), kBatch, 19, 3) : DeviceMatrix<float>();
      const DeviceDense grad_params(device(), 5, 19, kUntouched);
      const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, kBatch, batch));
      device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                          grad_params.params(),
                                          {out.view(), in.view()},
                                          layer.params(),
                                          test.activation,
                                          state.view()});
      const std::string label = "batch " + std::to_string(batch);
      EXPECT_TRUE(all_close(grad_params.weight.values(), std::vector<float>(5 * 19, 0.0F), {}, label + ", weight"));
      EXPECT_TRUE(all_close(grad_params.bias.values(), std::vector<float>(5, 0.0F), {}, label + ", bias"));
      EXPECT_TRUE(untouched_from(grad_out, 0, label + ", h"));
      if (with_grad_in) {
        EXPECT_TRUE(untouched_from(grad_in, 0, label + ", gradient of the inputs"));
      }
    }
  }
}

// Catches: a count that is frozen when the step is captured, and gradients that add up from step to step.
TEST_P(DenseBackwardTest, a_captured_call_follows_the_state) {
  constexpr std::int64_t kBatch = 8;
  const DenseCase test{5, 3, 0, {ActivationKind::tanh}, {408, 3, kBatch, 0, kBatch, 0}};
  RandomInputs random(test.batch.seed);
  HostBackward host = random_backward(random, test);
  const DeviceMatrix<float> in(device(), host.layer.in, kBatch, 5);
  const DeviceMatrix<float> out(device(), host.out, kBatch, 3);
  const DeviceDense layer(device(), host.layer);
  const DeviceMatrix<float> grad_out = filled(device(), kBatch, 3);
  const DeviceMatrix<float> grad_in = filled(device(), kBatch, 5);
  const DeviceDense grad_params(device(), 3, 5, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  device().enqueue(ops::BeginEpoch{state.view(), {1, 0, 21, kBatch, {}}});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                        grad_params.params(),
                                        {out.view(), in.view()},
                                        layer.params(),
                                        test.activation,
                                        state.view()});
    device().enqueue(ops::AdvanceStep{state.view()});
  });
  for (const std::int64_t count : {8, 8, 5, 0}) {
    const std::string label = std::to_string(count) + " ratings, seed 408";
    host.layer.in = random.matrix(kBatch, 5);
    host.grad_out = random.matrix(kBatch, 3);
    std::fill(host.grad_out.begin() + count * 3, host.grad_out.end(), kUntouched);
    device().upload(in.view(), std::span<const float>(host.layer.in));
    device().upload(grad_out.view(), std::span<const float>(host.grad_out));
    device().upload(grad_in.view(), std::span<const float>(std::vector<float>(kBatch * 5, kUntouched)));
    device().replay(*graph, 1);
    if (count > 0) {
      EXPECT_TRUE(gradients_match(host, count, test.activation, first_rows(grad_out, count), grad_params,
                                  first_rows(grad_in, count), Sums::by_length, label));
    } else {
      EXPECT_TRUE(all_close(grad_params.weight.values(), std::vector<float>(15, 0.0F), {}, label + ", weight"));
      EXPECT_TRUE(all_close(grad_params.bias.values(), std::vector<float>(3, 0.0F), {}, label + ", bias"));
    }
    EXPECT_TRUE(untouched_from(grad_out, count, label + ", h"));
    EXPECT_TRUE(untouched_from(grad_in, count, label + ", gradient of the inputs"));
  }
}

TEST_P(DenseBackwardTest, values_and_parameters_stay_as_they_are) {
  constexpr std::int64_t kBatch = 40;
  const DenseCase test{19, 7, 2, {ActivationKind::tanh}, {409, 7, kBatch, 0, kBatch, 3}};
  RandomInputs random(test.batch.seed);
  const HostBackward host = random_backward(random, test);
  const DeviceMatrix<float> in(device(), host.layer.in, kBatch, 19, 21);
  const DeviceMatrix<float> out(device(), host.out, kBatch, 7, 10);
  const DeviceDense layer(device(), host.layer);
  const DeviceMatrix<float> grad_out(device(), host.grad_out, kBatch, 7);
  const DeviceMatrix<float> grad_in = filled(device(), kBatch, 19);
  const DeviceDense grad_params(device(), 7, 19, kUntouched);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
  device().enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                      grad_params.params(),
                                      {out.view(), in.view()},
                                      layer.params(),
                                      test.activation,
                                      state.view()});
  EXPECT_TRUE(bits_equal(in.values(), host.layer.in, "inputs"));
  EXPECT_TRUE(in.padding_intact());
  EXPECT_TRUE(bits_equal(out.values(), host.out, "outputs"));
  EXPECT_TRUE(out.padding_intact());
  EXPECT_TRUE(bits_equal(layer.weight.values(), host.layer.weight, "weight"));
  EXPECT_TRUE(bits_equal(layer.bias.values(), host.layer.bias, "bias"));
}

// Catches: sums over the batch whose order depends on which thread gets which rows. Values of very different sizes make
// the order visible.
TEST_P(DenseBackwardTest, bits_do_not_depend_on_threads_or_runs) {
  struct Shape {
    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t batch;
  };
  for (const Shape shape :
       {Shape{100, 33, 777}, Shape{200, 1, 5003}, Shape{3, 17, 20011}, Shape{1, 1, 20011}, Shape{64, 64, 1000}}) {
    const DenseCase test{
        shape.inputs, shape.outputs, 0, {ActivationKind::relu}, {410, shape.outputs, shape.batch, 0, shape.batch, 0}};
    RandomInputs random(test.batch.seed);
    HostBackward host = random_backward(random, test);
    for (std::size_t i = 0; i < host.grad_out.size(); ++i) {
      host.grad_out[i] = std::ldexp(host.grad_out[i], static_cast<int>(i * 7 % 31));
    }
    std::vector<float> first;
    for (const auto& other : devices_by_threads()) {
      for (int run = 0; run < 2; ++run) {
        const DeviceMatrix<float> in(*other, host.layer.in, shape.batch, shape.inputs);
        const DeviceMatrix<float> out(*other, host.out, shape.batch, shape.outputs);
        const DeviceDense layer(*other, host.layer);
        const DeviceMatrix<float> grad_out(*other, host.grad_out, shape.batch, shape.outputs);
        const DeviceMatrix<float> grad_in = filled(*other, shape.batch, shape.inputs);
        const DeviceDense grad_params(*other, shape.outputs, shape.inputs, kUntouched);
        const DeviceMatrix<StepState> state = on_device(*other, batch_state(shape.batch, shape.batch));
        other->enqueue(ops::DenseBackward{{grad_out.view(), grad_in.view()},
                                          grad_params.params(),
                                          {out.view(), in.view()},
                                          layer.params(),
                                          test.activation,
                                          state.view()});
        std::vector<float> all;
        for (const DeviceMatrix<float>* matrix : {&grad_out, &grad_in, &grad_params.weight, &grad_params.bias}) {
          const std::vector<float> values = matrix->values();
          all.insert(all.end(), values.begin(), values.end());
        }
        if (first.empty()) {
          first = all;
        }
        EXPECT_TRUE(bits_equal(all, first, test.label() + ", " + std::to_string(other->info().threads) + " threads"));
      }
    }
  }
}

}  // namespace
}  // namespace curate::test
