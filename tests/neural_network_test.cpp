#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "curate/error.h"
#include "models/rating_model.h"
#include "tests/emulator/emulator.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/epoch.h"
#include "tests/support/features.h"
#include "train/option_table.h"

namespace curate::test {
namespace {

using NeuralNetworkTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(NeuralNetworkTest);

constexpr std::int64_t kUsers = 4;
constexpr std::int64_t kItems = 5;
constexpr RatingScale kScale = {0.5F, 5.0F, 0.5F};

const HostRatings kRatings = {{0, 1, 1, 2, 0, 3}, {0, 0, 4, 2, 3, 3}, {4.0F, 1.5F, 5.0F, 2.0F, 3.5F, 0.5F}};

struct Network {
  const char* layers;
  const char* activations;
  const char* output;
  bool features = false;
  std::int32_t factors = 0;  ///< of neumf
};

/// Between them: every activation, no hidden layer, a layer of one, features and a dot product, alone and together.
const std::vector<Network> kNetworks = {
    {"6,4", "tanh,linear", "sigmoid"},          {"5", "relu", "linear"},
    {"7,1,3", "sigmoid,tanh,tanh", "relu"},     {"none", "relu", "linear"},
    {"6,4", "tanh,linear", "sigmoid", true},    {"none", "relu", "linear", true},
    {"6,4", "tanh,linear", "linear", false, 4}, {"none", "relu", "linear", false, 1},
    {"5", "relu", "linear", true, 3},
};
const Network& kFeaturesAndFactors = kNetworks.back();

std::string label_of(const Network& network) {
  return std::string(network.layers) + (network.features ? " features" : "") + " factors " +
         std::to_string(network.factors);
}

TrainOptions options_of(const Network& network) {
  TrainOptions options;
  options.model = network.factors > 0 ? "neumf" : "mlp";
  options.user_dim = 2;
  options.item_dim = 3;
  options.layers = network.layers;
  options.activations = network.activations;
  options.output = network.output;
  options.init_scale = 0.7;
  options.seed = 3;
  if (network.factors > 0) {
    options.factors = network.factors;
  }
  if (network.features) {
    options.features = "genre,age,tags";
    options.feature_dim = "genre=3,age=4,tags=1";
  }
  return resolve(options);
}

struct Start {
  ModelSpec spec;
  TensorMap tensors;
};

Start start_of(const Network& network) {
  const TrainOptions options = options_of(network);
  Start start;
  start.spec = model_spec(options, kScale);
  if (network.features) {
    start.spec.features = three_features();
  }
  start.tensors = initial_parameters(options, start.spec, kUsers, kItems, 3.0);
  // Biases that are all different, for a formula that mixes them up; in wide layers no larger for that.
  for (auto& [name, tensor] : start.tensors) {
    if (name.find(".bias") != std::string::npos) {
      for (std::size_t e = 0; e < tensor.values.size(); ++e) {
        tensor.values[e] += 0.1F * static_cast<float>(e % 7 + 1);
      }
    }
  }
  return start;
}

double activate(const std::string& activation, double z, double low, double high) {
  if (activation == "relu") {
    return std::max(z, 0.0);
  }
  if (activation == "tanh") {
    return std::tanh(z);
  }
  return activation == "sigmoid" ? low + (high - low) / (1.0 + std::exp(-z)) : z;
}

/// The network written down in double precision.
double predict(const Start& start, std::int32_t user, std::int32_t item) {
  std::vector<double> values;
  for (const auto& [name, row] : {std::pair{"user.embedding", user}, {"item.embedding", item}}) {
    const Tensor& table = start.tensors.at(name);
    for (std::int64_t k = 0; k < table.shape[1]; ++k) {
      values.push_back(static_cast<double>(table.values[static_cast<std::size_t>(row * table.shape[1] + k)]));
    }
  }
  for (const Feature& feature : start.spec.features) {
    const Tensor& table = start.tensors.at(feature.prefix() + ".embedding");
    for (std::size_t k = 0; k < static_cast<std::size_t>(table.shape[1]); ++k) {
      values.push_back(mean_of_values(feature, table, feature.side == FeatureSide::user ? user : item, k));
    }
  }
  for (std::size_t layer = 0; layer < start.spec.activations.size(); ++layer) {
    const std::string name = "dense." + std::to_string(layer);
    const Tensor& weight = start.tensors.at(name + ".weight");
    const bool last = layer + 1 == start.spec.activations.size();
    std::vector<double> next;
    for (std::size_t j = 0; j < static_cast<std::size_t>(weight.shape[0]); ++j) {
      double z = static_cast<double>(start.tensors.at(name + ".bias").values[j]);
      for (std::size_t k = 0; k < values.size(); ++k) {
        z += static_cast<double>(weight.values[j * values.size() + k]) * values[k];
      }
      next.push_back(activate(start.spec.activations[layer], z, last ? static_cast<double>(start.spec.output_min) : 0.0,
                              last ? static_cast<double>(start.spec.output_max) : 1.0));
    }
    values = next;
  }
  double sum = values.at(0);
  if (start.spec.kind == "neumf") {
    const Tensor& factors = start.tensors.at("user.factors");
    const auto count = static_cast<std::size_t>(factors.shape[1]);
    for (std::size_t k = 0; k < count; ++k) {
      sum += static_cast<double>(factors.values[static_cast<std::size_t>(user) * count + k]) *
             static_cast<double>(start.tensors.at("item.factors").values[static_cast<std::size_t>(item) * count + k]);
    }
  }
  return sum;
}

struct Objective {
  LossKind loss = LossKind::mse;
  double reg = 0.0;
  double dense_reg = 0.0;
  double feature_reg = 0.0;
};

double squares(const Tensor& tensor, std::size_t begin, std::size_t count) {
  double sum = 0.0;
  for (std::size_t e = begin; e < begin + count; ++e) {
    sum += static_cast<double>(tensor.values[e]) * static_cast<double>(tensor.values[e]);
  }
  return sum;
}

double squares_of_row(const Tensor& table, std::int32_t row) {
  const auto cols = static_cast<std::size_t>(table.shape[1]);
  return squares(table, static_cast<std::size_t>(row) * cols, cols);
}

/// mean(loss + reg (|p|^2 + |q|^2)) + dense_reg sum |W|^2 + feature_reg sum |F|^2, where p and q have the factors too.
double objective(const Start& start, const Objective& params) {
  double sum = 0.0;
  for (std::size_t n = 0; n < kRatings.ratings.size(); ++n) {
    const double error =
        predict(start, kRatings.users[n], kRatings.items[n]) - static_cast<double>(kRatings.ratings[n]);
    sum += params.loss == LossKind::mse ? error * error : std::abs(error);
    for (const char* what : {"embedding", "factors"}) {
      if (start.tensors.count(std::string("user.") + what) > 0) {
        sum += params.reg * squares_of_row(start.tensors.at(std::string("user.") + what), kRatings.users[n]);
        sum += params.reg * squares_of_row(start.tensors.at(std::string("item.") + what), kRatings.items[n]);
      }
    }
  }
  sum /= static_cast<double>(kRatings.size());
  for (const auto& [name, tensor] : start.tensors) {
    if (name.find(".weight") != std::string::npos) {
      sum += params.dense_reg * squares(tensor, 0, tensor.values.size());
    }
  }
  for (const Feature& feature : start.spec.features) {
    const Tensor& table = start.tensors.at(feature.prefix() + ".embedding");
    sum += params.feature_reg * squares(table, 0, table.values.size());
  }
  return sum;
}

/// Every user with every item: known and unknown to the features. Ratings are made up.
HostRatings all_pairs() {
  HostRatings pairs;
  for (std::int32_t user = 0; user < kUsers; ++user) {
    for (std::int32_t item = 0; item < kItems; ++item) {
      pairs.users.push_back(user);
      pairs.items.push_back(item);
      pairs.ratings.push_back(0.5F * static_cast<float>(1 + (3 * user + 7 * item) % 10));
    }
  }
  return pairs;
}

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
    model->enqueue_errors(sums.view(), on_device.view(), {-100.0F, 100.0F});
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

// Every gradient of the model against central finite differences of the objective in double precision.
TEST_P(NeuralNetworkTest, GradientsAreThoseOfTheObjective) {
  for (const Network& network : kNetworks) {
    for (const Objective& params :
         {Objective{}, Objective{LossKind::mae, 0.0, 0.0}, Objective{LossKind::mse, 0.05, 0.02, 0.03}}) {
      const Start start = start_of(network);
      const auto model = make_model(device(), start.spec, start.tensors);
      TrainingPlan plan;
      plan.per_rating = false;
      plan.batch = kRatings.size();
      plan.loss = params.loss;
      plan.reg = static_cast<float>(params.reg);
      plan.dense_reg = static_cast<float>(params.dense_reg);
      plan.feature_reg = static_cast<float>(params.feature_reg);
      model->prepare_training(plan);
      const TestEpoch epoch(device(), kRatings, plan.batch, 1.0F);
      model->enqueue_gradients(epoch.view());
      const TensorMap gradients = download_parameters(model->gradients());
      model->enqueue_update(epoch.view());
      const TensorMap after = model->download();
      ASSERT_EQ(gradients.size(), start.tensors.size());
      for (const auto& [name, tensor] : start.tensors) {
        std::vector<double> expected;
        std::vector<double> steps;
        for (std::size_t e = 0; e < tensor.values.size(); ++e) {
          constexpr float kH = 1.0F / 1024.0F;
          Start up = start;
          Start down = start;
          up.tensors[name].values[e] += kH;
          down.tensors[name].values[e] -= kH;
          const double width =
              static_cast<double>(up.tensors[name].values[e]) - static_cast<double>(down.tensors[name].values[e]);
          expected.push_back((objective(up, params) - objective(down, params)) / width);
          steps.push_back(static_cast<double>(tensor.values[e]) - static_cast<double>(after.at(name).values[e]));
        }
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

// With dropout the gradient is that of the masked network: moving along it lowers the loss of the same masks, and the
// mask is there in training alone.
TEST_P(NeuralNetworkTest, DropoutMasksTrainingAlone) {
  struct Way {
    Network network;
    std::vector<float> dropout;
    float feature_dropout;
    float dense_dropout;
  };
  const std::vector<Way> ways = {{kNetworks[0], {0.5F, 0.25F}, 0.0F, 0.5F},
                                 {kFeaturesAndFactors, {0.5F, 0.25F}, 0.25F, 0.5F},
                                 {kFeaturesAndFactors, {}, 0.5F, 0.0F}};
  for (const auto& [network, dropout, feature_dropout, dense_dropout] : ways) {
    SCOPED_TRACE(label_of(network));
    const Start start = start_of(network);
    const auto model = make_model(device(), start.spec, start.tensors);
    const DeviceMatrix<std::int32_t> users(device(), kRatings.users, kRatings.size());
    const DeviceMatrix<std::int32_t> items(device(), kRatings.items, kRatings.size());
    const std::vector<float> before = model->predict(users.view(), items.view());
    TrainingPlan plan;
    plan.per_rating = false;
    plan.batch = kRatings.size();
    plan.dropout = dropout;
    plan.feature_dropout = feature_dropout;
    plan.dense_dropout = dense_dropout;
    model->prepare_training(plan);
    EXPECT_EQ(model->predict(users.view(), items.view()), before);
    const TestEpoch epoch(device(), kRatings, plan.batch, 0.05F);
    const auto loss_of_step = [&] {
      const double squared = epoch.sums().squared;
      model->enqueue_step(epoch.view());
      return (epoch.sums().squared - squared) / 6.0;
    };
    const double first = loss_of_step();
    EXPECT_GT(std::abs(first - objective(start, {})), 1e-3) << "the masks changed nothing";
    double last = first;
    for (int step = 0; step < 100; ++step) {
      last = loss_of_step();
    }
    EXPECT_LT(last, 0.5 * first);
    // dense.0, dense.1, ...: dropout layers take no number.
    EXPECT_EQ(model->download().size(), start.tensors.size());
  }
}

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
  BothWays(Device& device, const Network& network, TrainingPlan plan) {
    const HostRatings pairs = all_pairs();
    const DeviceRatings on_device(device, pairs);
    const Start start = start_of(network);
    for (const bool fuse : {false, true}) {
      const auto model = make_model(device, start.spec, start.tensors);
      model->predict(on_device.users.view(), on_device.items.view());
      plan.per_rating = false;
      plan.fuse_layers = fuse;
      model->prepare_training(plan);
      const TestEpoch epoch(device, pairs, plan.batch, 0.1F);
      const std::int64_t products = emulator::cublaslt_products();
      model->enqueue_gradients(epoch.view());
      product_counts.push_back(emulator::cublaslt_products() - products);
      gradients.push_back(download_parameters(model->gradients()));
      model->enqueue_update(epoch.view());
      after.push_back(model->download());
      predictions.push_back(model->predict(on_device.users.view(), on_device.items.view()));
    }
  }

  std::vector<TensorMap> gradients;
  std::vector<TensorMap> after;
  std::vector<std::vector<float>> predictions;
  std::vector<std::int64_t> product_counts;  ///< of the emulated cuBLASLt, in a step
};

// Catches: a layer that is left out of the stack, gradients that go to another one, dropout that has no part in it or
// is there when predicting, precisions of predictions made before training.
TEST_P(NeuralNetworkTest, FusedLayersGiveWhatLayersGive) {
  constexpr Network kDeep = {"7,3,5", "relu,tanh,relu", "linear"};
  std::vector<Network> networks = kNetworks;
  networks.push_back(kDeep);
  for (const Network& network : networks) {
    for (const float dense_dropout : {0.0F, 0.5F}) {
      TrainingPlan plan;
      plan.batch = all_pairs().size() + 3;
      plan.dense_dropout = dense_dropout;
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
TEST_P(NeuralNetworkTest, WideLayersInBf16GiveWhatLayersGive) {
  if (!device().can_store(DType::bf16)) {
    return;  // Only f32 there: DenseStackTest.
  }
  constexpr double kDistance = 0.1;
  for (const auto& [network, dense_dropout] : {std::pair{Network{"132,64", "relu", "sigmoid", true}, 0.0F},
                                               {{"64,132,64", "relu", "linear", false, 3}, 0.5F}}) {
    TrainingPlan plan;
    plan.batch = 512;
    plan.dense_dropout = dense_dropout;
    plan.products = ProductPrecision::bf16;
    const BothWays got(device(), network, plan);
    for (const auto& [name, tensor] : got.gradients[0]) {
      const std::string label = label_of(network) + " " + name;
      EXPECT_LE(relative_distance(got.gradients[1].at(name).values, tensor.values), kDistance) << label;
      EXPECT_LE(relative_distance(got.after[1].at(name).values, got.after[0].at(name).values), kDistance) << label;
    }
    EXPECT_LE(relative_distance(got.predictions[1], got.predictions[0]), kDistance) << label_of(network);
    if (GetParam() != "cuda") {
      // Layer by layer only what is wide goes to the library, of a stack all but its last layer.
      EXPECT_LT(got.product_counts[0], got.product_counts[1]) << label_of(network);
    }
  }
}

// A library that leaves out what is no whole number of 128 rows is never asked for it. Catches: buffers of a batch's
// rows as they are, rows past the batch that reach a gradient.
TEST_P(NeuralNetworkTest, BatchesGoToALibraryInWholeTiles) {
  if (!GetParam().starts_with(emulator::kEmulatedDevice)) {
    return;
  }
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
      TrainingPlan plan;
      plan.per_rating = false;
      plan.batch = 600;
      plan.products = precision;
      model->prepare_training(plan);
      const TestEpoch epoch(*own, pairs, plan.batch, 0.1F);
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
