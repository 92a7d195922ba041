#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "curate/error.h"
#include "models/rating_model.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/epoch.h"
#include "tests/support/networks.h"
#include "tests/support/training.h"

namespace curate::test {
namespace {

using NeuralNetworkTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(NeuralNetworkTest);

using NeuralNetworkIn16Bits = DeviceTest;
INSTANTIATE_TEST_SUITE_P(devices, NeuralNetworkIn16Bits,
                         testing::ValuesIn(test_devices_with_16_bits("NeuralNetworkIn16Bits")), device_test_name);

TEST_P(NeuralNetworkTest, PredictsTheFormula) {
  const HostRatings pairs = all_pairs();
  const DeviceRatings on_device(device(), pairs);
  for (const Network& network : kNetworks) {
    const Start start = start_of(network);
    const auto model = make_model(device(), start.spec, start.tensors);
    const std::vector<float> got = model->predict(on_device.users.view(), on_device.items.view());
    std::vector<double> expected;
    ErrorSums expected_sums;
    for (std::size_t n = 0; n < pairs.ratings.size(); ++n) {
      expected.push_back(predict(start, pairs.users[n], pairs.items[n]));
      const double error = expected.back() - static_cast<double>(pairs.ratings[n]);
      expected_sums.squared += error * error;
    }
    EXPECT_TRUE(all_close(got, expected, {1e-5, 1e-5}, label_of(network)));
    const auto sums = test::on_device(device(), ErrorSums{});
    model->enqueue_errors(sums.view(), on_device.view(), ClipRange{-100.0F, 100.0F});
    const auto got_sums = device().read<ErrorSums>(sums.view());
    EXPECT_EQ(got_sums.count, pairs.size());
    EXPECT_NEAR(got_sums.squared, expected_sums.squared, 1e-5 * expected_sums.squared) << label_of(network);
  }
}

TEST_P(NeuralNetworkTest, UploadedParametersComeBack) {
  for (const Network& network : kNetworks) {
    const Start start = start_of(network);
    const TensorMap back = make_model(device(), start.spec, start.tensors)->download();
    ASSERT_EQ(back.size(), start.tensors.size());
    for (const auto& [name, tensor] : start.tensors) {
      EXPECT_EQ(back.at(name).shape, tensor.shape) << name;
      EXPECT_EQ(back.at(name).values, tensor.values) << name;
    }
  }
}

/// Central finite differences of the objective by the elements of a tensor.
std::vector<double> slopes(const Start& start, const std::string& name, const Objective& params,
                           const Dropout& dropout = {}) {
  constexpr float kH = 1.0F / 1024.0F;
  std::vector<double> slopes;
  for (std::size_t e = 0; e < start.tensors.at(name).values.size(); ++e) {
    Start up = start;
    Start down = start;
    float& above = up.tensors[name].values[e] += kH;
    float& below = down.tensors[name].values[e] -= kH;
    const double width = static_cast<double>(above) - static_cast<double>(below);
    slopes.push_back((objective(up, params, dropout) - objective(down, params, dropout)) / width);
  }
  return slopes;
}

std::vector<double> differences(const std::vector<float>& from, const std::vector<float>& to) {
  std::vector<double> differences;
  for (std::size_t e = 0; e < from.size(); ++e) {
    differences.push_back(static_cast<double>(from[e]) - static_cast<double>(to.at(e)));
  }
  return differences;
}

// Every gradient of the model against central finite differences of the objective in double precision.
TEST_P(NeuralNetworkTest, GradientsAreThoseOfTheObjective) {
  for (const Network& network : kNetworks) {
    for (const Objective& params :
         {Objective{}, Objective{LossKind::mae, 0.0, 0.0}, Objective{LossKind::mse, 0.05, 0.02, 0.03}}) {
      const Start start = start_of(network);
      const auto model = make_model(device(), start.spec, start.tensors);
      MiniBatchOptions plan;
      plan.gradients.batch = kRatings.size();
      plan.gradients.loss = params.loss;
      plan.gradients.reg = static_cast<float>(params.reg);
      plan.optimizer.dense_reg = static_cast<float>(params.dense_reg);
      plan.optimizer.feature_reg = static_cast<float>(params.feature_reg);
      Optimizer optimizer = prepare(*model, plan);
      const TestEpoch epoch(device(), kRatings, plan.gradients.batch, 1.0F);
      model->enqueue_gradients(epoch.view());
      const TensorMap gradients = download_parameters(model->gradients());
      optimizer.enqueue_step(epoch.view());
      const TensorMap after = model->download();
      ASSERT_EQ(gradients.size(), start.tensors.size());
      for (const auto& [name, tensor] : start.tensors) {
        const std::vector<double> expected = slopes(start, name, params);
        const std::vector<double> steps = differences(tensor.values, after.at(name).values);
        const std::string label = label_of(network) + " " + name;
        // SGD of learning rate 1 moves every parameter by minus its gradient, that of the L2 of dense weights and
        // features included.
        EXPECT_TRUE(all_close(steps, expected, {2e-5, 1e-4}, label));
        if (params.dense_reg == 0.0) {
          EXPECT_TRUE(all_close(gradients.at(name).values, expected, {2e-5, 1e-4}, label + " gradient"));
        }
      }
      const Objective loss_alone = {params.loss, 0.0, 0.0};
      const ErrorSums sums = epoch.sums();
      EXPECT_EQ(sums.count, kRatings.size());
      EXPECT_NEAR((params.loss == LossKind::mse ? sums.squared : sums.absolute) / 6.0, objective(start, loss_alone),
                  1e-5);
    }
  }
}

// The same with dropout, every input and the layers at a rate of their own, and with an optimizer of its own for what
// users and items share: the gradient is that of the masked network, the L2 that of embeddings as they are. Catches:
// rates that change places, masks that are not there on the way back, embeddings that learn at the rate of others.
TEST_P(NeuralNetworkTest, GradientsUnderDropoutAreThoseOfTheMaskedObjective) {
  constexpr Dropout kDropout = {0.5F, 0.25F, 0.4F, 0.3F};
  constexpr double kSharedRate = 0.5;
  const Objective params = {LossKind::mse, 0.05, 0.02, 0.03};
  for (const Network& network : {kNetworks[0], kNetworks[4], kProduct, kFeaturesAndFactors}) {
    for (const bool fuse : {false, true}) {
      const Start start = start_of(network);
      const auto model = make_model(device(), start.spec, start.tensors);
      MiniBatchOptions plan;
      plan.gradients.batch = kRatings.size();
      plan.gradients.fuse_layers = fuse;
      plan.gradients.reg = static_cast<float>(params.reg);
      plan.optimizer.dense_reg = static_cast<float>(params.dense_reg);
      plan.optimizer.feature_reg = static_cast<float>(params.feature_reg);
      plan.gradients.dropout = {kDropout.user, kDropout.item};
      plan.gradients.feature_dropout = kDropout.feature;
      plan.gradients.dense_dropout = kDropout.dense;
      plan.optimizer.shared = plan.optimizer.rows;
      plan.optimizer.shared->rate = static_cast<float>(kSharedRate);
      Optimizer optimizer = prepare(*model, plan);
      const TestEpoch epoch(device(), kRatings, plan.gradients.batch, 1.0F);
      model->enqueue_gradients(epoch.view());
      optimizer.enqueue_step(epoch.view());
      const TensorMap after = model->download();
      ASSERT_EQ(after.size(), start.tensors.size());
      for (const auto& [name, tensor] : start.tensors) {
        const bool own = name == "user.embedding" || name == "item.embedding" || name.ends_with(".factors");
        std::vector<double> expected = slopes(start, name, params, kDropout);
        for (double& step : expected) {
          step *= own ? 1.0 : kSharedRate;
        }
        EXPECT_TRUE(all_close(differences(tensor.values, after.at(name).values), expected, {2e-5, 1e-4},
                              label_of(network) + " " + name + (fuse ? " fused" : "")));
      }
      EXPECT_NEAR(epoch.sums().squared / 6.0, objective(start, {}, kDropout), 1e-5) << label_of(network);
    }
  }
}

// Masks are there in training alone, and those of a batch are the same whenever it is trained in an epoch. Catches:
// masks that go on changing, or stay when predicting.
TEST_P(NeuralNetworkTest, DropoutMasksTrainingAlone) {
  struct Way {
    Network network;
    Dropout dropout;
  };
  const std::vector<Way> ways = {{kNetworks[0], {0.5F, 0.25F, 0.0F, 0.5F}},
                                 {kProduct, {0.5F, 0.25F, 0.0F, 0.5F}},
                                 {kFeaturesAndFactors, {0.5F, 0.25F, 0.25F, 0.5F}},
                                 {kFeaturesAndFactors, {0.0F, 0.0F, 0.5F, 0.0F}}};
  const HostRatings pairs = all_pairs();
  const DeviceRatings on_device(device(), pairs);
  for (const auto& [network, dropout] : ways) {
    SCOPED_TRACE(label_of(network));
    Start start = start_of(network);
    const auto model = make_model(device(), start.spec, start.tensors);
    const auto expect_no_mask = [&] {
      std::vector<double> expected;
      for (std::size_t n = 0; n < pairs.ratings.size(); ++n) {
        expected.push_back(predict(start, pairs.users[n], pairs.items[n]));
      }
      EXPECT_TRUE(all_close(model->predict(on_device.users.view(), on_device.items.view()), expected, {2e-5, 2e-5},
                            "predictions"));
    };
    MiniBatchOptions plan;
    plan.gradients.batch = kRatings.size();
    if (dropout.user > 0.0F) {
      plan.gradients.dropout = {dropout.user, dropout.item};
    }
    plan.gradients.feature_dropout = dropout.feature;
    plan.gradients.dense_dropout = dropout.dense;
    Optimizer optimizer = prepare(*model, plan);
    expect_no_mask();
    const TestEpoch epoch(device(), kRatings, plan.gradients.batch, 0.05F);
    double squared = 0.0;
    double first = 0.0;
    double last = 0.0;
    for (int step = 0; step < 50; ++step) {
      model->enqueue_gradients(epoch.view());
      optimizer.enqueue_step(epoch.view());
      last = (epoch.sums().squared - squared) / 6.0;
      squared = epoch.sums().squared;
      EXPECT_NEAR(last, objective(start, {}, dropout), 1e-4 * last + 1e-5) << "step " << step;
      first = step == 0 ? last : first;
      start.tensors = model->download();
    }
    EXPECT_LT(last, 0.5 * first) << "learns";
    expect_no_mask();
    // dense.0, dense.1, ...: dropout layers take no number.
    EXPECT_EQ(start.tensors.size(), start_of(network).tensors.size());
  }
}

// Embeddings and factors of users and items, the same numbers in all four tables, and the same gradients: rounded to 16
// bits they differ.
TEST_P(NeuralNetworkIn16Bits, TablesAreRoundedIndependently) {
  constexpr std::int64_t kDim = 16;
  TrainOptions options = options_of({"none", "relu", "linear", false, kDim});
  options.user_dim = kDim;
  options.item_dim = kDim;
  Start start;
  start.spec = model_spec(options, kScale);
  start.tensors = initial_parameters(options, start.spec, kUsers, kUsers, 3.0);
  const std::vector<std::string> names = {"user.embedding", "item.embedding", "user.factors", "item.factors"};
  for (std::int64_t k = 0; k < kDim; ++k) {
    const auto column = static_cast<std::size_t>(k);
    const float value = 0.125F + 0.0625F * static_cast<float>(k);  // numbers of 16 bits
    for (const std::string& name : names) {
      for (std::size_t row = 0; row < kUsers; ++row) {
        start.tensors[name].values[row * kDim + column] = value;
      }
    }
    // So that the gradient by an embedding is that by a factor.
    start.tensors["dense.0.weight"].values[column] = value;
    start.tensors["dense.0.weight"].values[kDim + column] = value;
  }
  const HostRatings ratings = {{0, 1, 2, 3}, {0, 1, 2, 3}, {4.0F, 1.5F, 5.0F, 2.0F}};
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const auto model = make_model(device(), start.spec, start.tensors, dtype);
    MiniBatchOptions plan;
    plan.gradients.batch = ratings.size();
    Optimizer optimizer = prepare(*model, plan);
    const TestEpoch epoch(device(), ratings, plan.gradients.batch, 0.03F);
    model->enqueue_gradients(epoch.view());
    optimizer.enqueue_step(epoch.view());
    const TensorMap after = model->download();
    for (std::size_t one = 0; one < names.size(); ++one) {
      for (std::size_t other = one + 1; other < names.size(); ++other) {
        EXPECT_NE(after.at(names[one]).values, after.at(names[other]).values)
            << names[one] << ", " << names[other] << " in " << name_of(dtype);
      }
    }
  }
}

TEST(NeuralNetworkStart, FirstPredictionsAreNearTheMean) {
  for (const char* output : {"linear", "relu", "sigmoid"}) {
    TrainOptions options = options_of({"6,4", "relu", output});
    options.init_scale = 1e-4;
    Start start;
    start.spec = model_spec(options, kScale);
    start.tensors = initial_parameters(options, start.spec, kUsers, kItems, 3.25);
    EXPECT_NEAR(predict(start, 1, 2), 3.25, 1e-2) << output;
    options.global_mean = false;
    start.tensors = initial_parameters(options, start.spec, kUsers, kItems, 3.25);
    EXPECT_EQ(start.tensors.at("dense.2.bias").values[0], 0.0F) << output;
  }
}

TEST(NeuralNetworkStart, TablesStartFromNumbersOfTheirOwn) {
  TrainOptions options = options_of({"6,4", "relu", "linear", false, 4});
  options.user_dim = 4;
  options.item_dim = 4;
  const ModelSpec spec = model_spec(options, kScale);
  const TensorMap tensors = initial_parameters(options, spec, kUsers, kUsers, 3.0);
  std::set<std::vector<float>> tables;
  for (const char* const name : {"user.embedding", "item.embedding", "user.factors", "item.factors"}) {
    tables.insert(tensors.at(name).values);
  }
  EXPECT_EQ(tables.size(), 4U);
  options.seed += 1;
  for (const auto& [name, tensor] : initial_parameters(options, spec, kUsers, kUsers, 3.0)) {
    EXPECT_TRUE(name.ends_with(".bias") || tensor.values != tensors.at(name).values) << name;
  }
}

TEST(NeuralNetworkStart, DenseWeightsAreGlorotUniform) {
  const Start start = start_of({"300,200", "relu", "linear"});
  const Tensor& weight = start.tensors.at("dense.1.weight");
  ASSERT_EQ(weight.shape, (std::vector<std::int64_t>{200, 300}));
  const double limit = std::sqrt(6.0 / 500.0);
  double sum = 0.0;
  for (const float value : weight.values) {
    ASSERT_LE(std::abs(static_cast<double>(value)), limit);
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  EXPECT_NEAR(sum / static_cast<double>(weight.values.size()), 2.0 / 500.0, 1e-4);
  EXPECT_NE(weight.values[0], start.tensors.at("dense.0.weight").values[0]);
}

using Spoilers = std::vector<std::pair<std::string, std::function<void(Start&)>>>;

/// Each spoiled start is refused with a message that has its text.
void expect_refusals(const Start& good, const Spoilers& cases) {
  const auto cpu = make_device("cpu");
  make_model(*cpu, good.spec, good.tensors);
  for (const auto& [named, spoil] : cases) {
    Start bad = good;
    spoil(bad);
    try {
      make_model(*cpu, bad.spec, bad.tensors);
      ADD_FAILURE() << named << " was taken";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
    }
  }
}

TEST(NeuralNetworkStart, TensorsThatDoNotFitAreRefused) {
  const Spoilers cases = {
      {"dense.1.weight", [](Start& s) { s.tensors.erase("dense.1.weight"); }},
      {"dense.1.bias", [](Start& s) { s.tensors.erase("dense.1.bias"); }},
      {"dense.0.bias", [](Start& s) { s.tensors["dense.0.bias"].values.push_back(0.0F); }},
      {"dense.0.weight",
       [](Start& s) {
         s.tensors["dense.0.weight"].shape = {5, 6};
       }},
      {"dense.0.weight",
       [](Start& s) {
         s.tensors["user.embedding"] = {{4, 1}, {1, 2, 3, 4}};
       }},
      {"user.embedding", [](Start& s) { s.tensors["user.embedding"].shape = {8}; }},
      {"one output", [](Start& s) { s.spec.activations.pop_back(); }},
      {"one output", [](Start& s) { s.spec.activations.clear(); }},
      {"'swish'", [](Start& s) { s.spec.activations[0] = "swish"; }},
  };
  expect_refusals(start_of(kNetworks[0]), cases);
}

TEST(NeuralNetworkStart, FeaturesAndFactorsThatDoNotFitAreRefused) {
  const auto reshape = [](const char* name, std::vector<std::int64_t> shape) {
    return [name, shape](Start& s) {
      std::size_t count = 1;
      for (const std::int64_t size : shape) {
        count *= static_cast<std::size_t>(size);
      }
      s.tensors[name] = {shape, std::vector<float>(count, 1.0F)};
    };
  };
  const Spoilers cases = {
      {"item.genre.embedding", [](Start& s) { s.tensors.erase("item.genre.embedding"); }},
      {"item.genre.embedding is [2, 3], not [3, any]", reshape("item.genre.embedding", {2, 3})},
      {"item.genre.embedding is [4, 3], not [3, any]", reshape("item.genre.embedding", {4, 3})},
      {"item.genre.embedding is not a matrix", reshape("item.genre.embedding", {9})},
      {"dense.0.weight has", reshape("item.genre.embedding", {3, 4})},
      {"dense.0.weight has", [](Start& s) { s.spec.features.pop_back(); }},
      {"user.factors", [](Start& s) { s.tensors.erase("user.factors"); }},
      {"item.factors", [](Start& s) { s.tensors.erase("item.factors"); }},
      {"user.factors", reshape("user.factors", {5, 3})},
      {"user.factors", reshape("user.factors", {12})},
      {"item.factors", reshape("item.factors", {5, 4})},
      {"item.factors", reshape("item.factors", {3, 5})},
      {"item.factors", reshape("item.factors", {15})},
  };
  expect_refusals(start_of(kFeaturesAndFactors), cases);
}

}  // namespace
}  // namespace curate::test
