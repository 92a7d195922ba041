#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/rating_loss.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using RatingLossTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(RatingLossTest);

const char* name_of_loss(LossKind kind) {
  return kind == LossKind::mse ? "mse" : "mae";
}

TEST(RatingLossReference, hand_computed) {
  const std::vector<double> prediction = {3.5, 2.0, 4.0, 1.0};
  const std::vector<double> ratings = {3.0, 4.0, 4.0, 2.0};
  EXPECT_EQ(reference::rating_loss(prediction, ratings, LossKind::mse), (std::vector<double>{0.25, -1.0, 0.0, -0.5}));
  EXPECT_EQ(reference::rating_loss(prediction, ratings, LossKind::mae), (std::vector<double>{0.25, -0.25, 0.0, -0.25}));
  EXPECT_DOUBLE_EQ(reference::mean_loss(prediction, ratings, LossKind::mse), 5.25 / 4.0);
  EXPECT_DOUBLE_EQ(reference::mean_loss(prediction, ratings, LossKind::mae), 3.5 / 4.0);
  ErrorSums sums;
  for (std::size_t b = 0; b < 4; ++b) {
    reference::add_error(sums, prediction[b], ratings[b]);
  }
  EXPECT_DOUBLE_EQ(sums.squared, 5.25);
  EXPECT_DOUBLE_EQ(sums.absolute, 3.5);
  EXPECT_DOUBLE_EQ(sums.absolute_whole_stars, 4.0);
  EXPECT_EQ(sums.count, 4);
}

TEST(RatingLossReference, rounds_halves_to_even) {
  EXPECT_EQ(reference::round_half_to_even(0.5), 0.0);
  EXPECT_EQ(reference::round_half_to_even(1.5), 2.0);
  EXPECT_EQ(reference::round_half_to_even(2.5), 2.0);
  EXPECT_EQ(reference::round_half_to_even(3.5), 4.0);
  EXPECT_EQ(reference::round_half_to_even(-0.5), 0.0);
  EXPECT_EQ(reference::round_half_to_even(-1.5), -2.0);
  EXPECT_EQ(reference::round_half_to_even(2.25), 2.0);
  EXPECT_EQ(reference::round_half_to_even(2.75), 3.0);
}

TEST(RatingLossReference, matches_finite_differences) {
  constexpr double kStep = 1e-6;
  RandomInputs inputs(51);
  for (const LossKind kind : {LossKind::mse, LossKind::mae}) {
    std::vector<double> prediction = widen(inputs.matrix(7, 1, 1.0F, 5.0F));
    const std::vector<double> ratings = widen(inputs.ratings(7));
    std::vector<double> differences;
    for (double& value : prediction) {
      const double at = value;
      value = at + kStep;
      const double above = reference::mean_loss(prediction, ratings, kind);
      value = at - kStep;
      const double below = reference::mean_loss(prediction, ratings, kind);
      value = at;
      differences.push_back((above - below) / (2.0 * kStep));
    }
    EXPECT_TRUE(
        gradient_close(reference::rating_loss(prediction, ratings, kind), differences, 1e-8, name_of_loss(kind)));
  }
}

// Catches: a mean over the capacity instead of the count, ratings read from the start of the epoch, e of the wrong
// sign, sums over rows past the count (they hold NaN), mae and mse exchanged.
TEST_P(RatingLossTest, matches_reference) {
  for (const std::int64_t batch_size : {1, 2, 3, 5, 7, 16, 17, 32, 64, 65, 100, 128, 257, 513, 1000, 20000}) {
    for (const std::int64_t batch : {0, 1, 2}) {
      for (const LossKind kind : {LossKind::mse, LossKind::mae}) {
        const BatchCase test = batch_case(500 + static_cast<std::uint64_t>(batch_size), 1, batch_size, batch, 0);
        const std::string label = std::string(name_of_loss(kind)) + ", " + test.label();
        RandomInputs inputs(test.seed);
        std::vector<float> prediction = inputs.matrix(batch_size, 1, 0.0F, 6.0F);
        const std::vector<float> ratings = inputs.ratings(test.num_ratings);
        // Some exact hits, where mae has no slope.
        for (std::int64_t b = 0; b < test.count(); b += 4) {
          prediction[static_cast<std::size_t>(b)] = ratings[static_cast<std::size_t>(test.begin() + b)];
        }
        const std::vector<double> counted(prediction.begin(), prediction.begin() + test.count());
        const std::vector<double> counted_ratings(ratings.begin() + test.begin(),
                                                  ratings.begin() + test.begin() + test.count());
        std::fill(prediction.begin() + test.count(), prediction.end(), std::numeric_limits<float>::quiet_NaN());

        const DeviceMatrix<float> device_prediction(device(), prediction, batch_size);
        const DeviceMatrix<float> device_ratings(device(), ratings, test.num_ratings);
        const DeviceMatrix<float> grad(device(), std::vector<float>(static_cast<std::size_t>(batch_size), kUntouched),
                                       batch_size);
        const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
        const DeviceMatrix<StepState> state = on_device(device(), batch_state(test.num_ratings, batch_size, batch));
        device().enqueue(ops::RatingLoss{grad.view(), sums.view(), device_prediction.view(), device_ratings.view(),
                                         kind, state.view()});

        std::vector<float> got = grad.values();
        for (std::int64_t b = test.count(); b < batch_size; ++b) {
          ASSERT_EQ(got[static_cast<std::size_t>(b)], kUntouched) << label << ", row " << b << " past the count";
        }
        got.resize(counted.size());
        ASSERT_TRUE(all_close(got, reference::rating_loss(counted, counted_ratings, kind), {0.0, 1e-6}, label));
        ErrorSums expected;
        for (std::size_t b = 0; b < counted.size(); ++b) {
          reference::add_error(expected, counted[b], counted_ratings[b]);
        }
        ASSERT_TRUE(sums_match(device().read<ErrorSums>(sums.view()), expected, {1e-12, 1e-6}, label));
      }
    }
  }
}

// Catches: sums that are overwritten instead of added to, and sums in f32, which lose a rating's error after 16
// million.
TEST_P(RatingLossTest, sums_accumulate_in_double) {
  const DeviceMatrix<float> prediction(device(), {3.5F, 2.0F}, 2);
  const DeviceMatrix<float> ratings(device(), {3.0F, 4.0F}, 2);
  const DeviceMatrix<float> grad(device(), {0.0F, 0.0F}, 2);
  ErrorSums expected{1e9, 2e9, 3e9, 5'000'000'000};
  const DeviceMatrix<ErrorSums> sums = on_device(device(), expected);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(2, 2));
  for (int call = 0; call < 3; ++call) {
    device().enqueue(
        ops::RatingLoss{grad.view(), sums.view(), prediction.view(), ratings.view(), LossKind::mse, state.view()});
    reference::add_error(expected, 3.5, 3.0);
    reference::add_error(expected, 2.0, 4.0);
  }
  EXPECT_TRUE(sums_match(device().read<ErrorSums>(sums.view()), expected, {1e-3, 0.0}, "three calls"));
}

// Catches: rounding halves away from zero (roundf) or up (floor of x + 0.5, which also errs just below a half).
TEST_P(RatingLossTest, whole_stars_round_halves_to_even) {
  const std::vector<float> predictions = {0.5F,  1.5F, 2.5F,  3.5F,  4.5F,          5.5F,          -0.5F,
                                          -1.5F, 2.0F, 2.25F, 2.75F, 0x1.3ffffep1F, 0x1.400002p1F, 0x1.fffffep-2F};
  const std::vector<double> stars = {0, 2, 2, 4, 4, 6, 0, -2, 2, 2, 3, 2, 3, 0};
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    const DeviceMatrix<float> prediction(device(), {predictions[i]}, 1);
    const DeviceMatrix<float> rating(device(), {3.0F}, 1);
    const DeviceMatrix<float> grad(device(), {0.0F}, 1);
    const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1));
    device().enqueue(
        ops::RatingLoss{grad.view(), sums.view(), prediction.view(), rating.view(), LossKind::mse, state.view()});
    EXPECT_EQ(device().read<ErrorSums>(sums.view()).absolute_whole_stars, std::abs(stars[i] - 3.0))
        << "prediction " << predictions[i];
  }
}

// Catches: a division by the count of 0, and sums that turn into NaN with it.
TEST_P(RatingLossTest, does_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(52);
  const DeviceMatrix<float> prediction(device(), inputs.matrix(8, 1), 8);
  const DeviceMatrix<float> ratings(device(), inputs.ratings(20), 20);
  const std::vector<float> untouched(8, kUntouched);
  const DeviceMatrix<float> grad(device(), untouched, 8);
  const ErrorSums before{1.0, 2.0, 3.0, 4};
  const DeviceMatrix<ErrorSums> sums = on_device(device(), before);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, 3));
  device().enqueue(
      ops::RatingLoss{grad.view(), sums.view(), prediction.view(), ratings.view(), LossKind::mse, state.view()});
  EXPECT_TRUE(bits_equal(grad.values(), untouched, "gradient"));
  EXPECT_TRUE(sums_match(device().read<ErrorSums>(sums.view()), before, {}, "sums"));
}

// The contract promises deterministic sums on the CPU only.
TEST_P(RatingLossTest, sums_do_not_depend_on_threads_or_schedules) {
  constexpr std::int64_t kBatch = 50000;
  RandomInputs inputs(53);
  const std::vector<float> host_prediction = inputs.matrix(kBatch, 1, 0.0F, 6.0F);
  const std::vector<float> host_ratings = inputs.ratings(kBatch);
  std::vector<double> first;
  for (const auto& other : devices_by_threads()) {
    const DeviceMatrix<float> prediction(*other, host_prediction, kBatch);
    const DeviceMatrix<float> ratings(*other, host_ratings, kBatch);
    const DeviceMatrix<float> grad(*other, std::vector<float>(kBatch, 0.0F), kBatch);
    const DeviceMatrix<ErrorSums> sums = on_device(*other, ErrorSums{});
    const DeviceMatrix<StepState> state = on_device(*other, batch_state(kBatch, kBatch));
    other->enqueue(
        ops::RatingLoss{grad.view(), sums.view(), prediction.view(), ratings.view(), LossKind::mse, state.view()});
    const auto got = other->read<ErrorSums>(sums.view());
    const std::vector<double> values = {got.squared, got.absolute, got.absolute_whole_stars};
    if (first.empty()) {
      first = values;
    }
    EXPECT_TRUE(bits_equal(values, first, std::to_string(other->info().threads) + " threads"));
  }
}

}  // namespace
}  // namespace curate::test
