#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>

#include "curate/error.h"
#include "models/rating_model.h"
#include "solvers/per_rating_sgd.h"
#include "tests/support/devices.h"
#include "tests/support/epoch.h"
#include "tests/support/features.h"
#include "tests/support/training.h"

namespace curate {
namespace {

class MatrixFactorization : public testing::TestWithParam<std::string> {};

TensorMap tiny_tensors(bool biases) {
  TrainOptions options;
  options.dim = 3;
  options.biases = biases;
  options.init_scale = 0.5;
  TensorMap tensors = initial_parameters(options, ModelSpec{}, 4, 5, 3.5);
  if (biases) {
    tensors["user.bias"].values = {0.1F, -0.2F, 0.3F, 0.0F};
    tensors["item.bias"].values = {-0.5F, 0.25F, 0.0F, 0.75F, 1.0F};
  }
  return tensors;
}

double predict(const TensorMap& tensors, std::size_t user, std::size_t item) {
  double sum = static_cast<double>(tensors.at("global_mean").values[0]);
  if (tensors.count("user.bias") > 0) {
    sum += static_cast<double>(tensors.at("user.bias").values[user]);
    sum += static_cast<double>(tensors.at("item.bias").values[item]);
  }
  for (std::size_t k = 0; k < 3; ++k) {
    sum += static_cast<double>(tensors.at("user.embedding").values[user * 3 + k]) *
           static_cast<double>(tensors.at("item.embedding").values[item * 3 + k]);
  }
  return sum;
}

/// mean((prediction - rating)^2 + l2 (|p|^2 + |q|^2 + bu^2 + bi^2)) over the ratings.
double objective(const TensorMap& tensors, const std::vector<std::int32_t>& users,
                 const std::vector<std::int32_t>& items, const std::vector<float>& ratings, double l2) {
  double sum = 0.0;
  for (std::size_t n = 0; n < ratings.size(); ++n) {
    const auto u = static_cast<std::size_t>(users[n]);
    const auto i = static_cast<std::size_t>(items[n]);
    const double error = predict(tensors, u, i) - static_cast<double>(ratings[n]);
    double norm = 0.0;
    for (std::size_t k = 0; k < 3; ++k) {
      norm += std::pow(static_cast<double>(tensors.at("user.embedding").values[u * 3 + k]), 2);
      norm += std::pow(static_cast<double>(tensors.at("item.embedding").values[i * 3 + k]), 2);
    }
    if (tensors.count("user.bias") > 0) {
      norm += std::pow(static_cast<double>(tensors.at("user.bias").values[u]), 2);
      norm += std::pow(static_cast<double>(tensors.at("item.bias").values[i]), 2);
    }
    sum += error * error + l2 * norm;
  }
  return sum / static_cast<double>(ratings.size());
}

TEST_P(MatrixFactorization, UploadedParametersComeBack) {
  const auto device = make_device(GetParam());
  for (const bool biases : {false, true}) {
    const TensorMap tensors = tiny_tensors(biases);
    const TensorMap back = make_model(*device, ModelSpec{}, tensors)->download();
    ASSERT_EQ(back.size(), tensors.size());
    for (const auto& [name, tensor] : tensors) {
      EXPECT_EQ(back.at(name).shape, tensor.shape) << name;
      EXPECT_EQ(back.at(name).values, tensor.values) << name;
    }
  }
}

TEST_P(MatrixFactorization, PredictsTheFormula) {
  const auto device = make_device(GetParam());
  for (const bool biases : {false, true}) {
    const TensorMap tensors = tiny_tensors(biases);
    const auto model = make_model(*device, ModelSpec{}, tensors);
    const std::vector<std::int32_t> users = {0, 3, 2, 1, 1};
    const std::vector<std::int32_t> items = {4, 0, 2, 3, 3};
    const Buffer user_buffer = device->allocate_array<std::int32_t>(5);
    const Buffer item_buffer = device->allocate_array<std::int32_t>(5);
    device->upload(user_buffer.view(DType::i32, 5), std::span<const std::int32_t>(users));
    device->upload(item_buffer.view(DType::i32, 5), std::span<const std::int32_t>(items));
    const auto predictions = model->predict(user_buffer.view(DType::i32, 5), item_buffer.view(DType::i32, 5));
    for (std::size_t n = 0; n < users.size(); ++n) {
      EXPECT_NEAR(static_cast<double>(predictions[n]),
                  predict(tensors, static_cast<std::size_t>(users[n]), static_cast<std::size_t>(items[n])), 1e-5);
    }
  }
}

// One SGD step of learning rate 1 moves every parameter by minus its gradient; that is compared with central finite
// differences of the objective, for every parameter of the model.
TEST_P(MatrixFactorization, StepFollowsTheGradientOfTheObjective) {
  constexpr float kL2 = 0.05F;
  const std::vector<std::int32_t> users = {0, 1, 1, 2, 0, 3};
  const std::vector<std::int32_t> items = {0, 0, 4, 2, 3, 3};
  const std::vector<float> ratings = {4.0F, 1.5F, 5.0F, 2.0F, 3.5F, 0.5F};
  const std::int64_t count = 6;
  const auto device = make_device(GetParam());
  for (const bool biases : {false, true}) {
    const TensorMap before = tiny_tensors(biases);
    const auto model = make_model(*device, ModelSpec{}, before);
    MiniBatchOptions plan;
    plan.gradients.batch = count;
    plan.gradients.reg = kL2;
    Optimizer optimizer = test::prepare(*model, plan);

    const test::TestEpoch epoch(*device, {users, items, ratings}, count, 1.0F);
    model->enqueue_gradients(epoch.view());
    const TensorMap gradients = download_parameters(model->gradients());
    optimizer.enqueue_step(epoch.view());
    const TensorMap after = model->download();

    for (const auto& [name, tensor] : before) {
      if (name == "global_mean") {
        EXPECT_EQ(after.at(name).values, tensor.values);
        continue;
      }
      for (std::size_t e = 0; e < tensor.values.size(); ++e) {
        constexpr float kH = 1.0F / 128.0F;
        TensorMap up = before;
        TensorMap down = before;
        up[name].values[e] += kH;
        down[name].values[e] -= kH;
        // The objective is quadratic in each parameter: the central difference is exact but for rounding.
        const double width = static_cast<double>(up[name].values[e]) - static_cast<double>(down[name].values[e]);
        const double gradient = (objective(up, users, items, ratings, static_cast<double>(kL2)) -
                                 objective(down, users, items, ratings, static_cast<double>(kL2))) /
                                width;
        const double step = static_cast<double>(tensor.values[e]) - static_cast<double>(after.at(name).values[e]);
        EXPECT_NEAR(step, gradient, 1e-5) << name << " element " << e;
        EXPECT_NEAR(static_cast<double>(gradients.at(name).values[e]), gradient, 1e-5) << name << " element " << e;
      }
    }
    for (const auto& [name, tensor] : download_parameters(model->gradients())) {
      EXPECT_EQ(tensor.values, std::vector<float>(tensor.values.size(), 0.0F)) << name << " is zero after the update";
    }
    EXPECT_NEAR(epoch.sums().squared / 6.0, objective(before, users, items, ratings, 0.0), 1e-5);
  }
}

// With features.

const test::HostRatings kRatings = {{0, 1, 1, 2, 0, 3}, {0, 0, 4, 2, 3, 3}, {4.0F, 1.5F, 5.0F, 2.0F, 3.5F, 0.5F}};

ModelSpec featured_spec() {
  ModelSpec spec;
  spec.features = test::three_features();
  return spec;
}

/// Features start at zero: here all of their numbers differ.
TensorMap featured_tensors(bool biases) {
  TrainOptions options;
  options.dim = 3;
  options.biases = biases;
  TensorMap tensors = initial_parameters(resolve(options), featured_spec(), 4, 5, 3.5);
  float next = 0.4F;
  for (auto& [name, tensor] : tensors) {
    for (float& value : tensor.values) {
      if (name != "global_mean") {
        next = next > 0.6F ? next - 1.13F : next + 0.29F;
        value = next;
      }
    }
  }
  return tensors;
}

/// What a side has in column k of its vectors, or as its bias: its own and that of its features.
double whole(const TensorMap& tensors, FeatureSide side, const std::string& what, std::int32_t row, std::size_t k) {
  const Tensor& own = tensors.at(std::string(name_of(side)) + "." + what);
  const std::size_t cols = own.shape.size() > 1 ? static_cast<std::size_t>(own.shape[1]) : 1;
  double sum = static_cast<double>(own.values[static_cast<std::size_t>(row) * cols + k]);
  for (const Feature& feature : test::three_features()) {
    if (feature.side == side) {
      sum += test::mean_of_values(feature, tensors.at(feature.prefix() + "." + what), row, k);
    }
  }
  return sum;
}

double featured_prediction(const TensorMap& tensors, std::int32_t user, std::int32_t item) {
  double sum = static_cast<double>(tensors.at("global_mean").values[0]);
  if (tensors.count("user.bias") > 0) {
    sum += whole(tensors, FeatureSide::user, "bias", user, 0) + whole(tensors, FeatureSide::item, "bias", item, 0);
  }
  for (std::size_t k = 0; k < 3; ++k) {
    sum += whole(tensors, FeatureSide::user, "embedding", user, k) *
           whole(tensors, FeatureSide::item, "embedding", item, k);
  }
  return sum;
}

/// mean(error^2 + l2 |own vectors and biases|^2) + feature_l2 |all of features|^2.
double featured_objective(const TensorMap& tensors, double l2, double feature_l2) {
  const auto square = [](float value) { return static_cast<double>(value) * static_cast<double>(value); };
  double sum = 0.0;
  for (std::size_t n = 0; n < kRatings.ratings.size(); ++n) {
    const double error =
        featured_prediction(tensors, kRatings.users[n], kRatings.items[n]) - static_cast<double>(kRatings.ratings[n]);
    sum += error * error;
    for (const auto& [side, row] : {std::pair{"user", kRatings.users[n]}, {"item", kRatings.items[n]}}) {
      const auto at = static_cast<std::size_t>(row);
      const std::string prefix = std::string(side) + ".";
      for (std::size_t k = 0; k < 3; ++k) {
        sum += l2 * square(tensors.at(prefix + "embedding").values[at * 3 + k]);
      }
      if (tensors.count(prefix + "bias") > 0) {
        sum += l2 * square(tensors.at(prefix + "bias").values[at]);
      }
    }
  }
  sum /= static_cast<double>(kRatings.size());
  for (const Feature& feature : test::three_features()) {
    for (const auto& [name, tensor] : tensors) {
      if (name.starts_with(feature.prefix() + ".")) {
        for (const float value : tensor.values) {
          sum += feature_l2 * square(value);
        }
      }
    }
  }
  return sum;
}

TEST_P(MatrixFactorization, FeaturesComeBackByName) {
  const auto device = make_device(GetParam());
  for (const bool biases : {false, true}) {
    const TensorMap tensors = featured_tensors(biases);
    EXPECT_EQ(tensors.count("item.tags.bias"), biases ? 1U : 0U);
    const TensorMap back = make_model(*device, featured_spec(), tensors)->download();
    ASSERT_EQ(back.size(), tensors.size());
    for (const auto& [name, tensor] : tensors) {
      EXPECT_EQ(back.at(name).shape, tensor.shape) << name;
      EXPECT_EQ(back.at(name).values, tensor.values) << name;
    }
  }
}

// Every user with every item, known and unknown to the features; and the errors, which go another way, are those of the
// predictions, after training too.
TEST_P(MatrixFactorization, PredictsTheFormulaOfFeatures) {
  const auto device = make_device(GetParam());
  test::HostRatings pairs;
  for (std::int32_t user = 0; user < 4; ++user) {
    for (std::int32_t item = 0; item < 5; ++item) {
      pairs.users.push_back(user);
      pairs.items.push_back(item);
      pairs.ratings.push_back(0.5F * static_cast<float>(1 + (3 * user + 7 * item) % 10));
    }
  }
  const test::DeviceRatings on_device(*device, pairs);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const bool biases : {false, true}) {
    TensorMap tensors = featured_tensors(biases);
    const auto model = make_model(*device, featured_spec(), tensors);
    MiniBatchOptions plan;
    plan.gradients.batch = kRatings.size();
    Optimizer optimizer = test::prepare(*model, plan);
    for (int step = 0; step < 3; ++step) {
      const std::vector<float> predictions = model->predict(on_device.users.view(), on_device.items.view());
      double squared = 0.0;
      for (std::size_t n = 0; n < pairs.ratings.size(); ++n) {
        EXPECT_NEAR(static_cast<double>(predictions[n]), featured_prediction(tensors, pairs.users[n], pairs.items[n]),
                    1e-5)
            << pairs.users[n] << " " << pairs.items[n];
        squared += std::pow(static_cast<double>(predictions[n] - pairs.ratings[n]), 2);
      }
      const auto sums = test::on_device(*device, ErrorSums{});
      model->enqueue_errors(sums.view(), on_device.view(), ClipRange{-kInfinity, kInfinity});
      const auto got = device->read<ErrorSums>(sums.view());
      EXPECT_EQ(got.count, pairs.size());
      EXPECT_NEAR(got.squared, squared, 1e-5 * squared);
      const test::TestEpoch epoch(*device, kRatings, plan.gradients.batch, 0.1F);
      model->enqueue_gradients(epoch.view());
      optimizer.enqueue_step(epoch.view());
      tensors = model->download();
    }
  }
}

TEST_P(MatrixFactorization, StepWithFeaturesFollowsTheGradientOfTheObjective) {
  constexpr float kL2 = 0.05F;
  constexpr float kFeatureL2 = 0.03F;
  const auto device = make_device(GetParam());
  for (const bool biases : {false, true}) {
    for (const bool dense : {false, true}) {
      const TensorMap before = featured_tensors(biases);
      const auto model = make_model(*device, featured_spec(), before);
      MiniBatchOptions plan;
      plan.gradients.batch = kRatings.size();
      plan.gradients.reg = kL2;
      plan.optimizer.feature_reg = kFeatureL2;
      plan.optimizer.dense_updates = dense;
      Optimizer optimizer = test::prepare(*model, plan);
      const test::TestEpoch epoch(*device, kRatings, plan.gradients.batch, 1.0F);
      model->enqueue_gradients(epoch.view());
      const TensorMap gradients = download_parameters(model->gradients());
      optimizer.enqueue_step(epoch.view());
      const TensorMap after = model->download();
      ASSERT_EQ(gradients.size() + 1, before.size());
      for (const auto& [name, tensor] : before) {
        if (name == "global_mean") {
          EXPECT_EQ(after.at(name).values, tensor.values);
          continue;
        }
        for (std::size_t e = 0; e < tensor.values.size(); ++e) {
          constexpr float kH = 1.0F / 128.0F;
          TensorMap up = before;
          TensorMap down = before;
          up[name].values[e] += kH;
          down[name].values[e] -= kH;
          const double width = static_cast<double>(up[name].values[e]) - static_cast<double>(down[name].values[e]);
          const auto slope = [&](double feature_l2) {
            return (featured_objective(up, static_cast<double>(kL2), feature_l2) -
                    featured_objective(down, static_cast<double>(kL2), feature_l2)) /
                   width;
          };
          const double step = static_cast<double>(tensor.values[e]) - static_cast<double>(after.at(name).values[e]);
          EXPECT_NEAR(step, slope(static_cast<double>(kFeatureL2)), 2e-5) << name << " element " << e;
          // The L2 of features comes with the optimizer's step.
          EXPECT_NEAR(static_cast<double>(gradients.at(name).values[e]), slope(0.0), 2e-5) << name << " element " << e;
        }
      }
      for (const auto& [name, tensor] : download_parameters(model->gradients())) {
        EXPECT_EQ(tensor.values, std::vector<float>(tensor.values.size(), 0.0F)) << name << " is zero after the update";
      }
      EXPECT_NEAR(epoch.sums().squared / 6.0, featured_objective(before, 0.0, 0.0), 1e-5);
    }
  }
}

// Decoupled weight decay and non_negative are for vectors, those of features too, and leave biases alone.
TEST_P(MatrixFactorization, DecayAndSignOfFeatures) {
  const auto device = make_device(GetParam());
  for (const auto& [decay, non_negative] : {std::pair{0.5F, true}, {0.5F, false}, {0.0F, true}}) {
    const TensorMap before = featured_tensors(true);
    const auto model = make_model(*device, featured_spec(), before);
    MiniBatchOptions plan;
    plan.gradients.batch = kRatings.size();
    plan.optimizer.rows.weight_decay = decay;
    plan.optimizer.rows.non_negative = non_negative;
    plan.optimizer.dense_updates = true;
    Optimizer optimizer = test::prepare(*model, plan);
    const test::TestEpoch epoch(*device, kRatings, plan.gradients.batch, 0.5F);
    model->enqueue_gradients(epoch.view());
    const TensorMap gradients = download_parameters(model->gradients());
    optimizer.enqueue_step(epoch.view());
    const TensorMap after = model->download();
    for (const auto& [name, gradient] : gradients) {
      const bool bias = name.ends_with(".bias");
      for (std::size_t e = 0; e < gradient.values.size(); ++e) {
        const float value = before.at(name).values[e];
        const float moved = value - 0.5F * (gradient.values[e] + (bias ? 0.0F : decay * value));
        EXPECT_NEAR(after.at(name).values[e], bias || !non_negative ? moved : std::max(moved, 0.0F), 1e-5F)
            << name << " element " << e;
      }
    }
  }
}

/// Of engines that store 16 bits.
class MatrixFactorizationIn16Bits : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Devices, MatrixFactorizationIn16Bits,
                         testing::ValuesIn(test::test_devices_with_16_bits("MatrixFactorizationIn16Bits")),
                         test::device_test_name);

/// The distance between neighbours in 16 bits at `value`, or somewhat more.
double step_at(DType dtype, double value) {
  return dtype == DType::f16 ? std::max(std::abs(value) * 0x1.0p-10, 0x1.0p-24) : std::abs(value) * 0x1.0p-7;
}

// Biases, and all that features have, are f32 beside embeddings in 16 bits: to the last digit, neither decayed nor kept
// non-negative. Embeddings are, to a neighbour in 16 bits.
TEST_P(MatrixFactorizationIn16Bits, OnlyEmbeddingsAreRoundedDecayedAndClamped) {
  const auto device = make_device(GetParam());
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const bool dense : {false, true}) {
      const auto model = make_model(*device, featured_spec(), featured_tensors(true), dtype);
      const TensorMap before = model->download();
      MiniBatchOptions plan;
      plan.gradients.batch = kRatings.size();
      plan.optimizer.rows.weight_decay = 0.5F;
      plan.optimizer.rows.non_negative = true;
      plan.optimizer.dense_updates = dense;
      Optimizer optimizer = test::prepare(*model, plan);
      const test::TestEpoch epoch(*device, kRatings, plan.gradients.batch, 0.5F);
      model->enqueue_gradients(epoch.view());
      const TensorMap gradients = download_parameters(model->gradients());
      optimizer.enqueue_step(epoch.view());
      const TensorMap after = model->download();
      std::size_t negative_biases = 0;
      for (const auto& [name, gradient] : gradients) {
        const bool bias = name.ends_with(".bias");
        const bool in_16_bits = name == "user.embedding" || name == "item.embedding";
        for (std::size_t e = 0; e < gradient.values.size(); ++e) {
          const auto value = static_cast<double>(before.at(name).values[e]);
          const auto got = static_cast<double>(after.at(name).values[e]);
          if (!dense && name.starts_with("item.") && (name == "item.bias" ? e == 1 : in_16_bits && e / 3 == 1)) {
            EXPECT_EQ(got, value) << name << ": item 1 is not in the batch";
            continue;
          }
          const double moved = value - 0.5 * (static_cast<double>(gradient.values[e]) + (bias ? 0.0 : 0.5 * value));
          const double expected = bias ? moved : std::max(moved, 0.0);
          EXPECT_NEAR(got, expected, 1e-6 + (in_16_bits ? step_at(dtype, expected) : 0.0))
              << name << " element " << e << " in " << name_of(dtype);
          negative_biases += bias && got < 0.0 ? 1U : 0U;
        }
      }
      EXPECT_GT(negative_biases, 0U) << "data that cannot tell";
    }
  }
}

// The same numbers for users and items, and the same gradients: what becomes of them differs by the random bits of
// their rounding alone.
TEST_P(MatrixFactorizationIn16Bits, UsersAndItemsAreRoundedIndependently) {
  const auto device = make_device(GetParam());
  constexpr std::int32_t kRows = 4;
  TrainOptions options;
  options.dim = 16;
  options.init_scale = 0.5;
  TensorMap tensors = initial_parameters(options, ModelSpec{}, kRows, kRows, 3.5);
  tensors["item.embedding"] = tensors["user.embedding"];
  const test::HostRatings ratings = {{0, 1, 2, 3}, {0, 1, 2, 3}, {4.0F, 1.5F, 5.0F, 2.0F}};
  for (const DType dtype : {DType::f16, DType::bf16}) {
    for (const bool dense : {false, true}) {
      const auto model = make_model(*device, ModelSpec{}, tensors, dtype);
      MiniBatchOptions plan;
      plan.gradients.batch = kRows;
      plan.optimizer.dense_updates = dense;
      Optimizer optimizer = test::prepare(*model, plan);
      const test::TestEpoch epoch(*device, ratings, kRows, 0.3F);
      model->enqueue_gradients(epoch.view());
      optimizer.enqueue_step(epoch.view());
      const TensorMap after = model->download();
      const std::vector<float>& user = after.at("user.embedding").values;
      const std::vector<float>& item = after.at("item.embedding").values;
      std::size_t different = 0;
      for (std::size_t e = 0; e < user.size(); ++e) {
        EXPECT_NEAR(user[e], item[e], step_at(dtype, static_cast<double>(user[e]))) << e;
        different += user[e] != item[e] ? 1U : 0U;
      }
      // Of 64 numbers a third or so: where a number lies between its neighbours decides.
      EXPECT_GT(different, 8U) << name_of(dtype);
      EXPECT_LT(different, 56U) << name_of(dtype);
    }
  }
}

TEST(MatrixFactorizationFeatures, AreTrainedInMiniBatches) {
  const auto cpu = make_device("cpu");
  const auto model = make_model(*cpu, featured_spec(), featured_tensors(true));
  auto& factorization = dynamic_cast<Factorization&>(*model);
  EXPECT_FALSE(factorization.tables().has_value());
  EXPECT_THROW(make_per_rating_sgd(*cpu, factorization, {}, {}), std::invalid_argument);
}

TEST(MatrixFactorizationFeatures, StartAtZero) {
  TrainOptions options;
  options.dim = 3;
  const TensorMap tensors = initial_parameters(resolve(options), featured_spec(), 4, 5, 3.5);
  for (const char* name : {"item.genre.embedding", "user.age.bias", "item.tags.embedding"}) {
    const std::vector<float>& values = tensors.at(name).values;
    EXPECT_EQ(values, std::vector<float>(values.size(), 0.0F)) << name;
  }
}

TEST(MatrixFactorizationFeatures, TensorsThatDoNotFitAreRefused) {
  const auto cpu = make_device("cpu");
  const auto resize = [](const char* name, std::vector<std::int64_t> shape, std::size_t count) {
    return [name, shape = std::move(shape), count](TensorMap& tensors) {
      tensors[name] = {shape, std::vector<float>(count, 1.0F)};
    };
  };
  const std::vector<std::pair<std::string, std::function<void(TensorMap&)>>> cases = {
      {"item.genre.embedding", [](TensorMap& tensors) { tensors.erase("item.genre.embedding"); }},
      {"user.age.bias", [](TensorMap& tensors) { tensors.erase("user.age.bias"); }},
      {"item.genre.embedding is [2, 3], not [3, 3]", resize("item.genre.embedding", {2, 3}, 6)},
      {"item.genre.embedding is [3, 4], not [3, 3]", resize("item.genre.embedding", {3, 4}, 12)},
      {"item.tags.embedding is [3, 4], not [4, 3]", resize("item.tags.embedding", {3, 4}, 12)},
      {"item.tags.embedding is not a matrix", resize("item.tags.embedding", {12}, 12)},
      {"item.tags.embedding has 11 elements", resize("item.tags.embedding", {4, 3}, 11)},
      {"item.tags.bias has 5 elements", resize("item.tags.bias", {5}, 5)},
  };
  for (const auto& [named, spoil] : cases) {
    TensorMap bad = featured_tensors(true);
    spoil(bad);
    try {
      make_model(*cpu, featured_spec(), bad);
      ADD_FAILURE() << named << " was taken";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, MatrixFactorization, testing::ValuesIn(test::test_devices("MatrixFactorization")),
                         test::device_test_name);

}  // namespace
}  // namespace curate
