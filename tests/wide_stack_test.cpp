// Stacks of wide layers by cuBLASLt as a whole, everything between their layers in bf16. In the emulator, whose
// stand-in has the library's interface.

#include "kernels/wide_stack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/reference/dense_stack.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/failing_calls.h"
#include "tests/support/half_matrix.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

class WideStack : public testing::TestWithParam<std::string> {
 protected:
  WideStack() { emulator::add_emulated_engine(); }
  ~WideStack() override { emulator::set_cublaslt({}); }
};

INSTANTIATE_TEST_SUITE_P(devices, WideStack, testing::ValuesIn(emulated_test_devices("WideStack")), device_test_name);

/// What the operations round: all operands in bf16 and hidden layers' biases, but for the last layer's weights and the
/// gradient by its sum.
const reference::StackRounding kRounding(ProductPrecision::bf16, true, false);

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
std::vector<float> whole_numbers(RandomInputs& random, std::int64_t count, float most, float divisor) {
  std::vector<float> values = random.matrix(count, 1, -most, most);
  for (float& value : values) {
    value = std::round(value) / divisor;
  }
  return values;
}

/// On the host. Numbers are such that bf16 has them and hidden sums are exact in f32, whatever their order: what is
/// rounded between the layers, and which relus are on, is then the same everywhere, and only the last sums differ.
struct HostStack {
  explicit HostStack(const WideCase& test) : test_case(test) {
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
struct DeviceStack {
  DeviceStack(Device& stack_device, const HostStack& host)
      : device(&stack_device),
        test(host.test_case),
        in(*device, DType::bf16, host.in, rows(), inputs(), (inputs() + 7) / 8 * 8 + 8 * test.batch.padding),
        out(filled(*device, rows(), 1)),
        grad_out(*device, host.grad_out, rows(), 1),
        grad_in(test.with_grad_in
                    ? filled(*device, rows(), inputs(), (inputs() + 3) / 4 * 4 - inputs() + 4 * test.batch.padding)
                    : DeviceMatrix<float>()) {
    device->prepare_dense({rows(), 1, 1}, ProductPrecision::bf16);
    for (std::size_t l = 0; l < host.layers.size(); ++l) {
      params.emplace_back(*device, host.layers[l]);
      grad_params.emplace_back(*device, host.layers[l].outputs, host.layers[l].inputs, kUntouched);
      stack.push_back({params[l].params(), host.activation(l), host.dropouts[l]});
      grad_views.push_back(grad_params[l].params());
    }
    plan = device->plan_dense_stack(stack, rows());
    workspace = DeviceMatrix<float>(*device,
                                    std::vector<float>(static_cast<std::size_t>(plan ? plan->workspace : 0),
                                                       std::numeric_limits<float>::quiet_NaN()),
                                    plan ? plan->workspace : 0);
    StepState at = batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch);
    at.seed = test.batch.seed;
    at.epoch = 2;
    state = on_device(*device, at);
  }

  void forward() const { device->dense_stack_forward(out.view(), in.view(), stack, workspace.view(), state.view()); }
  void backward() const {
    device->dense_stack_backward({grad_out.view(), grad_in.view()}, grad_views, in.view(), stack, workspace.view(),
                                 state.view());
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
  std::optional<DenseStackPlan> plan;
  DeviceMatrix<float> workspace;
  DeviceMatrix<StepState> state;
};

/// Outputs and gradients of the batch against the reference.
void expect_close(const DeviceStack& got, const HostStack& host, std::int64_t batch) {
  constexpr double kNear = 2e-6;
  WideCase test = host.test_case;
  test.batch.batch = batch;
  const std::int64_t count = test.batch.count();
  const reference::StackPlace place = {test.batch.seed, 2, test.batch.begin()};
  const std::vector<reference::StackLayer> stack = host.stack();
  const reference::StackValues values =
      reference::dense_stack_forward(first_of(host.in, count, got.inputs()), stack, place, kRounding);
  const reference::StackGradients gradients =
      reference::dense_stack_backward(first_of(host.grad_out, count, 1), values, stack, place, kRounding);
  const reference::Matrix magnitude = reference::dense_sums_magnitudes(values.in.back(), stack.back().params);
  EXPECT_TRUE(sums_close(first_rows(got.out, count), values.out.back(), magnitude, kNear, test.label() + ", outputs"));
  for (std::size_t l = 0; l < stack.size(); ++l) {
    const std::string label = test.label() + ", layer " + std::to_string(l);
    const reference::DenseGradients& expected = gradients.layers[l];
    const reference::DenseGradients magnitudes =
        reference::dense_backward_magnitudes(expected.out, values.in[l], stack[l].params, {});
    EXPECT_TRUE(
        sums_close(got.grad_params[l].weight.values(), expected.weight, magnitudes.weight, kNear, label + ", weight"));
    EXPECT_TRUE(sums_close(got.grad_params[l].bias.values(), expected.bias, magnitudes.bias, kNear, label + ", bias"));
    if (l == 0 && test.with_grad_in) {
      EXPECT_TRUE(sums_close(first_rows(got.grad_in, count), gradients.in, magnitudes.in, kNear, label + ", inputs"));
    }
  }
}

std::vector<WideCase> wide_cases() {
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

// Catches: a layer's values that another one overwrites, masks of another layer or of another width, a relu or its
// slope left out, gradients scaled twice by a dropout or not at all, rows past the count that reach a sum, tails of
// widths that meet others' numbers, every ld, a bias or a weight that is not rounded, or rounded where it should not
// be.
TEST_P(WideStack, matches_reference) {
  const auto device = make_device(GetParam());
  for (const WideCase& test : wide_cases()) {
    const HostStack host(test);
    const DeviceStack stack(*device, host);
    ASSERT_TRUE(stack.plan) << test.label();
    EXPECT_EQ(stack.plan->in, DType::bf16);
    const std::int64_t before = emulator::cublaslt_products();
    stack.forward();
    stack.backward();
    EXPECT_EQ(emulator::cublaslt_products() - before,
              static_cast<std::int64_t>(3 * (test.widths.size() - 2)) - (test.with_grad_in ? 0 : 1));
    expect_close(stack, host, test.batch.batch);
    EXPECT_TRUE(untouched_from(stack.out, test.batch.count(), test.label()));
    EXPECT_TRUE(stack.grad_in.view().empty() || stack.grad_in.padding_intact()) << test.label();
  }
}

TEST_P(WideStack, an_empty_batch_gives_zeros) {
  const auto device = make_device(GetParam());
  const HostStack host({{64, 132, 64, 1}, {}, {811, 1, 512, 2, 700, 0}});
  const DeviceStack stack(*device, host);
  stack.forward();
  stack.backward();
  EXPECT_TRUE(untouched_from(stack.out, 0, "outputs"));
  for (const DeviceDense& layer : stack.grad_params) {
    for (const std::vector<float>& values : {layer.weight.values(), layer.bias.values()}) {
      EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return value == 0.0F; }));
    }
  }
}

// As the driver does it. Catches: a count or a position that is frozen at capture, memory that a step leaves unfit for
// the next one.
TEST_P(WideStack, a_captured_step_can_be_replayed) {
  const auto device = make_device(GetParam());
  const HostStack host({{64, 132, 64, 1}, {}, {812, 1, 512, 0, 1300, 0}, 0.5F});
  const DeviceStack stack(*device, host);
  device->begin_epoch(stack.state.view(), {812, 2, 1300, 512, {}});
  const std::unique_ptr<Graph> graph = device->capture([&] {
    stack.forward();
    stack.backward();
    device->advance_step(stack.state.view());
  });
  for (std::int64_t batch = 0; batch < 3; ++batch) {
    device->replay(*graph, 1);
    expect_close(stack, host, batch);
  }
  EXPECT_THROW(device->capture([&] { device->plan_dense_stack(stack.stack, 512); }), std::logic_error);
}

// The stand-in's relu makes 0 of NaN, as the library's may. Catches: a network that diverged and looks well.
TEST_P(WideStack, what_is_not_finite_shows) {
  const auto device = make_device(GetParam());
  const WideCase test = {{64, 132, 64, 1}, {}, {813, 1, 512, 0, 512, 0}};
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::size_t layer : {0, 1, 2}) {
    for (const float bad : {nan, inf, -inf}) {
      for (const bool in_bias : {false, true}) {
        HostStack host(test);
        (in_bias ? host.layers[layer].bias : host.layers[layer].weight).back() = bad;
        const DeviceStack stack(*device, host);
        stack.forward();
        const std::vector<float> out = stack.out.values();
        EXPECT_TRUE(std::none_of(out.begin(), out.end(), [](float value) { return std::isfinite(value); }) ||
                    layer == 2)
            << "layer " << layer << ", " << bad;
        EXPECT_FALSE(std::all_of(out.begin(), out.end(), [](float value) { return std::isfinite(value); }))
            << "layer " << layer << ", " << bad;
      }
    }
  }
  // An input makes a weight's gradient NaN, so that the next step shows it; and a step with sound parameters is sound.
  HostStack host(test);
  host.in[5] = nan;
  const DeviceStack stack(*device, host);
  stack.forward();
  stack.backward();
  const std::vector<float> gradient = stack.grad_params[0].weight.values();
  EXPECT_TRUE(std::any_of(gradient.begin(), gradient.end(), [](float value) { return std::isnan(value); }));
  const std::vector<float> out = stack.out.values();
  EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float value) { return std::isfinite(value); }));
}

// Catches: an order of sums that the schedule decides.
TEST_P(WideStack, the_same_bits_on_every_device) {
  std::vector<float> first;
  for (const std::string& name : {emulator::emulated_devices().front(), GetParam()}) {
    const auto device = make_device(name);
    const HostStack host({{64, 132, 200, 1}, {ActivationKind::sigmoid}, {814, 1, 700, 0, 650, 0}, 0.3F});
    const DeviceStack stack(*device, host);
    stack.forward();
    stack.backward();
    std::vector<float> all = first_rows(stack.out, 650);
    const auto add = [&all](const std::vector<float>& values) { all.insert(all.end(), values.begin(), values.end()); };
    add(first_rows(stack.grad_in, 650));
    for (const DeviceDense& layer : stack.grad_params) {
      add(layer.weight.values());
      add(layer.bias.values());
    }
    first = first.empty() ? all : first;
    EXPECT_TRUE(bits_equal(all, first, name));
  }
}

DenseStack shapes(Device& device, const std::vector<std::int64_t>& widths,
                  const Activation& hidden = {ActivationKind::relu}) {
  DenseStack stack;
  for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
    const bool last = l + 2 == widths.size();
    stack.push_back({{{&device, nullptr, widths[l + 1], widths[l], widths[l]}, {}}, last ? Activation{} : hidden, {}});
  }
  return stack;
}

// The rule of kernels/README.md.
TEST_P(WideStack, takes_wide_stacks_in_bf16_alone) {
  const auto device = make_device(GetParam());
  const auto plan = [&](const DenseStack& stack, std::int64_t batch = 512) {
    return device->plan_dense_stack(stack, batch);
  };
  const DenseStack wide = shapes(*device, {256, 256, 128, 64, 1});
  EXPECT_FALSE(plan(wide)) << "f32";
  device->prepare_dense({512, 1, 1}, ProductPrecision::tf32);
  EXPECT_FALSE(plan(wide)) << "tf32";
  device->prepare_dense({512, 1, 1}, ProductPrecision::bf16);
  EXPECT_TRUE(plan(wide));
  EXPECT_FALSE(plan(wide, 511)) << "few rows";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 128, 64, 1}, {ActivationKind::tanh}))) << "no relu";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 130, 64, 1}))) << "rows that begin anywhere";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 516, 1}))) << "a last layer that is too wide";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 2}))) << "two outputs";
  EXPECT_FALSE(plan(shapes(*device, {256, 60, 60, 60, 1}))) << "nothing wide";
  EXPECT_FALSE(plan(shapes(*device, {256, 1}))) << "no hidden layer";
  const std::optional<DenseStackPlan> small = plan(shapes(*device, {128, 64, 1}));
  ASSERT_TRUE(small);
  EXPECT_EQ(small->in, DType::f32) << "in one kernel";
}

TEST_P(WideStack, goes_layer_by_layer_where_the_library_lacks_something) {
  for (const emulator::CublasLtOptions& lacking : {emulator::CublasLtOptions{13, "", false, true},
                                                   {13, "", true, false},
                                                   {13, "", true, true, false},
                                                   {11, "", true, true, true, false}}) {
    emulator::set_cublaslt(lacking);
    const auto device = make_device(GetParam());
    device->prepare_dense({512, 1, 1}, ProductPrecision::bf16);
    EXPECT_FALSE(device->plan_dense_stack(shapes(*device, {256, 256, 128, 64, 1}), 512));
  }
}

TEST_P(WideStack, what_was_not_planned_is_refused) {
  const auto device = make_device(GetParam());
  const auto refused = [](const std::function<void()>& call, const std::string& why) {
    try {
      call();
      ADD_FAILURE() << "taken: " << why;
    } catch (const std::logic_error& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  };
  const HostStack host({{60, 132, 64, 1}, {}, {815, 1, 512, 0, 512, 0}});
  DeviceStack stack(*device, host);
  stack.stack[0].activation = {ActivationKind::tanh};
  refused([&] { stack.forward(); }, "no plan");
  refused([&] { stack.backward(); }, "no plan");
  stack.stack[0].activation = {ActivationKind::relu};
  const HalfMatrix wider(*device, DType::bf16, std::vector<float>(512 * 64), 512, 64);
  const auto forward_from = [&](std::int64_t column) {
    device->dense_stack_forward(stack.out.view(), wider.view().columns(column, 60), stack.stack, stack.workspace.view(),
                                stack.state.view());
  };
  forward_from(0);
  refused([&] { forward_from(4); }, "multiples of 16 bytes");
  stack.workspace = DeviceMatrix<float>(*device, std::vector<float>(100), 100);
  refused([&] { stack.forward(); }, "a smaller stack");
  refused([&] { stack.backward(); }, "a smaller stack");

  emulator::set_cublaslt({0, "", true, true});
  const auto without = make_device(GetParam());
  EXPECT_THROW(without->prepare_dense({512, 1, 1}, ProductPrecision::bf16), InputError);
  EXPECT_FALSE(without->plan_dense_stack(shapes(*without, {256, 256, 1}), 512));
}

TEST(WideStackFailures, every_call_that_fails_is_named_and_leaves_nothing_behind) {
  emulator::add_emulated_engine();
  const HostStack host({{8, 64, 132, 1}, {}, {816, 1, 512, 0, 512, 0}});
  for (const char* name : {"cuda-emulated", "cuda-emulated:reverse,eager"}) {
    const std::int64_t calls = fail_every_call([&](const std::function<void()>& begin) {
      const auto device = make_device(name);
      begin();
      const DeviceStack stack(*device, host);
      const auto graph = device->capture([&] {
        stack.forward();
        stack.backward();
      });
      device->replay(*graph, 1);
      device->synchronize();
    });
    EXPECT_GT(calls, 60);
  }
}

}  // namespace
}  // namespace curate::test
