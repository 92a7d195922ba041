#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "models/rating_model.h"
#include "tests/support/devices.h"
#include "tests/support/epoch.h"

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
    TrainingPlan plan;
    plan.per_rating = false;
    plan.batch = count;
    plan.reg = kL2;
    model->prepare_training(plan);

    const test::TestEpoch epoch(*device, {users, items, ratings}, count, 1.0F);
    model->enqueue_gradients(epoch.view());
    const TensorMap gradients = download_parameters(model->gradients());
    model->enqueue_update(epoch.view());
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

INSTANTIATE_TEST_SUITE_P(Devices, MatrixFactorization, testing::ValuesIn(test::test_devices("MatrixFactorization")),
                         test::device_test_name);

}  // namespace
}  // namespace curate
