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
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DenseForwardTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DenseForwardTest);

TEST(DenseForwardReference, hand_computed) {
  const reference::Matrix in(2, 3, std::vector<double>{1, 2, 3, -1, 0, 2});
  const reference::Dense params{reference::Matrix(2, 3, std::vector<double>{1, 0, -1, 2, 1, 0.5}),
                                reference::Matrix(2, 1, std::vector<double>{0.5, -1})};
  // 0.5 + 1 - 3, -1 + 2 + 2 + 1.5; 0.5 - 1 - 2, -1 - 2 + 1.
  EXPECT_EQ(reference::dense_forward(in, params, {}).values, (std::vector<double>{-1.5, 4.5, -2.5, -2}));
  EXPECT_EQ(reference::dense_forward(in, params, {ActivationKind::relu}).values, (std::vector<double>{0, 4.5, 0, 0}));
  EXPECT_EQ(reference::dense_sums_magnitudes(in, params).values, (std::vector<double>{4.5, 6.5, 3.5, 4}));
}

TEST(DenseForwardReference, hand_computed_activations) {
  EXPECT_EQ(reference::activate(-2.0, {ActivationKind::linear}), -2.0);
  EXPECT_EQ(reference::activate(-2.0, {ActivationKind::relu}), 0.0);
  EXPECT_EQ(reference::activate(3.0, {ActivationKind::relu}), 3.0);
  // tanh(log 2) = (4 - 1) / (4 + 1), and 1 / (1 + exp(-log 3)) = 3 / 4.
  EXPECT_DOUBLE_EQ(reference::activate(std::log(2.0), {ActivationKind::tanh}), 0.6);
  EXPECT_DOUBLE_EQ(reference::activate(std::log(3.0), {ActivationKind::sigmoid}), 0.75);
  EXPECT_DOUBLE_EQ(reference::activate(-std::log(3.0), {ActivationKind::sigmoid}), 0.25);
  EXPECT_DOUBLE_EQ(reference::activate(0.0, {ActivationKind::sigmoid, 1.0F, 5.0F}), 3.0);
  EXPECT_DOUBLE_EQ(reference::activate(std::log(3.0), {ActivationKind::sigmoid, 1.0F, 5.0F}), 4.0);
}

/// Magnitudes and length for dot_close. An activation passes errors on by its steepest slope at most and adds a few
/// roundings of numbers as large as its range.
testing::AssertionResult outputs_close(const std::vector<float>& got, const HostDense& host, std::int64_t count,
                                       const Activation& activation, const std::string& label) {
  const reference::Matrix in = host.inputs_of_first(count);
  const reference::Matrix expected = reference::dense_forward(in, host.params(), activation);
  reference::Matrix magnitudes = reference::dense_sums_magnitudes(in, host.params());
  std::int64_t length = host.inputs + 1;
  if (activation.kind == ActivationKind::tanh || activation.kind == ActivationKind::sigmoid) {
    const double range = activation.kind == ActivationKind::tanh
                             ? 1.0
                             : static_cast<double>(std::max(std::abs(activation.low), std::abs(activation.high)));
    for (double& magnitude : magnitudes.values) {
      magnitude = magnitude * reference::steepest_slope(activation) + range;
    }
    length += 4;
  }
  return dot_close(got, expected.values, magnitudes.values, {length}, label);
}

void expect_forward(Device& device, const DenseCase& test) {
  RandomInputs inputs(test.batch.seed);
  const HostDense host = random_dense(inputs, test);
  const DeviceMatrix<float> in(device, host.in, host.batch, host.inputs, host.inputs + test.in_padding);
  const DeviceDense layer(device, host);
  const DeviceMatrix<float> out = filled(device, host.batch, host.outputs, test.batch.padding);
  const DeviceMatrix<StepState> state =
      on_device(device, batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch));
  device.enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), test.activation, state.view()});

  const std::int64_t count = test.batch.count();
  ASSERT_TRUE(outputs_close(first_rows(out, count), host, count, test.activation, test.label()));
  ASSERT_TRUE(untouched_from(out, count, test.label(), test.wide));
}

// Catches: a tail of the inputs or outputs lost or read beyond its end, an ld ignored on either side, a weight matrix
// taken for its transpose, the bias missed or added per input, rows past the count written or (they hold NaN) read, the
// batch's rows looked for at batch_begin, an activation taken for another, low and high ignored or exchanged.
TEST_P(DenseForwardTest, matches_reference) {
  for (const DenseCase& test : dense_cases()) {
    expect_forward(device(), test);
  }
}

// Large enough that an engine shares the work among threads. Catches: rows that fall between two shares.
TEST_P(DenseForwardTest, matches_reference_where_threads_share_the_work) {
  for (const DenseCase& test : large_dense_cases()) {
    expect_forward(device(), test);
  }
}

// Catches: a matrix taken for its transpose in a library's order of them, a bias for every row, rows of a short batch
// lost. With rows past the count that hold NaN too: no row may reach another.
TEST_P(DenseForwardTest, wide_layers_match_reference) {
  for (DenseCase test : wide_dense_cases()) {
    expect_forward(device(), test);
    for (const Activation& activation : all_activations()) {
      test.activation = activation;
      test.batch.num_ratings = test.batch.begin() + 511;
      expect_forward(device(), test);
    }
  }
}

// Catches: a library's relu that takes 0 over NaN, which its documentation leaves open.
TEST_P(DenseForwardTest, nan_in_a_wide_layer_shows) {
  constexpr std::int64_t kBatch = 512;
  for (const Activation& activation : all_activations()) {
    const DenseCase test{64, 64, 0, activation, {309, 64, kBatch, 0, kBatch, 0}, true};
    RandomInputs random(test.batch.seed);
    HostDense host = random_dense(random, test);
    host.in[7 * 64 + 63] = std::numeric_limits<float>::quiet_NaN();
    host.weight[10 * 64 + 17] = std::numeric_limits<float>::quiet_NaN();
    host.bias[2] = std::numeric_limits<float>::quiet_NaN();
    const DeviceMatrix<float> in(device(), host.in, kBatch, 64);
    const DeviceDense layer(device(), host);
    const DeviceMatrix<float> out = filled(device(), kBatch, 64);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
    device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), activation, state.view()});
    const std::vector<float> got = out.values();
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(std::isnan(got[i]), i / 64 == 7 || i % 64 == 2 || i % 64 == 10) << test.label() << ", element " << i;
    }
  }
}

TEST_P(DenseForwardTest, every_activation_on_every_range) {
  for (const Activation& activation :
       {Activation{ActivationKind::linear, 3.0F, 4.0F}, Activation{ActivationKind::relu, 3.0F, 4.0F},
        Activation{ActivationKind::tanh, 3.0F, 4.0F}, Activation{ActivationKind::sigmoid, 0.0F, 1.0F},
        Activation{ActivationKind::sigmoid, 1.0F, 10.0F}, Activation{ActivationKind::sigmoid, -3.0F, -1.0F},
        Activation{ActivationKind::sigmoid, 2.0F, 2.0F}}) {
    expect_forward(device(), {7, 5, 0, activation, batch_case(301, 5, 40, 1, 0)});
  }
}

// Concatenated inputs, and outputs that are part of one: rows that begin anywhere, at odd addresses for vectors.
TEST_P(DenseForwardTest, works_on_columns_of_wider_matrices) {
  for (const std::int64_t before : {1, 2, 3, 5}) {
    const DenseCase test{17, 13, 0, {ActivationKind::relu}, batch_case(302, 13, 21, 2, 0)};
    const std::string label = std::to_string(before) + " columns before, " + test.label();
    RandomInputs inputs(test.batch.seed);
    const HostDense host = random_dense(inputs, test);
    const DeviceWindow in(device(), host.in, host.batch, host.inputs, before);
    const DeviceDense layer(device(), host);
    const DeviceWindow out(device(), std::vector<float>(21 * 13, kUntouched), host.batch, host.outputs, 4 - before / 2);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(test.batch.num_ratings, 21, 2));
    device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), test.activation, state.view()});
    std::vector<float> got = out.values();
    for (auto i = static_cast<std::size_t>(test.batch.count() * host.outputs); i < got.size(); ++i) {
      ASSERT_EQ(got[i], kUntouched) << label << ", element " << i << " past the count";
    }
    got.resize(static_cast<std::size_t>(test.batch.count() * host.outputs));
    EXPECT_TRUE(outputs_close(got, host, test.batch.count(), test.activation, label));
    EXPECT_TRUE(out.others_untouched()) << label;
  }
}

/// One input, one output, weight 1 and no bias: the activation of every value.
std::vector<float> activated(Device& device, const std::vector<float>& values, const Activation& activation) {
  const auto count = static_cast<std::int64_t>(values.size());
  const DeviceMatrix<float> in(device, values, count);
  const DeviceMatrix<float> weight(device, {1.0F}, 1);
  const DeviceMatrix<float> bias(device, {0.0F}, 1);
  const DeviceMatrix<float> out = filled(device, count, 1);
  const DeviceMatrix<StepState> state = on_device(device, batch_state(count, count));
  device.enqueue(ops::DenseForward{{out.view(), in.view()}, {weight.view(), bias.view()}, activation, state.view()});
  return out.values();
}

// Catches: a sigmoid or tanh made of exponentials that overflow to NaN, and one that leaves its range. Twenty values,
// so that vectors and their tails both meet the extremes.
TEST_P(DenseForwardTest, activations_saturate) {
  std::vector<float> values;
  for (const float value : {100.0F, -100.0F, 1000.0F, -1000.0F, 3e38F, -3e38F, 20.0F, -20.0F, 45.0F, -45.0F}) {
    values.push_back(value);
    values.push_back(value);
  }
  for (const Activation& activation : all_activations()) {
    if (activation.kind == ActivationKind::linear || activation.kind == ActivationKind::relu) {
      continue;
    }
    std::vector<double> expected;
    for (const float value : values) {
      expected.push_back(reference::activate(static_cast<double>(value), activation));
    }
    const std::vector<float> got = activated(device(), values, activation);
    EXPECT_TRUE(all_close(got, expected, {2e-6, 0.0}, label_of(activation)));
    const float low = activation.kind == ActivationKind::tanh ? -1.0F : activation.low;
    const float high = activation.kind == ActivationKind::tanh ? 1.0F : activation.high;
    for (const float value : got) {
      EXPECT_GE(value, low) << label_of(activation);
      EXPECT_LE(value, high) << label_of(activation);
    }
  }
}

// Catches: an approximation that is good near 0 only, and steps between its pieces.
TEST_P(DenseForwardTest, activations_are_precise_everywhere) {
  std::vector<float> values;
  for (int i = -2000; i <= 2000; ++i) {
    values.push_back(static_cast<float>(i) * 0.01F);
  }
  for (const Activation& activation : all_activations()) {
    std::vector<double> expected;
    for (const float value : values) {
      expected.push_back(reference::activate(static_cast<double>(value), activation));
    }
    const double range = activation.kind == ActivationKind::sigmoid ? static_cast<double>(activation.high) : 1.0;
    EXPECT_TRUE(
        all_close(activated(device(), values, activation), expected, {1e-6 * range, 1e-6}, label_of(activation)));
  }
}

TEST_P(DenseForwardTest, relu_keeps_what_is_positive_and_clears_the_rest) {
  const std::vector<float> values = {-1.0F, 0.0F, -0.0F, 1.0F, -1e-30F, 1e-30F, 1e30F, -1e30F, 0.5F};
  const std::vector<float> got = activated(device(), values, {ActivationKind::relu});
  EXPECT_TRUE(all_close(
      got, std::vector<double>{0, 0, 0, 1, 0, static_cast<double>(1e-30F), static_cast<double>(1e30F), 0, 0.5}, {},
      "relu"));
}

// Catches: a relu by a maximum that takes 0 over NaN, and a clamp inside of an approximation that does: a diverged
// network would look as if it were fine. One NaN makes its own row NaN and no other.
TEST_P(DenseForwardTest, nan_in_an_input_shows_in_the_outputs_of_its_row) {
  constexpr std::int64_t kBatch = 9;
  for (const Activation& activation : all_activations()) {
    for (const std::int64_t inputs : {1, 5, 16, 67}) {
      for (const std::int64_t outputs : {1, 3, 8, 19}) {
        const DenseCase test{inputs, outputs, 0, activation, {303, outputs, kBatch, 0, kBatch, 0}};
        RandomInputs random(test.batch.seed);
        HostDense host = random_dense(random, test);
        host.in[static_cast<std::size_t>(4 * inputs + inputs / 2)] = std::numeric_limits<float>::quiet_NaN();
        const DeviceMatrix<float> in(device(), host.in, kBatch, inputs);
        const DeviceDense layer(device(), host);
        const DeviceMatrix<float> out = filled(device(), kBatch, outputs);
        const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
        device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), activation, state.view()});
        const std::vector<float> got = out.values();
        for (std::size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(std::isnan(got[i]), static_cast<std::int64_t>(i) / outputs == 4)
              << test.label() << ", element " << i;
        }
      }
    }
  }
}

TEST_P(DenseForwardTest, nan_in_a_parameter_shows_in_the_outputs_of_its_column) {
  constexpr std::int64_t kBatch = 9;
  constexpr std::int64_t kInputs = 18;
  constexpr std::int64_t kOutputs = 11;
  for (const Activation& activation : all_activations()) {
    const DenseCase test{kInputs, kOutputs, 0, activation, {304, kOutputs, kBatch, 0, kBatch, 0}};
    RandomInputs random(test.batch.seed);
    HostDense host = random_dense(random, test);
    host.weight[10 * kInputs + 17] = std::numeric_limits<float>::quiet_NaN();
    host.bias[2] = std::numeric_limits<float>::quiet_NaN();
    const DeviceMatrix<float> in(device(), host.in, kBatch, kInputs);
    const DeviceDense layer(device(), host);
    const DeviceMatrix<float> out = filled(device(), kBatch, kOutputs);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
    device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), activation, state.view()});
    const std::vector<float> got = out.values();
    for (std::size_t i = 0; i < got.size(); ++i) {
      const std::size_t column = i % kOutputs;
      ASSERT_EQ(std::isnan(got[i]), column == 2 || column == 10) << test.label() << ", element " << i;
    }
  }
}

TEST_P(DenseForwardTest, writes_nothing_past_the_end_of_the_epoch) {
  RandomInputs random(305);
  const HostDense host = random_dense(random, {4, 3, 0, {}, {305, 3, 8, 0, 8, 0}});
  const DeviceMatrix<float> in(device(), host.in, 8, 4);
  const DeviceDense layer(device(), host);
  const DeviceMatrix<float> out = filled(device(), 8, 3);
  for (const std::int64_t batch : {3, 4}) {
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch));
    device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), {ActivationKind::tanh}, state.view()});
    EXPECT_TRUE(untouched_from(out, 0, "batch " + std::to_string(batch)));
  }
}

// Catches: a count that is frozen when the step is captured.
TEST_P(DenseForwardTest, a_captured_call_follows_the_state) {
  constexpr std::int64_t kBatch = 8;
  const DenseCase test{5, 3, 0, {ActivationKind::tanh}, {306, 3, kBatch, 0, kBatch, 0}};
  RandomInputs random(test.batch.seed);
  HostDense host = random_dense(random, test);
  const DeviceMatrix<float> in(device(), host.in, kBatch, 5);
  const DeviceDense layer(device(), host);
  const std::vector<float> untouched(kBatch * 3, kUntouched);
  const DeviceMatrix<float> out(device(), untouched, kBatch, 3);
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  device().enqueue(ops::BeginEpoch{state.view(), {1, 0, 21, kBatch, {}}});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), test.activation, state.view()});
    device().enqueue(ops::AdvanceStep{state.view()});
  });
  for (const std::int64_t count : {8, 8, 5, 0}) {
    host.in = random.matrix(kBatch, 5);
    device().upload(in.view(), std::span<const float>(host.in));
    device().upload(out.view(), std::span<const float>(untouched));
    device().replay(*graph, 1);
    const std::string label = std::to_string(count) + " ratings, seed 306";
    if (count > 0) {
      EXPECT_TRUE(outputs_close(first_rows(out, count), host, count, test.activation, label));
    }
    EXPECT_TRUE(untouched_from(out, count, label));
  }
}

TEST_P(DenseForwardTest, a_captured_wide_call_follows_the_state) {
  constexpr std::int64_t kBatch = 512;
  const DenseCase test{64, 68, 0, {ActivationKind::tanh}, {310, 68, kBatch, 0, kBatch, 0}, true};
  RandomInputs random(test.batch.seed);
  HostDense host = random_dense(random, test);
  const DeviceMatrix<float> in(device(), host.in, kBatch, 64);
  const DeviceDense layer(device(), host);
  const DeviceMatrix<float> out = filled(device(), kBatch, 68);
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  // Inside a capture with and without having been told.
  for (const bool prepared : {false, true}) {
    if (prepared) {
      device().run(ops::PrepareDense{{kBatch, 64, 68}});
    }
    device().enqueue(ops::BeginEpoch{state.view(), {1, 0, 2 * kBatch - 100, kBatch, {}}});
    const std::unique_ptr<Graph> graph = device().capture([&] {
      device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), test.activation, state.view()});
      device().enqueue(ops::AdvanceStep{state.view()});
    });
    for (const std::int64_t count : {kBatch, kBatch - 100}) {
      host.in = random.matrix(kBatch, 64);
      device().upload(in.view(), std::span<const float>(host.in));
      device().replay(*graph, 1);
      EXPECT_TRUE(outputs_close(first_rows(out, count), host, count, test.activation, test.label()));
    }
  }
}

TEST_P(DenseForwardTest, inputs_and_parameters_stay_as_they_are) {
  constexpr std::int64_t kBatch = 40;
  RandomInputs random(307);
  const HostDense host = random_dense(random, {19, 7, 2, {}, {307, 7, kBatch, 0, kBatch, 0}});
  const DeviceMatrix<float> in(device(), host.in, kBatch, 19, 21);
  const DeviceDense layer(device(), host);
  const DeviceMatrix<float> out = filled(device(), kBatch, 7);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
  device().enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), {}, state.view()});
  EXPECT_TRUE(bits_equal(in.values(), host.in, "inputs"));
  EXPECT_TRUE(in.padding_intact());
  EXPECT_TRUE(bits_equal(layer.weight.values(), host.weight, "weight"));
  EXPECT_TRUE(bits_equal(layer.bias.values(), host.bias, "bias"));
}

// Catches: a sum whose order depends on which thread gets which rows, or on what ran before.
TEST_P(DenseForwardTest, bits_do_not_depend_on_threads_or_runs) {
  struct Shape {
    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t batch;
  };
  for (const Shape shape : {Shape{100, 33, 777}, Shape{200, 1, 5003}, Shape{3, 17, 20011}, Shape{64, 64, 1000}}) {
    for (const Activation& activation : {Activation{ActivationKind::relu}, Activation{ActivationKind::sigmoid}}) {
      const DenseCase test{
          shape.inputs, shape.outputs, 0, activation, {308, shape.outputs, shape.batch, 0, shape.batch, 0}};
      RandomInputs random(test.batch.seed);
      const HostDense host = random_dense(random, test);
      std::vector<float> first;
      for (const auto& other : devices_by_threads()) {
        for (int run = 0; run < 2; ++run) {
          const DeviceMatrix<float> in(*other, host.in, shape.batch, shape.inputs);
          const DeviceDense layer(*other, host);
          const DeviceMatrix<float> out = filled(*other, shape.batch, shape.outputs);
          const DeviceMatrix<StepState> state = on_device(*other, batch_state(shape.batch, shape.batch));
          other->enqueue(ops::DenseForward{{out.view(), in.view()}, layer.params(), activation, state.view()});
          const std::vector<float> got = out.values();
          if (first.empty()) {
            first = got;
          }
          EXPECT_TRUE(bits_equal(got, first, test.label() + ", " + std::to_string(other->info().threads) + " threads"));
        }
      }
    }
  }
}

}  // namespace
}  // namespace curate::test
