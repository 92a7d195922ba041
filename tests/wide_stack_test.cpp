// Stacks of wide layers by NVIDIA's libraries as a whole: which products go where, and what happens where a library is
// not, or not all, there. In the emulator, whose stand-ins can lack anything. What stacks compute is in
// library_stack_test.cpp.

#include "kernels/wide_stack.h"

#include <cublasLt.h>
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
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/failing_calls.h"
#include "tests/support/taken.h"
#include "tests/support/wide_stack.h"

namespace curate::test {
namespace {

class WideStack : public testing::TestWithParam<std::string> {
 protected:
  WideStack() { emulator::add_emulated_engine(); }
  ~WideStack() override {
    emulator::set_cublaslt({});
    emulator::set_cublas({});
  }
};

INSTANTIATE_TEST_SUITE_P(devices, WideStack, testing::ValuesIn(emulated_test_devices("WideStack")), device_test_name);

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
    return device->run(ops::LayOutDenseStack{stack, batch});
  };
  const DenseStack wide = shapes(*device, {256, 256, 128, 64, 1});
  EXPECT_FALSE(plan(wide)) << "f32";
  device->run(ops::PrepareDense{{512, 1, 1}, ProductPrecision::tf32});
  EXPECT_FALSE(plan(wide)) << "tf32";
  device->run(ops::PrepareDense{{512, 1, 1}, ProductPrecision::bf16});
  EXPECT_TRUE(plan(wide));
  EXPECT_FALSE(plan(wide, 511)) << "few rows";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 128, 64, 1}, {ActivationKind::tanh}))) << "no relu";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 130, 64, 1}))) << "rows that begin anywhere";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 516, 1}))) << "a last layer that is too wide";
  EXPECT_FALSE(plan(shapes(*device, {256, 256, 2}))) << "two outputs";
  EXPECT_FALSE(plan(shapes(*device, {256, 60, 60, 60, 1}))) << "nothing wide";
  EXPECT_FALSE(plan(shapes(*device, {256, 1}))) << "no hidden layer";
  const std::optional<DenseStackLayout> small = plan(shapes(*device, {128, 64, 1}));
  ASSERT_TRUE(small);
  EXPECT_EQ(small->in, DType::f32) << "in one kernel";
}

/// What libraries are asked to do of a stack whose three hidden layers have products with masks between them.
const WideCase kStack = {{70, 64, 132, 68, 1}, {ActivationKind::sigmoid, 0.5F, 5.0F}, {820, 1, 640, 0, 900, 0}, 0.5F};

/// Products of a step of kStack, which has to be right.
Taken take_step(const std::string& name) {
  const auto device = make_device(name);
  const HostWideStack host(kStack);
  const DeviceWideStack stack(*device, host);
  EXPECT_TRUE(stack.plan);
  if (!stack.plan) {
    return {};
  }
  const Taken before = products_taken();
  const auto graph = device->capture([&] {
    stack.forward();
    stack.backward();
  });
  const Taken taken = products_taken() - before;
  device->replay(*graph, 1);
  expect_close(stack, host, 0);
  return taken;
}

// What one product lacks costs that product. Catches: a fallback that is not taken or gives something else (a bias
// added after rounding, a relu left out or its slope, a sum over other rows), a stack that goes layer by layer for it.
TEST_P(WideStack, what_an_epilogue_lacks_costs_a_kernel) {
  const auto without = [](const std::function<void(emulator::CublasLtOptions&)>& set) {
    emulator::CublasLtOptions options;
    set(options);
    return options;
  };
  const std::pair<const char*, emulator::CublasLtOptions> all_lacking[] = {
      {"everything there", {}},
      {"no gradient of a bias", {13, "", true, false}},
      {"no masks", {13, "", true, true, false}},
      {"masks unknown", {11, "", true, true, true, false}},
      {"no relu", without([](auto& options) {
         options.only_epilogue = CUBLASLT_EPILOGUE_RELU_BIAS;
         options.found = 0;
       })},
      {"masks that cannot be applied", without([](auto& options) {
         options.only_epilogue = CUBLASLT_EPILOGUE_DRELU;
         options.heuristic_status = CUBLAS_STATUS_INVALID_VALUE;
       })},
      {"masks that do not start", without([](auto& options) {
         options.only_epilogue = CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
         options.matmul_status = CUBLAS_STATUS_ARCH_MISMATCH;
       })},
      {"gradients of biases that leave rows out", without([](auto& options) {
         options.only_epilogue = CUBLASLT_EPILOGUE_BGRADB;
         options.wrong = 3;
       })},
      {"relus that leave inputs out", without([](auto& options) {
         options.only_epilogue = CUBLASLT_EPILOGUE_RELU_BIAS;
         options.tail_of = 8;  // of 132 inputs
       })},
  };
  for (const auto& [what, lacking] : all_lacking) {
    SCOPED_TRACE(what);
    emulator::set_cublaslt(lacking);
    const Taken taken = take_step(GetParam());
    EXPECT_EQ(taken.by_cublaslt, 9);
    EXPECT_EQ(taken.by_cublas, 0);
  }
}

TEST_P(WideStack, cublas_serves_where_cublaslt_does_not) {
  const auto with_status = [](int status) {
    emulator::CublasLtOptions options;
    options.heuristic_status = status;
    return options;
  };
  for (const emulator::CublasLtOptions& lacking :
       {emulator::CublasLtOptions{13, "", false}, emulator::CublasLtOptions{13, "cublasLtMatmulAlgoCheck"},
        with_status(CUBLAS_STATUS_INVALID_VALUE), with_status(CUBLAS_STATUS_INTERNAL_ERROR),
        with_status(CUBLAS_STATUS_ARCH_MISMATCH)}) {
    emulator::set_cublaslt(lacking);
    const Taken taken = take_step(GetParam());
    EXPECT_EQ(taken.by_cublaslt, 0);
    EXPECT_EQ(taken.by_cublas, 9);
  }
}

TEST_P(WideStack, goes_layer_by_layer_where_no_library_serves) {
  for (const emulator::CublasOptions& lacking :
       {emulator::CublasOptions{false}, emulator::CublasOptions{true, "cublasGemmEx"},
        emulator::CublasOptions{true, "", CUBLAS_STATUS_NOT_SUPPORTED}, emulator::CublasOptions{true, "", 0, 256}}) {
    emulator::set_cublaslt({13, "", false});
    emulator::set_cublas(lacking);
    const auto device = make_device(GetParam());
    device->run(ops::PrepareDense{{512, 1, 1}, ProductPrecision::bf16});
    EXPECT_FALSE(device->run(ops::LayOutDenseStack{shapes(*device, {250, 256, 128, 64, 1}), 600}));
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
  const HostWideStack host({{60, 132, 64, 1}, {}, {815, 1, 512, 0, 512, 0}});
  DeviceWideStack stack(*device, host);
  stack.stack[0].activation = {ActivationKind::tanh};
  refused([&] { stack.forward(); }, "no plan");
  refused([&] { stack.backward(); }, "no plan");
  stack.stack[0].activation = {ActivationKind::relu};
  const HalfMatrix wider(*device, DType::bf16, std::vector<float>(512 * 64), 512, 64);
  const auto forward_from = [&](std::int64_t column) {
    device->enqueue(ops::DenseStackForward{stack.out.view(), wider.view().columns(column, 60), stack.stack,
                                           stack.workspace.view(), stack.state.view()});
  };
  forward_from(0);
  refused([&] { forward_from(4); }, "multiples of 16 bytes");
  stack.workspace = DeviceMatrix<float>(*device, std::vector<float>(100), 100);
  refused([&] { stack.forward(); }, "a smaller stack");
  refused([&] { stack.backward(); }, "a smaller stack");

  emulator::set_cublaslt({0, "", true, true});
  const auto without = make_device(GetParam());
  EXPECT_THROW(without->run(ops::PrepareDense{{512, 1, 1}, ProductPrecision::bf16}), InputError);
  EXPECT_FALSE(without->run(ops::LayOutDenseStack{shapes(*without, {256, 256, 1}), 512}));
}

// In one schedule, in which what is enqueued waits: which call fails does not depend on the order of threads.
TEST(WideStackFailures, every_call_that_fails_is_named_and_leaves_nothing_behind) {
  emulator::add_emulated_engine();
  const HostWideStack host({{8, 64, 132, 1}, {}, {816, 1, 512, 0, 512, 0}});
  const std::int64_t calls = fail_every_call([&](const std::function<void()>& begin) {
    const auto device = make_device("cuda-emulated");
    begin();
    const DeviceWideStack stack(*device, host);
    const auto graph = device->capture([&] {
      stack.forward();
      stack.backward();
    });
    device->replay(*graph, 1);
    expect_close(stack, host, 0);
  });
  EXPECT_GT(calls, 60);
}

}  // namespace
}  // namespace curate::test
