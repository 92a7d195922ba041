#include <gtest/gtest.h>

#include "models/layer.h"
#include "support/philox.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

using DropoutLayerTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DropoutLayerTest);

TEST_P(DropoutLayerTest, MasksValuesAndGradientsAlike) {
  constexpr std::int64_t kRows = 40;
  constexpr std::int64_t kCols = 7;
  const auto layer = make_dropout_layer(device(), kCols, {0.5F, RandomPurpose::dropout_dense});
  EXPECT_TRUE(layer->only_when_training());
  EXPECT_EQ(layer->outputs(), kCols);
  EXPECT_TRUE(layer->parameters().empty());
  const std::vector<float> threes(kRows * kCols, 3.0F);
  const DeviceMatrix<float> in(device(), threes, kRows, kCols);
  const DeviceMatrix<float> out(device(), std::vector<float>(threes.size(), kUntouched), kRows, kCols);
  const DeviceMatrix<float> grad_out(device(), threes, kRows, kCols);
  const DeviceMatrix<float> grad_in(device(), std::vector<float>(threes.size(), kUntouched), kRows, kCols);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kRows, kRows));
  layer->forward({out.view(), in.view()}, state.view());
  layer->backward({grad_out.view(), grad_in.view()}, {out.view(), in.view()}, state.view());
  EXPECT_EQ(in.values(), threes);
  EXPECT_EQ(out.values(), grad_in.values());
  std::int64_t dropped = 0;
  for (const float value : out.values()) {
    EXPECT_TRUE(value == 0.0F || value == 6.0F) << value;
    dropped += value == 0.0F ? 1 : 0;
  }
  EXPECT_GT(dropped, kRows * kCols / 4);
  EXPECT_LT(dropped, kRows * kCols * 3 / 4);
}

}  // namespace
}  // namespace curate::test
