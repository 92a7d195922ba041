// Layers of a network as one operation, and by a library: the same as layer by layer.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "models/rating_model.h"
#include "tests/emulator/emulator.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/epoch.h"
#include "tests/support/networks.h"
#include "tests/support/training.h"

namespace curate::test {
namespace {

using NetworkStackTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(NetworkStackTest);

/// With the emulator's stand-ins for the libraries.
using NetworkLibraryTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(devices, NetworkLibraryTest, testing::ValuesIn(emulated_test_devices("NetworkLibraryTest")),
                         device_test_name);

/// The length of the difference, relative to that of what is expected.
double relative_distance(const std::vector<float>& got, const std::vector<float>& expected) {
  double difference = 0.0;
  double length = 0.0;
  for (std::size_t e = 0; e < expected.size(); ++e) {
    const auto value = static_cast<double>(expected.at(e));
    difference += std::pow(static_cast<double>(got.at(e)) - value, 2.0);
    length += value * value;
  }
  return length == 0.0 ? std::sqrt(difference) : std::sqrt(difference / length);
}

/// A step and predictions of a network, each layer by layer, then fused where the device says so.
struct BothWays {
  BothWays(Device& device, const Network& network, MiniBatchOptions plan) {
    const HostRatings pairs = all_pairs();
    const DeviceRatings on_device(device, pairs);
    const Start start = start_of(network);
    before = start.tensors;
    for (const bool fuse : {false, true}) {
      const auto model = make_model(device, start.spec, start.tensors);
      model->predict(on_device.users.view(), on_device.items.view());
      plan.gradients.fuse_layers = fuse;
      Optimizer optimizer = prepare(*model, plan);
      const TestEpoch epoch(device, pairs, plan.gradients.batch, 0.1F);
      const std::int64_t products = emulator::cublaslt_products();
      model->enqueue_gradients(epoch.view());
      product_counts.push_back(emulator::cublaslt_products() - products);
      gradients.push_back(download_parameters(model->gradients()));
      optimizer.enqueue_step(epoch.view());
      after.push_back(model->download());
      predictions.push_back(model->predict(on_device.users.view(), on_device.items.view()));
    }
  }

  /// What the step took off a parameter.
  std::vector<float> step(std::size_t way, const std::string& name) const {
    std::vector<float> step = before.at(name).values;
    for (std::size_t e = 0; e < step.size(); ++e) {
      step[e] -= after[way].at(name).values.at(e);
    }
    return step;
  }

  TensorMap before;
  std::vector<TensorMap> gradients;
  std::vector<TensorMap> after;
  std::vector<std::vector<float>> predictions;
  std::vector<std::int64_t> product_counts;  ///< of the emulated cuBLASLt, in a step
};

// Catches: a layer that is left out of the stack, gradients that go to another one, dropout that has no part in it or
// is there when predicting, precisions of predictions made before training.
TEST_P(NetworkStackTest, FusedLayersGiveWhatLayersGive) {
  constexpr Network kDeep = {"7,3,5", "relu,tanh,relu", "linear"};
  std::vector<Network> networks = kNetworks;
  networks.push_back(kDeep);
  for (const Network& network : networks) {
    for (const float dense_dropout : {0.0F, 0.5F}) {
      MiniBatchOptions plan;
      plan.gradients.batch = all_pairs().size() + 3;
      plan.gradients.dense_dropout = dense_dropout;
      const BothWays got(device(), network, plan);
      for (const auto& [name, tensor] : got.gradients[0]) {
        const std::string label = label_of(network) + " " + name + ", dropout " + std::to_string(dense_dropout);
        if (std::any_of(tensor.values.begin(), tensor.values.end(), [](float value) { return value != 0.0F; })) {
          EXPECT_TRUE(gradient_close(got.gradients[1].at(name).values, tensor.values, 1e-5, label));
        }
        EXPECT_TRUE(all_close(got.after[1].at(name).values, got.after[0].at(name).values, {1e-6, 1e-5}, label));
      }
      EXPECT_TRUE(all_close(got.predictions[1], got.predictions[0], {1e-5, 1e-5}, label_of(network)));
    }
  }
}

// The same of layers that a library multiplies in bf16, between which the stack is in bf16 too: they round alike but
// for biases and the last layer, which turns single relus. Catches: inputs that are not written in bf16, gradients that
// go to another layer, a workspace that is too small.
TEST_P(NetworkStackTest, WideLayersInBf16GiveWhatLayersGive) {
  if (!device().can_store(DType::bf16)) {
    // Only f32 there: DenseStackTest.
    const Start start = start_of(kNetworks.front());
    MiniBatchOptions plan;
    plan.gradients.products = ProductPrecision::bf16;
    EXPECT_THROW(make_model(device(), start.spec, start.tensors)->prepare_gradients(plan.gradients), InputError);
    return;
  }
  struct Way {
    Network network;
    float dense_dropout;
    /// Of gradients: what a relu that turns adds or leaves out is a whole term, of 20 ratings; more of them turn, and
    /// less is left of the rest, behind more layers and dropout.
    double distance;
  };
  // A number of bf16 is within 2^-9 of what it stands for: predictions differ by the rounding of the biases and of the
  // last layer's operands.
  constexpr double kPredictions = 0x1.0p-8;
  for (const auto& [network, dense_dropout, distance] : {Way{{"132,64", "relu", "sigmoid", true}, 0.0F, 0.05},
                                                         Way{{"64,132,64", "relu", "linear", false, 3}, 0.5F, 0.08}}) {
    MiniBatchOptions plan;
    plan.gradients.batch = 512;
    plan.gradients.dense_dropout = dense_dropout;
    plan.gradients.products = ProductPrecision::bf16;
    const BothWays got(device(), network, plan);
    for (const auto& [name, tensor] : got.gradients[0]) {
      const std::string label = label_of(network) + " " + name;
      EXPECT_LE(relative_distance(got.gradients[1].at(name).values, tensor.values), distance) << label;
      EXPECT_LE(relative_distance(got.step(1, name), got.step(0, name)), distance) << label;
    }
    EXPECT_LE(relative_distance(got.predictions[1], got.predictions[0]), kPredictions) << label_of(network);
    if (GetParam() != "cuda") {
      // Layer by layer only what is wide goes to the library, of a stack all but its last layer.
      EXPECT_LT(got.product_counts[0], got.product_counts[1]) << label_of(network);
    }
  }
}

// A library that leaves out what is no whole number of 128 rows is never asked for it. Catches: buffers of a batch's
// rows as they are, rows past the batch that reach a gradient.
TEST_P(NetworkLibraryTest, BatchesGoToALibraryInWholeTiles) {
  constexpr int kGradientOfBias = 512;  // CUBLASLT_EPILOGUE_BGRADB
  const Start start = start_of({"132,64", "relu", "linear", true, 3});
  const HostRatings pairs = all_pairs();
  for (const ProductPrecision precision : {ProductPrecision::f32, ProductPrecision::bf16}) {
    std::vector<std::int64_t> launches;
    std::vector<TensorMap> gradients;
    for (const int tail : {0, 128}) {
      emulator::CublasLtOptions options;
      options.only_epilogue = kGradientOfBias;
      options.tail_of = tail;
      emulator::set_cublaslt(options);
      const auto own = make_device(GetParam());
      const auto model = make_model(*own, start.spec, start.tensors);
      const DeviceRatings on_device(*own, pairs);
      MiniBatchOptions plan;
      plan.gradients.batch = 600;
      plan.gradients.products = precision;
      Optimizer optimizer = prepare(*model, plan);
      const TestEpoch epoch(*own, pairs, plan.gradients.batch, 0.1F);
      own->synchronize();
      const std::int64_t before = emulator::counters().launches;
      model->enqueue_gradients(epoch.view());
      own->synchronize();
      launches.push_back(emulator::counters().launches - before);
      gradients.push_back(download_parameters(model->gradients()));
    }
    EXPECT_EQ(launches[0], launches[1]) << name_of(precision) << ": a kernel in place of an epilogue";
    for (const auto& [name, tensor] : gradients[0]) {
      EXPECT_TRUE(bits_equal(gradients[1].at(name).values, tensor.values, name));
    }
  }
  emulator::set_cublaslt({});
}

}  // namespace
}  // namespace curate::test
