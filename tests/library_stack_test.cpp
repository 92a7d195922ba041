// Stacks of wide layers by NVIDIA's libraries as a whole, everything between their layers in bf16: on the emulated GPU
// with its stand-ins and, where there is a GPU, on that with the libraries themselves.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/gpu_devices.h"
#include "tests/support/wide_stack.h"

namespace curate::test {
namespace {

class LibraryStack : public testing::TestWithParam<std::string> {
 protected:
  void TearDown() override {
    if (HasFailure()) {
      end_where_context_is_broken(GetParam());
    }
  }
};

INSTANTIATE_TEST_SUITE_P(devices, LibraryStack, testing::ValuesIn(gpu_test_devices("LibraryStack")), device_test_name);

// Catches: a layer's values that another one overwrites, masks of another layer or of another width, a relu or its
// slope left out, gradients scaled twice by a dropout or not at all, rows past the count that reach a sum, tails of
// widths that meet others' numbers, every ld, a bias or a weight that is not rounded, or rounded where it should not
// be.
TEST_P(LibraryStack, matches_reference) {
  const auto device = make_device(GetParam());
  for (const WideCase& test : wide_cases()) {
    const HostWideStack host(test);
    const DeviceWideStack stack(*device, host);
    ASSERT_TRUE(stack.plan) << test.label();
    EXPECT_EQ(stack.plan->in, DType::bf16);
    stack.forward();
    stack.backward();
    expect_close(stack, host, test.batch.batch);
    EXPECT_TRUE(untouched_from(stack.out, test.batch.count(), test.label()));
    EXPECT_TRUE(stack.grad_in.view().empty() || stack.grad_in.padding_intact()) << test.label();
  }
}

TEST_P(LibraryStack, an_empty_batch_gives_zeros) {
  const auto device = make_device(GetParam());
  const HostWideStack host({{64, 132, 64, 1}, {}, {811, 1, 512, 2, 700, 0}});
  const DeviceWideStack stack(*device, host);
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
TEST_P(LibraryStack, a_captured_step_can_be_replayed) {
  const auto device = make_device(GetParam());
  const HostWideStack host({{64, 132, 64, 1}, {}, {812, 1, 512, 0, 1300, 0}, 0.5F});
  const DeviceWideStack stack(*device, host);
  device->enqueue(ops::BeginEpoch{stack.state.view(), {812, 2, 1300, 512, {}}});
  const std::unique_ptr<Graph> graph = device->capture([&] {
    stack.forward();
    stack.backward();
    device->enqueue(ops::AdvanceStep{stack.state.view()});
  });
  for (std::int64_t batch = 0; batch < 3; ++batch) {
    device->replay(*graph, 1);
    expect_close(stack, host, batch);
  }
  EXPECT_THROW(device->capture([&] { device->run(ops::LayOutDenseStack{stack.stack, 512}); }), std::logic_error);
}

// The stand-in's relu makes 0 of NaN, as the library's may. Catches: a network that diverged and looks well.
TEST_P(LibraryStack, what_is_not_finite_shows) {
  const auto device = make_device(GetParam());
  const WideCase test = {{64, 132, 64, 1}, {}, {813, 1, 512, 0, 512, 0}};
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::size_t layer : {0, 1, 2}) {
    for (const float bad : {nan, inf, -inf}) {
      for (const bool in_bias : {false, true}) {
        HostWideStack host(test);
        (in_bias ? host.layers[layer].bias : host.layers[layer].weight).back() = bad;
        const DeviceWideStack stack(*device, host);
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
  HostWideStack host(test);
  host.in[5] = nan;
  const DeviceWideStack stack(*device, host);
  stack.forward();
  stack.backward();
  const std::vector<float> gradient = stack.grad_params[0].weight.values();
  EXPECT_TRUE(std::any_of(gradient.begin(), gradient.end(), [](float value) { return std::isnan(value); }));
  const std::vector<float> out = stack.out.values();
  EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float value) { return std::isfinite(value); }));
}

// Catches: an order of sums that the schedule decides.
TEST_P(LibraryStack, the_same_bits_on_every_device) {
  std::vector<float> first;
  const std::string other = GetParam() == "cuda" ? GetParam() : emulator::emulated_devices().front();
  for (const std::string& name : {other, GetParam()}) {
    const auto device = make_device(name);
    const HostWideStack host({{64, 132, 200, 1}, {ActivationKind::sigmoid}, {814, 1, 700, 0, 650, 0}, 0.3F});
    const DeviceWideStack stack(*device, host);
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

}  // namespace
}  // namespace curate::test
