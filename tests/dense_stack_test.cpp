#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/reference/dense_stack.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DenseStackTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DenseStackTest);

/// A stack on a batch.
struct StackCase {
  std::vector<std::int64_t> widths;     ///< inputs, then every layer's outputs
  std::vector<Activation> activations;  ///< taken in turns
  BatchCase batch;                      ///< its padding is that of all matrices; no dim
  float dropout = 0.0F;                 ///< after every hidden layer
  bool with_grad_in = true;

  std::string label() const {
    std::string label = label_of(widths);
    for (const Activation& activation : activations) {
      label += ", " + label_of(activation);
    }
    return label + ", dropout " + std::to_string(dropout) + (with_grad_in ? "" : ", no gradient of the inputs") + ", " +
           batch.label();
  }
};

/// On the host, with random parameters, whose sums have a spread of about one.
struct HostStack {
  explicit HostStack(const StackCase& test) {
    RandomInputs random(test.batch.seed);
    in = random.matrix(test.batch.batch_size, test.widths.front());
    for (std::size_t l = 0; l + 1 < test.widths.size(); ++l) {
      const std::int64_t inputs = test.widths[l];
      const std::int64_t outputs = test.widths[l + 1];
      const auto scale = static_cast<float>(1.5 / std::sqrt(static_cast<double>(inputs)));
      HostDense layer{inputs, outputs, test.batch.batch_size, {}, {}, {}};
      layer.weight = random.matrix(outputs, inputs, -scale, scale);
      layer.bias = random.matrix(outputs, 1, -0.5F, 0.5F);
      layers.push_back(layer);
      const bool last = l + 2 == test.widths.size();
      const auto purpose = static_cast<RandomPurpose>(static_cast<std::uint32_t>(RandomPurpose::dropout_dense) + l);
      dropouts.push_back({last ? 0.0F : test.dropout, purpose});
      activations.push_back(test.activations[l % test.activations.size()]);
    }
    grad_out = random.matrix(test.batch.batch_size, test.widths.back());
    const std::int64_t count = test.batch.count();
    std::fill(in.begin() + count * test.widths.front(), in.end(), kNan);
    std::fill(grad_out.begin() + count * test.widths.back(), grad_out.end(), kNan);
  }

  std::vector<reference::StackLayer> stack() const {
    std::vector<reference::StackLayer> stack;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      stack.push_back({layers[l].params(), activations[l], dropouts[l]});
    }
    return stack;
  }

  std::vector<float> in;
  std::vector<HostDense> layers;
  std::vector<Activation> activations;
  std::vector<DropoutParams> dropouts;
  std::vector<float> grad_out;
};

/// The same on a device, with all that the operations need.
struct DeviceStack {
  DeviceStack(Device& stack_device, const StackCase& test, const HostStack& host)
      : device(&stack_device),
        in(*device, host.in, test.batch.batch_size, test.widths.front(), test.widths.front() + test.batch.padding),
        out(filled(*device, test.batch.batch_size, test.widths.back(), test.batch.padding)),
        grad_out(*device, host.grad_out, test.batch.batch_size, test.widths.back(),
                 test.widths.back() + test.batch.padding),
        grad_in(test.with_grad_in ? filled(*device, test.batch.batch_size, test.widths.front(), test.batch.padding)
                                  : DeviceMatrix<float>()) {
    for (std::size_t l = 0; l < host.layers.size(); ++l) {
      params.emplace_back(*device, host.layers[l]);
      grad_params.emplace_back(*device, host.layers[l].outputs, host.layers[l].inputs, kUntouched);
      stack.push_back({params[l].params(), host.activations[l], host.dropouts[l]});
      grad_views.push_back(grad_params[l].params());
    }
    StepState at = batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch);
    at.seed = test.batch.seed;
    at.epoch = 2;
    state = on_device(*device, at);
  }

  void forward() const { device->enqueue(ops::DenseStackForward{out.view(), in.view(), stack, {}, state.view()}); }
  void backward() const {
    device->enqueue(
        ops::DenseStackBackward{{grad_out.view(), grad_in.view()}, grad_views, in.view(), stack, {}, state.view()});
  }

  /// Outputs and all gradients, one after the other, of the first `count` rows. Blocks.
  std::vector<float> results(std::int64_t count) const {
    std::vector<float> all = first_rows(out, count);
    const auto add = [&all](const std::vector<float>& values) { all.insert(all.end(), values.begin(), values.end()); };
    if (!grad_in.view().empty()) {
      add(first_rows(grad_in, count));
    }
    for (const DeviceDense& layer : grad_params) {
      add(layer.weight.values());
      add(layer.bias.values());
    }
    return all;
  }

  Device* device;
  DeviceMatrix<float> in;
  DeviceMatrix<float> out;
  DeviceMatrix<float> grad_out;
  DeviceMatrix<float> grad_in;
  std::vector<DeviceDense> params;
  std::vector<DeviceDense> grad_params;
  std::vector<DenseParams> grad_views;
  DenseStack stack;
  DeviceMatrix<StepState> state;
};

reference::StackPlace place_of(const StackCase& test) {
  return {test.batch.seed, 2, test.batch.begin()};
}

/// Outputs and gradients against the reference.
testing::AssertionResult close(const DeviceStack& got, const StackCase& test, const HostStack& host, double relative,
                               ProductPrecision precision = ProductPrecision::f32) {
  const std::int64_t count = test.batch.count();
  const std::vector<reference::StackLayer> stack = host.stack();
  const reference::StackValues values =
      reference::dense_stack_forward(first_of(host.in, count, test.widths.front()), stack, place_of(test), precision);
  const reference::StackGradients gradients = reference::dense_stack_backward(
      first_of(host.grad_out, count, test.widths.back()), values, stack, place_of(test), precision);
  testing::AssertionResult result = sums_close(first_rows(got.out, count), values.out.back(),
                                               reference::dense_sums_magnitudes(values.in.back(), stack.back().params),
                                               relative, test.label() + ", outputs");
  for (std::size_t l = 0; result && l < stack.size(); ++l) {
    const std::string label = test.label() + ", layer " + std::to_string(l);
    const reference::DenseGradients& expected = gradients.layers[l];
    const reference::DenseGradients magnitudes =
        reference::dense_backward_magnitudes(expected.out, values.in[l], stack[l].params, {});
    result = sums_close(got.grad_params[l].weight.values(), expected.weight, magnitudes.weight, relative,
                        label + ", gradient of the weight");
    if (result) {
      result = sums_close(got.grad_params[l].bias.values(), expected.bias, magnitudes.bias, relative,
                          label + ", gradient of the bias");
    }
    if (result && l == 0 && test.with_grad_in) {
      result = sums_close(first_rows(got.grad_in, count), gradients.in, magnitudes.in, relative,
                          label + ", gradient of the inputs");
    }
  }
  return result;
}

void expect_stack(Device& device, const StackCase& test, double relative = 2e-6,
                  ProductPrecision precision = ProductPrecision::f32) {
  const HostStack host(test);
  const DeviceStack stack(device, test, host);
  stack.forward();
  stack.backward();
  ASSERT_TRUE(close(stack, test, host, relative, precision)) << name_of(precision);
  const std::int64_t count = test.batch.count();
  ASSERT_TRUE(untouched_from(stack.out, count, test.label()));
  if (test.with_grad_in) {
    ASSERT_TRUE(untouched_from(stack.grad_in, count, test.label()));
  }
  ASSERT_TRUE(stack.grad_out.padding_intact());
  std::vector<float> grad_out = first_rows(stack.grad_out, count);
  ASSERT_TRUE(bits_equal(grad_out,
                         std::vector<float>(host.grad_out.begin(), host.grad_out.begin() + count * test.widths.back()),
                         test.label() + ", gradient of the outputs overwritten"));
}

const std::vector<Activation> kRelu = {{ActivationKind::relu}};

/// Widths around those of vectors, of tensor cores and of tiles; from one layer to the most, wide and narrow in turns.
/// Together they take every way in which a block can lie in shared memory.
std::vector<std::vector<std::int64_t>> all_widths() {
  return {{1, 1},        {3, 1},           {1, 3, 1},         {7, 8, 9, 10, 11},    {16, 16, 16},
          {2, 127, 3},   {17, 33, 15, 1},  {128, 1, 128, 1},  {13, 100, 50, 20, 1}, {64, 64, 64, 64, 1},
          {31, 32, 128}, {24, 40, 56, 72}, {128, 128, 128, 1}};
}

/// Full batches and short ones of one tile and of several.
std::vector<StackCase> stack_cases() {
  std::vector<StackCase> cases;
  const std::vector<Activation> activations = all_activations();
  for (const std::vector<std::int64_t>& widths : all_widths()) {
    for (const std::int64_t batch_size : {1, 30, 70}) {
      const std::size_t n = cases.size();
      std::vector<Activation> own;
      for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
        own.push_back(activations[(n + 2 * l) % activations.size()]);
      }
      cases.push_back(
          {widths, own,
           batch_case(3000 + n, widths.back(), batch_size, 1 + static_cast<std::int64_t>(n % 2), n % 4 < 2 ? 0 : 3),
           n % 3 == 2 ? 0.3F : 0.0F, n % 5 != 4});
    }
  }
  return cases;
}

/// A stack, its inputs, and the gradient of some objective by its outputs: the objective is their product.
struct StackObjective {
  reference::Matrix in;
  std::vector<reference::StackLayer> stack;
  reference::Matrix grad_out;
  reference::StackPlace place;

  double value() const {
    const reference::Matrix out = reference::dense_stack_forward(in, stack, place).out.back();
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

TEST(DenseStackReference, matches_finite_differences) {
  for (const float dropout : {0.0F, 0.4F}) {
    for (const Activation& activation : all_activations()) {
      const StackCase test = {{3, 5, 4, 2}, {activation, {ActivationKind::tanh}}, {701, 2, 6, 0, 6, 0}, dropout};
      const HostStack host(test);
      StackObjective objective{first_of(host.in, 6, 3), host.stack(), first_of(host.grad_out, 6, 2), place_of(test)};
      const reference::StackValues values =
          reference::dense_stack_forward(objective.in, objective.stack, objective.place);
      const reference::StackGradients gradients =
          reference::dense_stack_backward(objective.grad_out, values, objective.stack, objective.place);
      EXPECT_TRUE(gradient_close(gradients.in.values, objective.differences(objective.in), 1e-8, test.label()));
      for (std::size_t l = 0; l < objective.stack.size(); ++l) {
        reference::Dense& params = objective.stack[l].params;
        EXPECT_TRUE(gradient_close(gradients.layers[l].weight.values, objective.differences(params.weight), 1e-8,
                                   test.label() + ", weight"));
        EXPECT_TRUE(gradient_close(gradients.layers[l].bias.values, objective.differences(params.bias), 1e-8,
                                   test.label() + ", bias"));
      }
    }
  }
}

TEST(DenseStackReference, rounds_to_nearest) {
  EXPECT_EQ(reference::round_to_bits(1.0 + 0x1p-8, 7), 1.0);
  EXPECT_EQ(reference::round_to_bits(1.0 + 0x1.8p-8, 7), 1.0 + 0x1p-7);
  EXPECT_EQ(reference::round_to_bits(-3.0 - 0x1p-9, 10), -3.0 - 0x1p-9);
  EXPECT_EQ(reference::round_to_bits(-3.0 - 0x1p-11, 10), -3.0);
  EXPECT_EQ(reference::round_to_bits(0.0, 7), 0.0);
}

// Catches: a layer's values that another one's overwrite too early or too late, a slope from the sum or from what
// dropout left, a mask by another width, purpose or position, gradients scaled twice or not at all, tails of widths
// that meet others' numbers, rows past the count (they hold NaN) that reach a sum, every ld, biases that are rounded or
// summed with weights.
TEST_P(DenseStackTest, matches_reference) {
  for (const StackCase& test : stack_cases()) {
    expect_stack(device(), test);
  }
  // One row more than tiles take, and as many parameters as there are threads and one.
  for (const std::int64_t batch_size : kSizesPastABlock) {
    expect_stack(device(), {{6, 5, 1}, {{ActivationKind::tanh}}, batch_case(713, 1, batch_size, 1, 0)});
  }
  expect_stack(device(), {{127, 2, 1}, {{ActivationKind::relu}}, batch_case(714, 1, 257, 1, 0)});
}

// The widest stack there is, in the smallest pieces.
TEST_P(DenseStackTest, matches_reference_at_its_widest) {
  expect_stack(device(), {{128, 128, 128, 128, 128}, {{ActivationKind::tanh}}, batch_case(710, 128, 20, 1, 0), 0.2F});
}

// More rows than all blocks take at once, in long tiles and in short ones. Catches: partial sums that a second tile
// overwrites, tiles that are lost or taken twice, columns of ones that gradients took the place of.
TEST_P(DenseStackTest, matches_reference_where_blocks_take_several_tiles) {
  expect_stack(device(), {{3, 5, 1}, {{ActivationKind::tanh}}, {711, 1, 20011, 1, 40000, 0}});
  expect_stack(device(), {{128, 1, 128, 1, 128}, {{ActivationKind::tanh}}, {712, 1, 9000, 0, 8999, 0}});
}

TEST_P(DenseStackTest, an_empty_batch_gives_zeros) {
  const StackCase test = {{5, 9, 1}, kRelu, {713, 1, 8, 4, 20, 0}};
  ASSERT_EQ(test.batch.count(), 0);
  const HostStack host(test);
  const DeviceStack stack(device(), test, host);
  stack.forward();
  stack.backward();
  EXPECT_TRUE(untouched_from(stack.out, 0, test.label()));
  EXPECT_TRUE(untouched_from(stack.grad_in, 0, test.label()));
  for (const DeviceDense& layer : stack.grad_params) {
    for (const std::vector<float>& values : {layer.weight.values(), layer.bias.values()}) {
      EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return value == 0.0F; }));
    }
  }
}

TEST_P(DenseStackTest, buffers_without_rows_are_taken) {
  const StackCase test = {{5, 9, 1}, kRelu, {714, 1, 0, 0, 0, 0}};
  const HostStack host(test);
  const DeviceStack stack(device(), test, host);
  stack.forward();
  stack.backward();
  for (const DeviceDense& layer : stack.grad_params) {
    const std::vector<float> values = layer.weight.values();
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return value == 0.0F; }));
  }
}

// One NaN makes its own row's outputs and input gradients NaN, and the gradients of the weights that it meets.
TEST_P(DenseStackTest, nan_in_an_input_shows) {
  for (const Activation& activation : all_activations()) {
    const StackCase test = {{6, 10, 3}, {activation}, {715, 3, 40, 0, 40, 0}};
    HostStack host(test);
    host.in[33 * 6 + 4] = kNan;
    const DeviceStack stack(device(), test, host);
    stack.forward();
    stack.backward();
    const std::vector<float> out = stack.out.values();
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(std::isnan(out[i]), i / 3 == 33) << test.label() << ", output " << i;
    }
    const std::vector<float> grad_in = stack.grad_in.values();
    for (std::size_t i = 0; i < grad_in.size(); ++i) {
      ASSERT_TRUE(i / 6 == 33 || !std::isnan(grad_in[i])) << test.label() << ", gradient of input " << i;
    }
    // The slope of a relu at NaN is 0, and 0 NaN is NaN still.
    for (const float value : stack.grad_params[1].weight.values()) {
      ASSERT_TRUE(std::isnan(value)) << test.label();
    }
  }
}

TEST_P(DenseStackTest, nan_in_a_parameter_shows) {
  for (const std::size_t layer : {0, 1}) {
    const StackCase test = {{6, 10, 3}, {{ActivationKind::linear}}, {716, 3, 40, 0, 33, 0}};
    HostStack host(test);
    host.layers[layer].weight[0] = kNan;
    const DeviceStack stack(device(), test, host);
    stack.forward();
    const std::vector<float> out = first_rows(stack.out, 33);
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(std::isnan(out[i]), layer == 0 || i % 3 == 0) << test.label() << ", output " << i;
    }
  }
}

// An infinite gradient behind a relu that is off stays off, and dropped elements have no gradient at all.
TEST_P(DenseStackTest, infinite_gradients_pass_where_slopes_do) {
  const StackCase test = {{2, 1, 1}, kRelu, {717, 1, 3, 0, 3, 0}};
  HostStack host(test);
  host.in = {1, 0, -1, 0, 1, 0};
  host.layers[0].weight = {1, 0};
  host.layers[0].bias = {0};
  host.layers[1].weight = {1};
  host.layers[1].bias = {1};
  host.grad_out = {1, std::numeric_limits<float>::infinity(), 2};
  const DeviceStack stack(device(), test, host);
  stack.backward();
  EXPECT_EQ(stack.grad_in.values(), (std::vector<float>{1, 0, 0, 0, 2, 0}));
  EXPECT_EQ(stack.grad_params[0].bias.values(), std::vector<float>{3});
}

// Inputs and outputs that are part of wider matrices: rows that begin anywhere.
TEST_P(DenseStackTest, works_on_columns_of_wider_matrices) {
  for (const std::int64_t before : {1, 2, 3}) {
    const StackCase test = {{9, 12, 3}, {{ActivationKind::tanh}}, {718, 3, 21, 0, 21, 0}};
    const HostStack host(test);
    const DeviceStack plain(device(), test, host);
    plain.forward();
    plain.backward();
    const DeviceWindow in(device(), host.in, 21, 9, before);
    const DeviceWindow out(device(), std::vector<float>(21 * 3, kUntouched), 21, 3, before);
    const DeviceWindow grad_out(device(), host.grad_out, 21, 3, 4 - before);
    const DeviceWindow grad_in(device(), std::vector<float>(21 * 9, kUntouched), 21, 9, before);
    device().enqueue(ops::DenseStackForward{out.view(), in.view(), plain.stack, {}, plain.state.view()});
    EXPECT_TRUE(bits_equal(out.values(), plain.out.values(), "outputs"));
    EXPECT_TRUE(out.others_untouched());
    device().enqueue(ops::DenseStackBackward{
        {grad_out.view(), grad_in.view()}, plain.grad_views, in.view(), plain.stack, {}, plain.state.view()});
    EXPECT_TRUE(bits_equal(grad_in.values(), plain.grad_in.values(), "gradient of the inputs"));
    EXPECT_TRUE(grad_in.others_untouched());
  }
}

// As the driver does it. Catches: a count or a position that is frozen at capture.
TEST_P(DenseStackTest, a_captured_step_can_be_replayed) {
  constexpr std::int64_t kRatings = 103;
  constexpr std::int64_t kBatch = 40;
  const StackCase first = {{5, 12, 7, 1}, kRelu, {719, 1, kBatch, 0, kRatings, 0}, 0.5F};
  const HostStack host(first);
  const DeviceStack stack(device(), first, host);
  device().enqueue(ops::BeginEpoch{stack.state.view(), {719, 2, kRatings, kBatch, {}}});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    stack.forward();
    stack.backward();
    device().enqueue(ops::AdvanceStep{stack.state.view()});
  });
  for (std::int64_t batch = 0; batch < 3; ++batch) {
    StackCase test = first;
    test.batch.batch = batch;
    device().replay(*graph, 1);
    EXPECT_TRUE(close(stack, test, host, 2e-6));
  }
}

TEST_P(DenseStackTest, bits_do_not_depend_on_threads) {
  for (const StackCase& test : {StackCase{{13, 100, 50, 20, 1}, kRelu, {720, 1, 200, 0, 187, 0}, 0.2F},
                                StackCase{{128, 128, 64, 1}, {{ActivationKind::tanh}}, {721, 1, 70, 0, 70, 0}},
                                StackCase{{5, 3, 1}, {{ActivationKind::sigmoid}}, {722, 1, 17000, 0, 16999, 0}}}) {
    std::vector<float> first;
    const HostStack host(test);
    for (const auto& other : devices_by_threads()) {
      const DeviceStack stack(*other, test, host);
      stack.forward();
      stack.backward();
      const std::vector<float> got = stack.results(test.batch.count());
      first = first.empty() ? got : first;
      EXPECT_TRUE(bits_equal(got, first, other->info().name + ", " + std::to_string(other->info().threads)));
    }
  }
}

/// Whether the device rounds the operands of products when it is asked to; the CPU engine refuses.
bool rounds(Device& device) {
  if (device.info().threads > 0) {
    EXPECT_THROW(device.run(ops::PrepareDense{{}, ProductPrecision::tf32}), InputError);
    return false;
  }
  return true;
}

/// Rounding of both operands of a product, as the hardware may do it, in units of f32's half ones.
constexpr std::int64_t kTf32 = std::int64_t{1} << 14U;
constexpr std::int64_t kBf16 = std::int64_t{1} << 16U;

// A single linear layer, whose every result is a sum: within the bound of its terms' rounding, and not much better.
// Catches: operands that are cut instead of rounded, rounded twice or not at all; a precision that stays.
TEST_P(DenseStackTest, operands_are_rounded_as_asked) {
  if (!rounds(device())) {
    return;
  }
  const StackCase test = {{100, 40}, {{}}, {723, 40, 90, 0, 77, 0}};
  const HostStack host(test);
  const std::int64_t count = test.batch.count();
  const std::vector<reference::StackLayer> layers = host.stack();
  const reference::Dense& params = layers.front().params;
  const reference::Matrix in = first_of(host.in, count, 100);
  const reference::Matrix grad_out = first_of(host.grad_out, count, 40);
  const reference::Matrix sums = reference::dense_sums(in, params);
  const reference::DenseGradients grad = reference::dense_backward_from_sums(grad_out, in, params);
  const reference::DenseGradients magnitudes = reference::dense_backward_magnitudes(grad_out, in, params, {});
  for (const auto& [precision, rounding] :
       {std::pair{ProductPrecision::tf32, kTf32}, {ProductPrecision::bf16, kBf16}, {ProductPrecision::f32, 8L}}) {
    device().run(ops::PrepareDense{{}, precision});
    const DeviceStack stack(device(), test, host);
    stack.forward();
    stack.backward();
    const auto compare = [&](const std::vector<float>& got, const reference::Matrix& expected,
                             const reference::Matrix& magnitude, std::int64_t length) {
      EXPECT_TRUE(dot_close(got, expected.values, magnitude.values, {length + rounding}, test.label()))
          << name_of(precision);
      if (precision != ProductPrecision::f32) {
        EXPECT_FALSE(dot_close(got, expected.values, magnitude.values, {rounding / 32}, test.label()))
            << name_of(precision) << ": rounded to more bits than asked for";
      }
    };
    compare(first_rows(stack.out, count), sums, reference::dense_sums_magnitudes(in, params), 101);
    compare(first_rows(stack.grad_in, count), grad.in, magnitudes.in, 40);
    compare(stack.grad_params[0].weight.values(), grad.weight, magnitudes.weight, count);
    EXPECT_TRUE(dot_close(stack.grad_params[0].bias.values(), grad.bias.values, magnitudes.bias.values,
                          {count + rounding}, test.label()));
  }
}

// Against a reference that rounds what the hardware does: what is left is what rounds the other way there because it
// was computed in f32. Catches: registers of tensor cores that hold another element of an operand, for every width.
TEST_P(DenseStackTest, rounded_products_match_reference) {
  if (!rounds(device())) {
    return;
  }
  for (const auto& [precision, relative] :
       {std::pair{ProductPrecision::tf32, 0x1p-11}, {ProductPrecision::bf16, 0x1p-8}}) {
    device().run(ops::PrepareDense{{}, precision});
    for (StackCase test : stack_cases()) {
      // A relu whose sum is nearly 0 would be on in one place and off in the other; far out on a tanh rounding changes
      // the slope by more than there is of it.
      for (Activation& activation : test.activations) {
        const bool steady = activation.kind == ActivationKind::linear || activation.high == 1.0F;
        activation = activation.kind == ActivationKind::relu || !steady ? Activation{ActivationKind::tanh} : activation;
      }
      expect_stack(device(), test, relative, precision);
    }
    expect_stack(device(), {{128, 128, 128, 128, 128}, {{ActivationKind::tanh}}, batch_case(724, 128, 20, 1, 0), 0.2F},
                 relative, precision);
    expect_stack(device(), {{3, 5, 1}, {{ActivationKind::tanh}}, {725, 1, 20011, 0, 20000, 0}}, relative, precision);
  }
}

// 1 + 2^-8 and 1 + 3 * 2^-8 lie half-way between numbers of bf16, 1 + 2^-11 of tf32.
TEST_P(DenseStackTest, rounding_goes_to_the_nearest_and_keeps_nan) {
  if (!rounds(device())) {
    return;
  }
  const StackCase test = {{1, 1}, {{}}, {726, 1, 7, 0, 7, 0}};
  HostStack host(test);
  const float inf = std::numeric_limits<float>::infinity();
  host.in = {1.0F + 0x1p-8F, 1.0F + 0x1.8p-7F, 1.0F + 0x1p-11F, -1.0F - 0x1p-11F, kNan, -inf, 3.4028235e38F};
  host.layers[0].weight = {1.0F};
  host.layers[0].bias = {0.0F};
  for (const auto& [precision, expected] :
       {std::pair{ProductPrecision::bf16, std::vector<float>{1.0F, 1.0F + 0x1p-6F, 1.0F, -1.0F, kNan, -inf, inf}},
        {ProductPrecision::tf32,
         std::vector<float>{1.0F + 0x1p-8F, 1.0F + 0x1.8p-7F, 1.0F + 0x1p-10F, -1.0F - 0x1p-10F, kNan, -inf, inf}}}) {
    device().run(ops::PrepareDense{{}, precision});
    const DeviceStack stack(device(), test, host);
    stack.forward();
    const std::vector<float> got = stack.out.values();
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_TRUE(got[i] == expected[i] || (std::isnan(got[i]) && std::isnan(expected[i])))
          << name_of(precision) << ", element " << i << ": " << got[i] << " instead of " << expected[i];
    }
  }
}

// The rule: what a block has room for, in f32 together with its weights; never on a CPU.
TEST_P(DenseStackTest, suits_small_stacks) {
  const bool gpu = rounds(device());
  const auto suits = [this](const std::vector<std::int64_t>& widths) {
    DenseStack stack;
    for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
      stack.push_back({{{&device(), nullptr, widths[l + 1], widths[l], widths[l]}, {}}, {}, {}});
    }
    const std::optional<DenseStackLayout> plan = device().run(ops::LayOutDenseStack{stack, 100});
    EXPECT_TRUE(!plan || (plan->in == DType::f32 && plan->workspace == 0));
    return plan.has_value();
  };
  EXPECT_FALSE(device().run(ops::LayOutDenseStack{{}, 100}));
  EXPECT_EQ(suits({13, 100, 50, 20, 1}), gpu);
  EXPECT_EQ(suits({128, 64, 32, 1}), gpu);
  EXPECT_FALSE(suits({128, 128, 128, 1}));
  EXPECT_FALSE(suits({129, 1}));
  EXPECT_FALSE(suits({8, 8, 8, 8, 8, 1}));
  if (gpu) {
    device().run(ops::PrepareDense{{}, ProductPrecision::bf16});
    EXPECT_TRUE(suits({128, 128, 128, 1}));
    EXPECT_TRUE(suits({128, 128, 128, 128, 128}));
    EXPECT_FALSE(suits({64, 129, 1}));
    EXPECT_FALSE(suits({256, 256, 128, 64, 1}));
  }
}

TEST_P(DenseStackTest, what_does_not_fit_is_refused) {
  const StackCase test = {{4, 5, 3}, kRelu, {727, 3, 6, 0, 6, 0}};
  const HostStack host(test);
  const DeviceStack good(device(), test, host);
  const auto refused = [&](const std::function<void(DeviceStack&)>& spoil) {
    DeviceStack bad(device(), test, host);
    spoil(bad);
    EXPECT_THROW(bad.forward(), std::invalid_argument);
    EXPECT_THROW(bad.backward(), std::invalid_argument);
  };
  refused([](DeviceStack& bad) { bad.stack.clear(); });
  refused([](DeviceStack& bad) { bad.stack.pop_back(); });
  refused([](DeviceStack& bad) { bad.stack.back().dropout.rate = 0.5F; });
  refused([](DeviceStack& bad) { bad.stack.front().dropout.rate = 1.0F; });
  refused([](DeviceStack& bad) { std::swap(bad.stack[0], bad.stack[1]); });
  refused([](DeviceStack& bad) { bad.stack.resize(5, bad.stack.front()); });
  DeviceStack bad(device(), test, host);
  bad.grad_views.pop_back();
  EXPECT_THROW(bad.backward(), std::invalid_argument);
  const StackCase wide = {{4, 129}, kRelu, {728, 129, 6, 0, 6, 0}};
  const DeviceStack too_wide(device(), wide, HostStack(wide));
  if (rounds(device())) {
    EXPECT_THROW(too_wide.forward(), std::invalid_argument);
  } else {
    too_wide.forward();  // the CPU engine takes any width
    device().synchronize();
  }
}

}  // namespace
}  // namespace curate::test
