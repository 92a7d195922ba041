#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/rating_errors.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using RatingErrorsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(RatingErrorsTest);

TEST(RatingErrorsReference, hand_computed) {
  ErrorSums sums{0.0, 0.0, 0.0, 2};
  // The ratings 4.5 and 1 of predictions 5.25, clamped to 5, and 1.75; the third prediction is past the count.
  reference::rating_errors(sums, {5.25, 1.75, 9.0}, {3.0, 4.5, 1.0, 2.0}, ClipRange{0.5F, 5.0F}, 1, 2);
  EXPECT_DOUBLE_EQ(sums.squared, 0.25 + 0.5625);
  EXPECT_DOUBLE_EQ(sums.absolute, 0.5 + 0.75);
  EXPECT_DOUBLE_EQ(sums.absolute_whole_stars, 0.5 + 1.0);
  EXPECT_EQ(sums.count, 4);
  reference::rating_errors(sums, {-3.0}, {2.0}, ClipRange{0.5F, 5.0F}, 0, 1);
  EXPECT_DOUBLE_EQ(sums.absolute, 1.25 + 1.5);
}

void expect_errors(Device& device, const BatchCase& test, const ErrorScale& scale) {
  const ClipRange clip = scale.clip;
  const std::string label =
      "clip " + std::to_string(clip.min) + " to " + std::to_string(clip.max) + ", " + test.label();
  RandomInputs inputs(test.seed);
  std::vector<float> host_prediction = inputs.matrix(test.batch_size, 1, 0.0F, 6.0F);
  const std::vector<float> host_ratings = inputs.ratings(test.num_ratings);
  const std::vector<double> exact = widen(host_prediction);
  std::fill(host_prediction.begin() + test.count(), host_prediction.end(), kNan);
  const DeviceMatrix<float> prediction(device, host_prediction, test.batch_size);
  const DeviceMatrix<float> ratings(device, host_ratings, test.num_ratings);
  const ErrorSums before{1.0, 2.0, 3.0, 4};
  const DeviceMatrix<ErrorSums> sums = on_device(device, before);
  const DeviceMatrix<StepState> state = on_device(device, batch_state(test.num_ratings, test.batch_size, test.batch));
  device.enqueue(ops::RatingErrors{sums.view(), prediction.view(), ratings.view(), scale, state.view()});
  ErrorSums expected = before;
  reference::rating_errors(expected, exact, widen(host_ratings), scale, test.begin(), test.count());
  // With other units predictions and ratings are rounded to floats.
  const bool raw = scale.units == RatingUnits();
  const double size = std::max({1.0, scale.units.unit, std::abs(scale.units.centre)});
  const double rounding = raw ? 1e-12 : 1e-7 * size * static_cast<double>(test.count());
  ASSERT_TRUE(sums_match(device.read<ErrorSums>(sums.view()), expected, {rounding, raw ? 1e-12 : 1e-6}, label));
}

// Catches: ratings read from the start of the epoch, predictions from batch_begin on, sums overwritten or in f32, rows
// past the count (they hold NaN), ratings that no thread counts or two count.
TEST_P(RatingErrorsTest, matches_reference) {
  for (const std::int64_t batch_size : {1, 2, 3, 5, 7, 16, 17, 32, 64, 65, 100, 128, 257, 513, 1000, 20011}) {
    for (const std::int64_t batch : {0, 1, 2}) {
      for (const ClipRange clip : {kNoClip, ClipRange{0.5F, 5.0F}}) {
        expect_errors(device(), batch_case(850 + static_cast<std::uint64_t>(batch_size), 1, batch_size, batch, 0),
                      clip);
      }
    }
  }
}

// Catches: a clamp after the error or the rounding, one that is missing on one side, and infinities that turn into NaN
// or into a clamp at some largest rating. The limits 2.5 and 4.5 round to even.
TEST_P(RatingErrorsTest, clamps_predictions) {
  for (const ClipRange clip : {ClipRange{3.0F, 4.0F}, ClipRange{2.5F, 4.5F}, ClipRange{-kInfinity, 3.4F},
                               ClipRange{3.4F, kInfinity}, ClipRange{3.0F, 3.0F}, ClipRange{-2.0F, -1.0F}}) {
    expect_errors(device(), batch_case(851, 1, 500, 1, 0), clip);
  }
}

// Catches: a clamp before the change of units, a rating or a prediction that is left in them, and a centre that is
// missing on one side.
TEST_P(RatingErrorsTest, sums_errors_of_ratings_in_their_own_units) {
  for (const RatingUnits& units : {RatingUnits{3.5, 1.25}, RatingUnits{-40.0, 0.01}, RatingUnits{0.0, 250.0}}) {
    for (const ClipRange clip : {kNoClip, ClipRange{3.75F, 9.5F}, ClipRange{-39.98F, -39.96F}}) {
      expect_errors(device(), batch_case(852, 1, 500, 1, 0), {clip, units});
    }
  }
}

// Catches: a transform that is undone on one side alone, before the units, or after the clamp; a start that is missing;
// expm1 of a negative value, which has a bound where logarithms of ratings below the start have none.
TEST_P(RatingErrorsTest, sums_errors_of_ratings_that_were_logarithms) {
  for (const RatingUnits& units :
       {RatingUnits{0.0, 1.0, {TransformKind::log, 0.0}}, RatingUnits{1.5, 0.75, {TransformKind::log, -7.0}},
        RatingUnits{-4.0, 1.5, {TransformKind::log, 100.0}}}) {
    const auto start = static_cast<float>(units.transform.start);
    for (const ClipRange clip : {kNoClip, ClipRange{start + 1.5F, start + 30.0F}, ClipRange{start, start}}) {
      expect_errors(device(), batch_case(853, 1, 500, 1, 0), {clip, units});
    }
  }
}

// Catches: the difference exp(x) - 1 in f32 or in double, which is 0 or has few digits for small logarithms.
TEST_P(RatingErrorsTest, small_logarithms_keep_their_digits) {
  const DeviceMatrix<float> prediction(device(), {1e-12F}, 1);
  const DeviceMatrix<float> ratings(device(), {0.0F}, 1);
  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1));
  device().enqueue(ops::RatingErrors{
      sums.view(), prediction.view(), ratings.view(), {kNoClip, {0.0, 1.0, {TransformKind::log, 0.0}}}, state.view()});
  EXPECT_NEAR(device().read<ErrorSums>(sums.view()).absolute, 1e-12, 1e-18);
}

ErrorSums errors(Device& device, const std::vector<float>& predictions, const std::vector<float>& host_ratings,
                 ClipRange clip) {
  const auto count = static_cast<std::int64_t>(predictions.size());
  const DeviceMatrix<float> prediction(device, predictions, count);
  const DeviceMatrix<float> ratings(device, host_ratings, count);
  const DeviceMatrix<ErrorSums> sums = on_device(device, ErrorSums{});
  const DeviceMatrix<StepState> state = on_device(device, batch_state(count, count));
  device.enqueue(ops::RatingErrors{sums.view(), prediction.view(), ratings.view(), clip, state.view()});
  return device.read<ErrorSums>(sums.view());
}

TEST_P(RatingErrorsTest, infinities_do_not_clamp_far_predictions) {
  const ErrorSums got = errors(device(), {-1e6F, 1e6F}, {3.0F, 4.0F}, kNoClip);
  EXPECT_DOUBLE_EQ(got.absolute, 1000003.0 + 999996.0);
  EXPECT_DOUBLE_EQ(got.squared, 1000003.0 * 1000003.0 + 999996.0 * 999996.0);
}

// Catches: rounding halves away from zero (roundf) or up (floor of x + 0.5, which also errs just below a half).
TEST_P(RatingErrorsTest, whole_stars_round_halves_to_even) {
  const std::vector<float> predictions = {0.5F,  1.5F, 2.5F,  3.5F,  4.5F,          5.5F,          -0.5F,
                                          -1.5F, 2.0F, 2.25F, 2.75F, 0x1.3ffffep1F, 0x1.400002p1F, 0x1.fffffep-2F};
  const std::vector<double> stars = {0, 2, 2, 4, 4, 6, 0, -2, 2, 2, 3, 2, 3, 0};
  for (std::size_t i = 0; i < predictions.size(); ++i) {
    EXPECT_EQ(errors(device(), {predictions[i]}, {3.0F}, kNoClip).absolute_whole_stars, std::abs(stars[i] - 3.0))
        << "prediction " << predictions[i];
  }
}

// Catches: a clamp that takes a limit over NaN: a model that has diverged would be measured as if it predicted that.
TEST_P(RatingErrorsTest, nan_in_a_prediction_shows_in_the_sums) {
  for (const std::size_t count : {1, 8, 19}) {
    for (const ClipRange clip : {ClipRange{0.5F, 5.0F}, kNoClip}) {
      std::vector<float> predictions(count, 3.0F);
      predictions.back() = kNan;
      const ErrorSums got = errors(device(), predictions, std::vector<float>(count, 4.0F), clip);
      EXPECT_TRUE(std::isnan(got.squared)) << count << " predictions";
      EXPECT_TRUE(std::isnan(got.absolute)) << count << " predictions";
      EXPECT_EQ(got.count, static_cast<std::int64_t>(count));
    }
  }
}

// Catches: sums that are overwritten instead of added to, and sums in f32, which lose a rating's error after 16
// million.
TEST_P(RatingErrorsTest, sums_accumulate_in_double) {
  const DeviceMatrix<float> prediction(device(), {3.5F, 2.0F}, 2);
  const DeviceMatrix<float> ratings(device(), {3.0F, 4.0F}, 2);
  ErrorSums expected{1e9, 2e9, 3e9, 5'000'000'000};
  const DeviceMatrix<ErrorSums> sums = on_device(device(), expected);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(2, 2));
  for (int call = 0; call < 3; ++call) {
    device().enqueue(
        ops::RatingErrors{sums.view(), prediction.view(), ratings.view(), ClipRange{0.5F, 5.0F}, state.view()});
    reference::rating_errors(expected, {3.5, 2.0}, {3.0, 4.0}, ClipRange{0.5F, 5.0F}, 0, 2);
  }
  EXPECT_TRUE(sums_match(device().read<ErrorSums>(sums.view()), expected, {1e-3, 0.0}, "three calls"));
}

// Catches: an offset or a count that is frozen when the step is captured, and ratings read past the end.
TEST_P(RatingErrorsTest, a_captured_call_walks_the_epoch) {
  constexpr std::int64_t kRatings = 21;
  constexpr std::int64_t kBatch = 8;
  RandomInputs inputs(852);
  const std::vector<float> host_ratings = inputs.ratings(kRatings);
  const DeviceMatrix<float> ratings(device(), host_ratings, kRatings);
  const DeviceMatrix<float> prediction(device(), std::vector<float>(kBatch, 0.0F), kBatch);
  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  device().enqueue(ops::BeginEpoch{state.view(), {1, 0, kRatings, kBatch, {}}});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(
        ops::RatingErrors{sums.view(), prediction.view(), ratings.view(), ClipRange{0.5F, 5.0F}, state.view()});
    device().enqueue(ops::AdvanceStep{state.view()});
  });
  ErrorSums expected;
  std::int64_t begin = 0;
  for (const std::int64_t count : {8, 8, 5, 0}) {
    const std::vector<float> host_prediction = inputs.matrix(kBatch, 1, 0.0F, 6.0F);
    device().upload(prediction.view(), std::span<const float>(host_prediction));
    device().replay(*graph, 1);
    reference::rating_errors(expected, widen(host_prediction), widen(host_ratings), ClipRange{0.5F, 5.0F}, begin,
                             count);
    begin += count;
    EXPECT_TRUE(sums_match(device().read<ErrorSums>(sums.view()), expected, {1e-12, 1e-12},
                           std::to_string(begin) + " ratings, seed 852"));
  }
}

TEST_P(RatingErrorsTest, does_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(853);
  const DeviceMatrix<float> prediction(device(), inputs.matrix(8, 1), 8);
  const DeviceMatrix<float> ratings(device(), inputs.ratings(20), 20);
  const ErrorSums before{1.0, 2.0, 3.0, 4};
  const DeviceMatrix<ErrorSums> sums = on_device(device(), before);
  for (const std::int64_t batch : {3, 4}) {
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch));
    device().enqueue(
        ops::RatingErrors{sums.view(), prediction.view(), ratings.view(), ClipRange{0.5F, 5.0F}, state.view()});
    EXPECT_TRUE(sums_match(device().read<ErrorSums>(sums.view()), before, {}, "batch " + std::to_string(batch)));
  }
}

// The contract promises deterministic sums on the CPU only.
TEST_P(RatingErrorsTest, sums_do_not_depend_on_threads_or_schedules) {
  constexpr std::int64_t kBatch = 50000;
  RandomInputs inputs(854);
  const std::vector<float> host_prediction = inputs.matrix(kBatch, 1, 0.0F, 6.0F);
  const std::vector<float> host_ratings = inputs.ratings(kBatch);
  std::vector<double> first;
  for (const auto& other : devices_by_threads()) {
    const DeviceMatrix<float> prediction(*other, host_prediction, kBatch);
    const DeviceMatrix<float> ratings(*other, host_ratings, kBatch);
    const DeviceMatrix<ErrorSums> sums = on_device(*other, ErrorSums{});
    const DeviceMatrix<StepState> state = on_device(*other, batch_state(kBatch, kBatch));
    other->enqueue(
        ops::RatingErrors{sums.view(), prediction.view(), ratings.view(), ClipRange{0.5F, 5.0F}, state.view()});
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
