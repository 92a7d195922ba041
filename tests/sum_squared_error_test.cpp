#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/sum_squared_error.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using SumSquaredErrorTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(SumSquaredErrorTest);

TEST(SumSquaredErrorReference, hand_computed) {
  const reference::Mf mf = reference::to_reference({2, 1, 2, {1, 2, -1, 0}, {1, 0.5F}, {0.5F, 0.0F}, {-0.25F}, 3.0F});
  ErrorSums sums{0.0, 0.0, 0.0, 2};
  // Predictions 3 + 0.5 - 0.25 + 2 = 5.25, clamped to 5, and 3 - 0.25 - 1 = 1.75.
  const std::vector<double> predictions =
      reference::sum_squared_error(sums, mf, {0, 1}, {0, 0}, {4.5F, 1.0F}, ClipRange{0.5F, 5.0F});
  EXPECT_EQ(predictions, (std::vector<double>{5.0, 1.75}));
  EXPECT_DOUBLE_EQ(sums.squared, 0.25 + 0.5625);
  EXPECT_DOUBLE_EQ(sums.absolute, 0.5 + 0.75);
  EXPECT_DOUBLE_EQ(sums.absolute_whole_stars, 0.5 + 1.0);
  EXPECT_EQ(sums.count, 4);
}

struct Evaluation {
  std::int64_t dim = 8;
  std::int64_t ratings = 1000;
  std::int64_t padding = 0;
  Biases biases;
  ClipRange clip = kNoClip;
  RatingUnits units;
  ErrorSums before;
};

void expect_sums(Device& device, const Evaluation& test) {
  const std::string label = "dim " + std::to_string(test.dim) + ", " + std::to_string(test.ratings) + " ratings" +
                            test.biases.label() + ", clip " + std::to_string(test.clip.min) + " to " +
                            std::to_string(test.clip.max) + ", padding " + std::to_string(test.padding) + ", seed 91";
  RandomInputs inputs(91);
  const HostMf host = random_mf(inputs, 50, 40, test.dim, test.biases);
  const HostRatings ratings{inputs.skewed_indices(test.ratings, 50), inputs.skewed_indices(test.ratings, 40),
                            inputs.ratings(test.ratings)};
  const DeviceMf tables(device, host, test.padding);
  const DeviceRatings device_ratings(device, ratings);
  const DeviceMatrix<ErrorSums> sums = on_device(device, test.before);
  device.enqueue(ops::SumSquaredError{sums.view(), tables.tables(), device_ratings.view(), {test.clip, test.units}});

  ErrorSums expected = test.before;
  const std::vector<double> predictions = reference::sum_squared_error(
      expected, reference::to_reference(host), ratings.users, ratings.items, ratings.ratings, {test.clip, test.units});
  const auto got = device.read<ErrorSums>(sums.view());
  ASSERT_EQ(got.count, expected.count) << label;
  // Each prediction is off by a few ulp of a number near 5: the sums by no more than as many of those.
  const double size = std::max({1.0, test.units.unit, std::abs(test.units.centre)});
  const double slack = 1e-5 * static_cast<double>(test.ratings) * size * size;
  ASSERT_TRUE(all_close(std::vector<double>{got.squared, got.absolute},
                        std::vector<double>{expected.squared, expected.absolute}, {slack, 0.0},
                        label + ", sums [squared, absolute]"));
  const auto near_half = [](double p) { return std::abs(std::abs(p - std::floor(p)) - 0.5) < 1e-5; };
  // Clamping to a half gives that half on every device: only the others may fall to either side.
  const auto on_verge = [&](double p) {
    return near_half(p) && p != static_cast<double>(test.clip.min) && p != static_cast<double>(test.clip.max);
  };
  const auto verges = static_cast<double>(std::count_if(predictions.begin(), predictions.end(), on_verge));
  // In other units ratings are rounded to floats, too.
  const double rounding = test.units == RatingUnits() ? 1e-9 : 1e-6 * static_cast<double>(test.ratings);
  ASSERT_TRUE(all_close(std::vector<double>{got.absolute_whole_stars},
                        std::vector<double>{expected.absolute_whole_stars}, {rounding + verges, 0.0},
                        label + ", whole stars"));
}

// Catches: a bias missed or taken for the other, the tail of a dot, ld, ratings that no thread counts or two count.
TEST_P(SumSquaredErrorTest, matches_reference) {
  for (const std::int64_t dim : {1, 2, 3, 7, 16, 17, 64, 100, 128, 513}) {
    for (const std::int64_t ratings : {1, 5, 32, 65, 257, 513, 1000}) {
      if (ratings > 32 && (dim > 64 || (dim > 1 && ratings < 1000))) {
        continue;
      }
      for (const Biases& biases : all_biases()) {
        Evaluation test;
        test.dim = dim;
        test.ratings = ratings;
        test.biases = biases;
        test.padding = biases.item ? 3 : 0;
        expect_sums(device(), test);
      }
    }
  }
}

// Large enough that an engine shares the work among threads. Catches: ratings that fall between two shares.
TEST_P(SumSquaredErrorTest, matches_reference_where_threads_share_the_work) {
  Evaluation test;
  test.dim = 3;
  test.ratings = 20011;
  expect_sums(device(), test);
}

// Catches: a clamp after the error or the rounding, one that is missing on one side, and infinities that turn into NaN
// or into a clamp at some largest rating. The limits 2.5 and 4.5 round to even.
TEST_P(SumSquaredErrorTest, clamps_predictions) {
  for (const ClipRange clip : {ClipRange{3.0F, 4.0F}, ClipRange{0.5F, 5.0F}, ClipRange{2.5F, 4.5F},
                               ClipRange{-kInfinity, 3.4F}, ClipRange{3.4F, kInfinity}, ClipRange{3.0F, 3.0F}}) {
    Evaluation test;
    test.clip = clip;
    expect_sums(device(), test);
  }
}

// Catches: a clamp before the change of units, a rating or a prediction that is left in them, and a centre that is
// missing on one side.
TEST_P(SumSquaredErrorTest, sums_errors_of_ratings_in_their_own_units) {
  for (const RatingUnits& units : {RatingUnits{3.5, 1.25}, RatingUnits{-40.0, 0.01}, RatingUnits{0.0, 20.0}}) {
    for (const ClipRange clip : {kNoClip, ClipRange{3.75F, 9.5F}, ClipRange{-39.98F, -39.96F}}) {
      Evaluation test;
      test.clip = clip;
      test.units = units;
      expect_sums(device(), test);
    }
  }
}

// Catches: a transform that is undone on one side alone, before the units, or after the clamp, and a start that is
// missing; 257 ratings: a batch of the CPU engine that is not full.
TEST_P(SumSquaredErrorTest, sums_errors_of_ratings_that_were_logarithms) {
  for (const RatingUnits& units :
       {RatingUnits{0.0, 0.25, {TransformKind::log, 1.0}}, RatingUnits{-1.0, 0.25, {TransformKind::log, -20.0}}}) {
    const auto start = static_cast<float>(units.transform.start);
    for (const ClipRange clip : {kNoClip, ClipRange{start + 1.25F, start + 4.25F}}) {
      for (const std::int64_t ratings : {257, 1000}) {
        Evaluation test;
        test.ratings = ratings;
        test.clip = clip;
        test.units = units;
        expect_sums(device(), test);
      }
    }
  }
}

TEST_P(SumSquaredErrorTest, infinities_do_not_clamp_far_predictions) {
  const DeviceMf tables(device(), {1, 1, 1, {1000.0F}, {-1000.0F}, {}, {}, 0.0F});
  const DeviceRatings ratings(device(), {{0}, {0}, {3.0F}});
  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
  device().enqueue(ops::SumSquaredError{sums.view(), tables.tables(), ratings.view(), kNoClip});
  EXPECT_DOUBLE_EQ(device().read<ErrorSums>(sums.view()).absolute, 1000003.0);
}

// Catches: sums that are overwritten, or kept in f32: a million ratings and more are evaluated in several calls.
TEST_P(SumSquaredErrorTest, accumulates_in_double) {
  Evaluation test;
  test.before = {1e9, 2e9, 3e9, 5'000'000'000};
  test.ratings = 32;
  expect_sums(device(), test);
}

TEST_P(SumSquaredErrorTest, no_ratings_change_nothing) {
  Evaluation test;
  test.before = {1.0, 2.0, 3.0, 4};
  test.ratings = 0;
  expect_sums(device(), test);
}

// The contract promises deterministic sums on the CPU only.
TEST_P(SumSquaredErrorTest, sums_do_not_depend_on_threads_or_schedules) {
  RandomInputs inputs(92);
  const HostMf host = random_mf(inputs, 50, 40, 9, {});
  const HostRatings host_ratings{inputs.indices(40007, 50), inputs.indices(40007, 40), inputs.ratings(40007)};
  std::vector<double> first;
  for (const auto& other : devices_by_threads()) {
    const DeviceMf tables(*other, host);
    const DeviceRatings ratings(*other, host_ratings);
    const DeviceMatrix<ErrorSums> sums = on_device(*other, ErrorSums{});
    other->enqueue(ops::SumSquaredError{sums.view(), tables.tables(), ratings.view(), ClipRange{0.5F, 5.0F}});
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
