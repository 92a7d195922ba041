// What engines have for some arguments only.

#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

using SupportsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(SupportsTest);

constexpr std::int64_t kRows = 4;

/// Arrays of a device, all zero.
class Arrays {
 public:
  explicit Arrays(Device& device) : device_(&device) {}

  MatrixView add(DType dtype, std::int64_t rows, std::int64_t cols) {
    buffers_.push_back(device_->allocate(static_cast<std::size_t>(rows * cols) * size_of(dtype)));
    const MatrixView view = buffers_.back().view(dtype, rows, cols);
    device_->zero(view);
    return view;
  }

  MatrixView state() {
    const MatrixView view = add(DType::step_state, 1, 1);
    device_->enqueue(ops::BeginEpoch{view, {1, 0, kRows, kRows, {}}});
    return view;
  }

 private:
  Device* device_;
  std::vector<Buffer> buffers_;
};

std::string refusal(Device& device, const auto& operation) {
  try {
    device.enqueue(operation);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

/// What supports() says is what enqueue() does.
void expect_refused(Device& device, const auto& operation) {
  EXPECT_FALSE(device.supports(operation));
  const std::string told = refusal(device, operation);
  EXPECT_EQ(told.find(std::string(operation.kName) + ": "), 0U) << told;
  EXPECT_NE(told.find("does not take these arguments"), std::string::npos) << told;
}

/// `layers` layers of one input and one output, each with the weight 2.
ops::DenseStackForward stack_of(Device& device, Arrays& arrays, int layers) {
  ops::DenseStackForward operation;
  operation.out = arrays.add(DType::f32, kRows, 1);
  operation.in = arrays.add(DType::f32, kRows, 1);
  const std::vector<float> ones(kRows, 1.0F);
  device.upload(operation.in, std::span<const float>(ones));
  for (int l = 0; l < layers; ++l) {
    const float two = 2.0F;
    const MatrixView weight = arrays.add(DType::f32, 1, 1);
    device.upload(weight, std::span<const float>(&two, 1));
    operation.stack.push_back({{weight, arrays.add(DType::f32, 1, 1)}, {}, {}});
  }
  operation.state = arrays.state();
  return operation;
}

TEST_P(SupportsTest, every_device_takes_stacks_of_four_layers_and_some_take_longer_ones) {
  for (const int layers : {1, 4, 5}) {
    Arrays arrays(device());
    const ops::DenseStackForward operation = stack_of(device(), arrays, layers);
    ops::DenseStackBackward backward{{operation.out, {}}, {}, operation.in, operation.stack, {}, operation.state};
    for (int l = 0; l < layers; ++l) {
      backward.grad_params.push_back({arrays.add(DType::f32, 1, 1), arrays.add(DType::f32, 1, 1)});
    }
    EXPECT_EQ(device().supports(backward), device().supports(operation));
    if (!device().supports(operation)) {
      EXPECT_GT(layers, kMostStackLayers);
      expect_refused(device(), operation);
      expect_refused(device(), backward);
      continue;
    }
    device().enqueue(operation);
    std::vector<float> out(kRows);
    device().download(std::span<float>(out), operation.out);
    EXPECT_EQ(out, std::vector<float>(kRows, static_cast<float>(1 << layers)));
    device().enqueue(backward);
    device().synchronize();
  }
}

// The CPU engine takes every stack.
TEST_P(SupportsTest, a_gpu_takes_no_stack_with_a_layer_that_is_too_wide) {
  for (const std::int64_t width : {kWidestStackLayer, kWidestStackLayer + 1}) {
    Arrays arrays(device());
    ops::DenseStackForward operation{
        arrays.add(DType::f32, kRows, 1), arrays.add(DType::f32, kRows, width), {}, {}, {}};
    operation.stack.push_back({{arrays.add(DType::f32, 1, width), arrays.add(DType::f32, 1, 1)}, {}, {}});
    operation.state = arrays.state();
    if (width <= kWidestStackLayer || !device().has_own_memory()) {
      EXPECT_TRUE(device().supports(operation));
      device().enqueue(operation);
      device().synchronize();
    } else {
      expect_refused(device(), operation);
    }
  }
}

TEST_P(SupportsTest, per_rating_sgd_of_16_bits_takes_rows_of_whole_16_bytes) {
  for (const std::int64_t dim : {8, 12}) {
    Arrays arrays(device());
    const RatingsView ratings{arrays.add(DType::i32, kRows, 1), arrays.add(DType::i32, kRows, 1),
                              arrays.add(DType::f32, kRows, 1)};
    const auto plan = device().run(ops::PlanMfEpoch{ratings, 2, 2});
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      if (!device().can_store(dtype)) {
        continue;
      }
      const MfTables tables{arrays.add(dtype, 2, dim), arrays.add(dtype, 2, dim), {}, {}, arrays.add(DType::f32, 1, 1)};
      const ops::MfSgdEpoch operation{tables, arrays.add(DType::error_sums, 1, 1), plan.get(), {}, arrays.state()};
      if (dtype == DType::f32 || dim == 8) {
        EXPECT_TRUE(device().supports(operation));
        device().enqueue(operation);
      } else {
        expect_refused(device(), operation);
      }
    }
    device().synchronize();
  }
}

}  // namespace
}  // namespace curate::test
