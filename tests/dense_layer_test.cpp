#include <gtest/gtest.h>

#include <cmath>

#include "models/layer.h"
#include "solvers/optimizer.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

using DenseLayerTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DenseLayerTest);

// Two samples through out = relu(in weight^T + bias), then one step of SGD with L2 and weight decay on the weight.
TEST_P(DenseLayerTest, HandComputedStep) {
  const auto layer = make_dense_layer(device(), 2, 2, {ActivationKind::relu, 0.0F, 1.0F});
  EXPECT_EQ(layer->outputs(), 2);
  EXPECT_FALSE(layer->only_when_training());
  const std::vector<NamedParameter> parameters = layer->parameters();
  ASSERT_EQ(parameters.size(), 2U);
  EXPECT_EQ(parameters[0].name, "weight");
  EXPECT_EQ(parameters[1].name, "bias");
  device().upload(parameters[0].view, std::span<const float>(std::vector<float>{1, 2, -1, 1}));
  device().upload(parameters[1].view, std::span<const float>(std::vector<float>{0.5F, -1}));
  layer->prepare_gradients();
  Trainables trainables;
  layer->add_trainables(trainables.layers);
  OptimizerOptions options;
  options.dense_reg = 0.25F;
  options.rows.weight_decay = 0.5F;
  options.rows.non_negative = true;  // of embeddings, not of layers
  Optimizer optimizer(device(), trainables, options);

  const DeviceMatrix<float> in(device(), std::vector<float>{1, 2, 3, -1}, 2, 2);
  const DeviceMatrix<float> out(device(), std::vector<float>(4, kUntouched), 2, 2);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(2, 2, 0, 0.1F));
  layer->forward({out.view(), in.view()}, state.view());
  // z = [[5.5, 0], [1.5, -5]]
  EXPECT_EQ(out.values(), (std::vector<float>{5.5F, 0, 1.5F, 0}));

  const DeviceMatrix<float> grad_out(device(), std::vector<float>{1, 7, -2, 7}, 2, 2);
  const DeviceMatrix<float> grad_in(device(), std::vector<float>(4, kUntouched), 2, 2);
  layer->backward({grad_out.view(), grad_in.view()}, {out.view(), in.view()}, state.view());
  EXPECT_EQ(grad_in.values(), (std::vector<float>{1, 2, -2, -4}));
  const TensorMap gradients = download_parameters(layer->gradients());
  EXPECT_EQ(gradients.at("weight").values, (std::vector<float>{-5, 4, 0, 0}));
  EXPECT_EQ(gradients.at("bias").values, (std::vector<float>{-1, 0}));

  EpochView epoch;
  epoch.state = state.view();
  optimizer.enqueue_step(epoch);
  const TensorMap after = download_parameters(layer->parameters());
  // w (1 - 0.1 * 0.5) - 0.1 (g + 2 * 0.25 w); the bias is neither decayed nor regularized.
  EXPECT_TRUE(all_close(after.at("weight").values, std::vector<double>{1.4, 1.4, -0.9, 0.9}, {1e-6, 0.0}, "weight"));
  EXPECT_TRUE(all_close(after.at("bias").values, std::vector<double>{0.6, -1.0}, {1e-6, 0.0}, "bias"));
}

}  // namespace
}  // namespace curate::test
