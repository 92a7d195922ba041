#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/dot_rows.h"
#include "tests/reference/dot_rows_backward.h"
#include "tests/reference/rating_loss.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DotRowsBackwardTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DotRowsBackwardTest);

TEST(DotRowsBackwardReference, hand_computed) {
  const HostMf rows{2, 2, 2, {1, 2, 3, 4}, {5, 6, 7, 8}, {0.5F, -1.0F}, {2.0F, 4.0F}, 3.0F};
  // c = 2 * 0.25 / 2 = 0.25.
  const reference::Mf grad = reference::dot_rows_backward({2.0, -1.0}, reference::to_reference(rows), 0.25, 2);
  EXPECT_EQ(grad.user.values, (std::vector<double>{10.25, 12.5, -6.25, -7.0}));
  EXPECT_EQ(grad.item.values, (std::vector<double>{3.25, 5.5, -1.25, -2.0}));
  EXPECT_EQ(grad.user_bias.values, (std::vector<double>{2.125, -1.25}));
  EXPECT_EQ(grad.item_bias.values, (std::vector<double>{2.5, 0.0}));
}

/// mean(loss) + mean(l2 * (|user|^2 + |item|^2 + user_bias^2 + item_bias^2)), which the gradients are the gradient of.
double objective(const reference::Mf& rows, const std::vector<double>& ratings, double l2) {
  const auto n = static_cast<std::int64_t>(ratings.size());
  double squares = 0.0;
  for (const reference::Matrix* matrix : {&rows.user, &rows.item, &rows.user_bias, &rows.item_bias}) {
    for (const double value : matrix->values) {
      squares += value * value;
    }
  }
  return reference::mean_loss(reference::dot_rows(rows, n), ratings, LossKind::mse) +
         l2 * squares / static_cast<double>(n);
}

/// Central differences by every element of `parameter`, which is part of `rows`.
std::vector<double> differences(reference::Mf& rows, reference::Matrix& parameter, const std::vector<double>& ratings,
                                double l2) {
  constexpr double kStep = 1e-5;
  std::vector<double> gradient;
  for (double& value : parameter.values) {
    const double at = value;
    value = at + kStep;
    const double above = objective(rows, ratings, l2);
    value = at - kStep;
    const double below = objective(rows, ratings, l2);
    value = at;
    gradient.push_back((above - below) / (2.0 * kStep));
  }
  return gradient;
}

// Catches a reference (and so a contract) whose L2 is not lambda per rating: a factor of 2, of n, or biases left out.
TEST(DotRowsBackwardReference, matches_finite_differences) {
  constexpr std::int64_t kBatch = 5;
  for (const double l2 : {0.0, 0.3}) {
    for (const Biases& biases : all_biases()) {
      RandomInputs inputs(41);
      reference::Mf rows = reference::to_reference(random_mf(inputs, kBatch, kBatch, 3, biases));
      const std::vector<double> ratings = widen(inputs.ratings(kBatch));
      const std::vector<double> grad_prediction =
          reference::rating_loss(reference::dot_rows(rows, kBatch), ratings, LossKind::mse);
      const reference::Mf grad = reference::dot_rows_backward(grad_prediction, rows, l2, kBatch);
      const std::string label = "l2 " + std::to_string(l2) + biases.label();
      EXPECT_TRUE(gradient_close(grad.user.values, differences(rows, rows.user, ratings, l2), 1e-7, label));
      EXPECT_TRUE(gradient_close(grad.item.values, differences(rows, rows.item, ratings, l2), 1e-7, label));
      if (biases.user) {
        EXPECT_TRUE(gradient_close(grad.user_bias.values, differences(rows, rows.user_bias, ratings, l2), 1e-7, label));
      }
      if (biases.item) {
        EXPECT_TRUE(gradient_close(grad.item_bias.values, differences(rows, rows.item_bias, ratings, l2), 1e-7, label));
      }
    }
  }
}

/// Gradients of a batch before the operation.
HostMf untouched_rows(std::int64_t batch, std::int64_t dim, const Biases& biases) {
  HostMf rows;
  rows.users = rows.items = batch;
  rows.dim = dim;
  rows.user.assign(static_cast<std::size_t>(batch * dim), kUntouched);
  rows.item = rows.user;
  if (biases.user) {
    rows.user_bias.assign(static_cast<std::size_t>(batch), kUntouched);
  }
  if (biases.item) {
    rows.item_bias.assign(static_cast<std::size_t>(batch), kUntouched);
  }
  return rows;
}

/// The first rows of `got` against the reference, the others as they were.
testing::AssertionResult gradients_match(const DeviceMatrix<float>& got, const reference::Matrix& expected,
                                         const reference::Matrix& magnitudes, const std::string& label) {
  std::vector<float> values = got.values();
  for (std::size_t i = expected.values.size(); i < values.size(); ++i) {
    if (values[i] != kUntouched) {
      return testing::AssertionFailure() << label << ": element " << i << " past the count overwritten";
    }
  }
  if (values.size() < expected.values.size()) {
    return testing::AssertionFailure() << label << ": too few gradients";
  }
  values.resize(expected.values.size());
  // Two products, and c itself is rounded.
  return dot_close(values, expected.values, magnitudes.values, {2, 3.0}, label);
}

// Catches: roles of user and item exchanged, the bias gradient taken for a product, a regularizer divided by the
// batch's capacity instead of its count (a short last batch), rows past the count, tails and ld.
TEST_P(DotRowsBackwardTest, matches_reference) {
  for (const BatchCase& test : batch_cases()) {
    for (const Biases& biases : all_biases()) {
      if (test.batch_size == 1000 && biases.user != biases.item) {
        continue;  // time: the small batches have every combination
      }
      const float l2 = test.seed % 3 == 0 ? 0.0F : 0.7F;
      const std::string label = test.label() + biases.label() + ", l2 " + std::to_string(l2);
      RandomInputs inputs(test.seed);
      const HostMf rows = random_mf(inputs, test.batch_size, test.batch_size, test.dim, biases);
      std::vector<float> grad_prediction = inputs.matrix(test.batch_size, 1);
      const std::vector<double> exact_grad_prediction = widen(grad_prediction);
      std::fill(grad_prediction.begin() + test.count(), grad_prediction.end(), std::numeric_limits<float>::quiet_NaN());

      const DeviceMf device_rows(device(), rows, test.padding);
      const DeviceMf grad(device(), untouched_rows(test.batch_size, test.dim, biases), test.padding);
      const DeviceMatrix<float> device_grad_prediction(device(), grad_prediction, test.batch_size);
      const DeviceMatrix<StepState> state =
          on_device(device(), batch_state(test.num_ratings, test.batch_size, test.batch));
      device().enqueue(
          ops::DotRowsBackward{grad.rows(), device_grad_prediction.view(), device_rows.rows(), l2, state.view()});

      const reference::Mf exact = reference::to_reference(rows);
      const auto exact_l2 = static_cast<double>(l2);
      const reference::Mf expected = reference::dot_rows_backward(exact_grad_prediction, exact, exact_l2, test.count());
      const reference::Mf magnitudes =
          reference::dot_rows_backward_magnitudes(exact_grad_prediction, exact, exact_l2, test.count());
      ASSERT_TRUE(gradients_match(grad.user, expected.user, magnitudes.user, label + ", user"));
      ASSERT_TRUE(gradients_match(grad.item, expected.item, magnitudes.item, label + ", item"));
      if (biases.user) {
        ASSERT_TRUE(gradients_match(grad.user_bias, expected.user_bias, magnitudes.user_bias, label + ", user bias"));
      }
      if (biases.item) {
        ASSERT_TRUE(gradients_match(grad.item_bias, expected.item_bias, magnitudes.item_bias, label + ", item bias"));
      }
      ASSERT_TRUE(grad.padding_intact()) << label;
    }
  }
}

TEST_P(DotRowsBackwardTest, writes_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(42);
  const DeviceMf rows(device(), random_mf(inputs, 8, 8, 4, {}));
  const HostMf untouched = untouched_rows(8, 4, {});
  const DeviceMf grad(device(), untouched);
  const DeviceMatrix<float> grad_prediction(device(), inputs.matrix(8, 1), 8);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, 3));
  device().enqueue(ops::DotRowsBackward{grad.rows(), grad_prediction.view(), rows.rows(), 0.1F, state.view()});
  EXPECT_TRUE(bits_equal(grad.user.values(), untouched.user, "user"));
  EXPECT_TRUE(bits_equal(grad.item.values(), untouched.item, "item"));
  EXPECT_TRUE(bits_equal(grad.user_bias.values(), untouched.user_bias, "user bias"));
  EXPECT_TRUE(bits_equal(grad.item_bias.values(), untouched.item_bias, "item bias"));
}

TEST_P(DotRowsBackwardTest, bits_do_not_depend_on_threads) {
  constexpr std::int64_t kBatch = 1500;
  RandomInputs inputs(43);
  const HostMf rows = random_mf(inputs, kBatch, kBatch, 33, {});
  const std::vector<float> grad_prediction = inputs.matrix(kBatch, 1);
  std::vector<float> first;
  for (const auto& other : devices_by_threads()) {
    const DeviceMf device_rows(*other, rows);
    const DeviceMf grad(*other, untouched_rows(kBatch, 33, {}));
    const DeviceMatrix<float> device_grad_prediction(*other, grad_prediction, kBatch);
    const DeviceMatrix<StepState> state = on_device(*other, batch_state(kBatch, kBatch));
    other->enqueue(
        ops::DotRowsBackward{grad.rows(), device_grad_prediction.view(), device_rows.rows(), 0.1F, state.view()});
    std::vector<float> all;
    for (const DeviceMatrix<float>* matrix : {&grad.user, &grad.item, &grad.user_bias, &grad.item_bias}) {
      const std::vector<float> values = matrix->values();
      all.insert(all.end(), values.begin(), values.end());
    }
    if (first.empty()) {
      first = all;
    }
    EXPECT_TRUE(bits_equal(all, first, std::to_string(other->info().threads) + " threads"));
  }
}

}  // namespace
}  // namespace curate::test
