#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "support/philox.h"
#include "tests/reference/dropout.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DropoutTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DropoutTest);

// The words of a counter serve four columns in their order, and rows follow one another without a gap.
TEST(DropoutReference, hand_computed) {
  const PhiloxWords first = philox(7, 2 * 2, 3, RandomPurpose::dropout_user);
  const PhiloxWords second = philox(7, 2 * 2 + 1, 3, RandomPurpose::dropout_user);
  const reference::DropoutPlace place{7, 3, 2, 6};
  const DropoutParams half{0.5F, RandomPurpose::dropout_user};
  for (std::int64_t c = 0; c < 4; ++c) {
    EXPECT_EQ(reference::dropped(place, c, half), first.word[c] < 0x80000000U) << "column " << c;
  }
  for (std::int64_t c = 4; c < 6; ++c) {
    EXPECT_EQ(reference::dropped(place, c, half), second.word[c - 4] < 0x80000000U) << "column " << c;
  }
  const std::vector<float> got = reference::dropout({1, -2, 3, 4, 5, 6}, place, 1, half);
  for (std::size_t c = 0; c < 6; ++c) {
    const float before[] = {1, -2, 3, 4, 5, 6};
    EXPECT_EQ(got[c], reference::dropped(place, static_cast<std::int64_t>(c), half) ? 0.0F : 2.0F * before[c]);
  }
}

// A published answer of Philox4x32-10 (Random123's kat_vectors) around its threshold: key 0, counter 0.
TEST(DropoutReference, threshold_is_exact) {
  const reference::DropoutPlace place{0, 0, 0, 4};
  const DropoutParams params{0.0F, static_cast<RandomPurpose>(0)};
  // The first word is 0x6627e8d5. Floats next to its share of 2^32, whose thresholds are 0x6627e880 and 0x6627e900.
  DropoutParams below = params;
  below.rate = std::ldexp(static_cast<float>(0x6627e880U), -32);
  DropoutParams above = params;
  above.rate = std::ldexp(static_cast<float>(0x6627e900U), -32);
  EXPECT_FALSE(reference::dropped(place, 0, below));
  EXPECT_TRUE(reference::dropped(place, 0, above));
}

StepState dropout_state(std::uint64_t seed, std::int64_t epoch, std::int64_t num_ratings, std::int64_t batch_size,
                        std::int64_t batch = 0) {
  StepState state = batch_state(num_ratings, batch_size, batch);
  state.seed = seed;
  state.epoch = epoch;
  return state;
}

/// `values` [rows, cols] after dropout on a device.
std::vector<float> dropout(Device& device, const std::vector<float>& values, std::int64_t cols,
                           const DropoutParams& params, const StepState& at) {
  const DeviceMatrix<float> rows(device, values, static_cast<std::int64_t>(values.size()) / cols, cols);
  const DeviceMatrix<StepState> state = on_device(device, at);
  device.enqueue(ops::Dropout{rows.view(), params, state.view()});
  return rows.values();
}

std::vector<float> ones(std::int64_t count) {
  return std::vector<float>(static_cast<std::size_t>(count), 1.0F);
}

constexpr DropoutParams kHalf{0.5F, RandomPurpose::dropout_user};

void expect_dropout(Device& device, const BatchCase& test, const DropoutParams& params) {
  const std::string label = "rate " + std::to_string(params.rate) + ", " + test.label();
  const auto epoch = static_cast<std::int64_t>(test.seed % 5);
  RandomInputs inputs(test.seed);
  std::vector<float> host = inputs.matrix(test.batch_size, test.dim);
  const std::vector<float> expected =
      reference::dropout(host, {test.seed, epoch, test.begin(), test.dim}, test.count(), params);
  std::fill(host.begin() + test.count() * test.dim, host.end(), kUntouched);
  const DeviceMatrix<float> rows(device, host, test.batch_size, test.dim, test.dim + test.padding);
  const DeviceMatrix<StepState> state =
      on_device(device, dropout_state(test.seed, epoch, test.num_ratings, test.batch_size, test.batch));
  device.enqueue(ops::Dropout{rows.view(), params, state.view()});
  ASSERT_TRUE(bits_equal(first_rows(rows, test.count()),
                         std::vector<float>(expected.begin(), expected.begin() + test.count() * test.dim), label));
  ASSERT_TRUE(untouched_from(rows, test.count(), label));
}

// Catches: a mask by the row within the batch instead of the position in the epoch, by the padded width instead of the
// columns, by step instead of epoch; words in another order; a tail of columns with the next row's words or without
// any; a scale that is missed or rounded otherwise; -0 where a negative element is dropped; padding
// and rows past the count.
TEST_P(DropoutTest, matches_reference) {
  const float rates[] = {0.5F, 0.1F, 0.3F, 0.9F, 0.999F, 1e-3F};
  std::size_t n = 0;
  for (const BatchCase& test : batch_cases()) {
    const RandomPurpose purpose = n / 6 % 2 == 0 ? RandomPurpose::dropout_user : RandomPurpose::dropout_item;
    expect_dropout(device(), test, {rates[n % 6], purpose});
    expect_dropout(device(), test, {rates[(n + 1) % 6], purpose});
    ++n;
  }
  for (const std::int64_t dim : {4, 5, 6, 8, 9, 11, 31, 32, 33}) {
    expect_dropout(device(), batch_case(static_cast<std::uint64_t>(dim), dim, 6, 1, dim % 2), kHalf);
  }
}

// Large enough that an engine shares the work among threads. Catches: rows that fall between two shares.
TEST_P(DropoutTest, matches_reference_where_threads_share_the_work) {
  expect_dropout(device(), {601, 7, 20011, 1, 40000, 0}, {0.25F, RandomPurpose::dropout_user});
  expect_dropout(device(), {602, 1, 20011, 0, 20011, 3}, {0.75F, RandomPurpose::dropout_item});
}

// Catches: positions or counters in 32 bits.
TEST_P(DropoutTest, matches_reference_far_into_a_large_epoch) {
  for (const std::int64_t dim : {1, 13, 128}) {
    expect_dropout(device(), {603, dim, 8, 250'000'000, 2'000'000'008, 0}, kHalf);
    expect_dropout(device(), {604, dim, 8, 16'777'216, 134'217'731, 2}, kHalf);
  }
}

// Needs no reference. The share of a hundred thousand independent elements is within five standard deviations of the
// rate, and their mean stays what it was.
TEST_P(DropoutTest, drops_a_share_of_rate_and_keeps_the_mean) {
  constexpr std::int64_t kRows = 2000;
  constexpr std::int64_t kCols = 50;
  for (const float rate : {0.05F, 0.5F, 0.8F}) {
    const std::vector<float> got = dropout(device(), ones(kRows * kCols), kCols, {rate, RandomPurpose::dropout_item},
                                           dropout_state(605, 0, kRows, kRows));
    const auto zeros = static_cast<double>(std::count(got.begin(), got.end(), 0.0F));
    const auto exact = static_cast<double>(rate);
    const double deviation = std::sqrt(exact * (1.0 - exact) / (kRows * kCols));
    EXPECT_NEAR(zeros / (kRows * kCols), exact, 5.0 * deviation) << "rate " << rate;
    double sum = 0.0;
    for (const float value : got) {
      sum += static_cast<double>(value);
    }
    EXPECT_NEAR(sum / (kRows * kCols), 1.0, 5.0 * deviation / (1.0 - exact)) << "rate " << rate;
    // Neither rows nor columns are dropped as one.
    for (std::int64_t c = 0; c < kCols; ++c) {
      std::int64_t dropped_in_column = 0;
      for (std::int64_t b = 0; b < kRows; ++b) {
        dropped_in_column += got[static_cast<std::size_t>(b * kCols + c)] == 0.0F ? 1 : 0;
      }
      EXPECT_NEAR(static_cast<double>(dropped_in_column) / kRows, exact, 0.06) << "rate " << rate << ", column " << c;
    }
  }
}

// What the backward pass relies on: the gradient goes where the value went.
TEST_P(DropoutTest, the_same_call_draws_the_same_mask) {
  constexpr std::int64_t kCols = 13;
  RandomInputs inputs(606);
  const std::vector<float> values = inputs.matrix(40, kCols, 1.0F, 2.0F);
  StepState at = dropout_state(606, 2, 100, 40, 1);
  const std::vector<float> forward = dropout(device(), values, kCols, kHalf, at);
  const std::vector<float> backward = dropout(device(), ones(40 * kCols), kCols, kHalf, at);
  for (std::size_t i = 0; i < forward.size(); ++i) {
    ASSERT_EQ(forward[i], values[i] * backward[i]) << "element " << i;
  }
  // Neither the step of the run nor the learning rate has a say.
  at.step += 17;
  at.learning_rate = 0.5F;
  EXPECT_TRUE(bits_equal(dropout(device(), values, kCols, kHalf, at), forward, "another step"));
}

// Catches: an epoch, a purpose, or either half of the seed that is not part of the mask, and positions of different
// batches that share one.
TEST_P(DropoutTest, mask_differs_by_seed_epoch_purpose_and_position) {
  constexpr std::int64_t kCols = 16;
  constexpr std::int64_t kCount = 40 * kCols;
  const auto mask = [&](std::uint64_t seed, std::int64_t epoch, RandomPurpose purpose, std::int64_t batch) {
    return dropout(device(), ones(kCount), kCols, {0.5F, purpose}, dropout_state(seed, epoch, 200, 40, batch));
  };
  const std::vector<std::vector<float>> masks = {mask(7, 0, RandomPurpose::dropout_user, 0),
                                                 mask(8, 0, RandomPurpose::dropout_user, 0),
                                                 mask(7 + (1ULL << 32U), 0, RandomPurpose::dropout_user, 0),
                                                 mask(7, 1, RandomPurpose::dropout_user, 0),
                                                 mask(7, 0, RandomPurpose::dropout_item, 0),
                                                 mask(7, 0, RandomPurpose::dropout_user, 1)};
  for (std::size_t a = 0; a < masks.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      std::int64_t differences = 0;
      for (std::size_t i = 0; i < masks[a].size(); ++i) {
        differences += masks[a][i] == masks[b][i] ? 0 : 1;
      }
      // Independent masks differ in half of their elements, with a deviation of 13.
      EXPECT_NEAR(static_cast<double>(differences), kCount / 2.0, 80.0) << "masks " << a << " and " << b;
    }
  }
}

// An epoch has one mask, however it is cut into batches; the step is captured, as the driver does it. Catches: a
// position that is frozen at capture too.
TEST_P(DropoutTest, mask_does_not_depend_on_the_batch_size) {
  constexpr std::int64_t kRatings = 103;
  constexpr std::int64_t kCols = 11;
  const std::vector<float> whole =
      dropout(device(), ones(kRatings * kCols), kCols, kHalf, dropout_state(608, 4, kRatings, kRatings));
  for (const std::int64_t batch_size : {1, 7, 32, 100}) {
    const DeviceMatrix<float> rows = filled(device(), batch_size, kCols, 0, 1.0F);
    const DeviceMatrix<StepState> state = on_device(device(), StepState{});
    device().enqueue(ops::BeginEpoch{state.view(), {608, 4, kRatings, batch_size, {}}});
    const std::unique_ptr<Graph> graph = device().capture([&] {
      device().enqueue(ops::Dropout{rows.view(), kHalf, state.view()});
      device().enqueue(ops::AdvanceStep{state.view()});
    });
    std::vector<float> got;
    for (std::int64_t begin = 0; begin < kRatings; begin += batch_size) {
      device().upload(rows.view(), std::span<const float>(ones(batch_size * kCols)));
      device().replay(*graph, 1);
      const std::vector<float> batch = first_rows(rows, std::min(batch_size, kRatings - begin));
      got.insert(got.end(), batch.begin(), batch.end());
    }
    EXPECT_TRUE(bits_equal(got, whole, "batches of " + std::to_string(batch_size)));
    // Once more than there are batches: past the end nothing may happen.
    device().upload(rows.view(), std::span<const float>(ones(batch_size * kCols)));
    device().replay(*graph, 1);
    EXPECT_TRUE(bits_equal(rows.values(), ones(batch_size * kCols), "past the end"));
  }
}

std::vector<std::int32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::int32_t> bits;
  bits.reserve(values.size());
  for (const float value : values) {
    bits.push_back(std::bit_cast<std::int32_t>(value));
  }
  return bits;
}

TEST_P(DropoutTest, a_rate_of_zero_changes_no_bit) {
  std::vector<float> values = {-0.0F,
                               0.0F,
                               std::numeric_limits<float>::denorm_min(),
                               -std::numeric_limits<float>::denorm_min(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::lowest(),
                               kInfinity,
                               -kInfinity,
                               1.0F / 3.0F};
  RandomInputs inputs(609);
  const std::vector<float> more = inputs.matrix(91, 9);
  values.insert(values.end(), more.begin(), more.end());
  for (const std::int64_t batch : {0, 1}) {
    const std::vector<float> got =
        dropout(device(), values, 9, {0.0F, RandomPurpose::dropout_user}, dropout_state(609, 0, 1000, 92, batch));
    EXPECT_TRUE(bits_equal(bits_of(got), bits_of(values), "rate 0"));
  }
}

// A rate that is not 0 but drops nothing still scales; one just below 1 drops nearly everything and still divides by
// more than 0.
TEST_P(DropoutTest, extreme_rates_match_reference) {
  for (const float rate : {0x1p-149F, 0x1p-33F, 0x1p-32F, 1e-7F, 0x1.fffffep-1F}) {
    expect_dropout(device(), batch_case(610, 10, 100, 1, 0), {rate, RandomPurpose::dropout_user});
  }
}

// An element that is dropped is 0 whatever it was; one that is kept shows what it was. Catches: a product with the
// mask, and a kept NaN that is cleared.
TEST_P(DropoutTest, nan_shows_where_it_is_kept) {
  constexpr std::int64_t kCols = 7;
  const StepState at = dropout_state(611, 0, 30, 30);
  const std::vector<float> mask = dropout(device(), ones(30 * kCols), kCols, kHalf, at);
  const std::vector<float> got = dropout(device(), std::vector<float>(30 * kCols, kNan), kCols, kHalf, at);
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (mask[i] == 0.0F) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(got[i]), 0U) << "element " << i;
    } else {
      EXPECT_TRUE(std::isnan(got[i])) << "element " << i;
    }
  }
}

// The user's half of concatenated inputs is dropped apart from the item's.
TEST_P(DropoutTest, works_on_columns_of_a_wider_matrix) {
  for (const std::int64_t before : {1, 2, 3, 4, 5}) {
    for (const std::int64_t cols : {1, 6, 16, 21}) {
      const std::string label = std::to_string(before) + " columns before " + std::to_string(cols) + ", seed 612";
      RandomInputs inputs(612);
      const std::vector<float> host = inputs.matrix(19, cols);
      const DeviceWindow rows(device(), host, 19, cols, before);
      const DeviceMatrix<StepState> state = on_device(device(), dropout_state(612, 3, 50, 19, 1));
      device().enqueue(ops::Dropout{rows.view(), kHalf, state.view()});
      EXPECT_TRUE(bits_equal(rows.values(), reference::dropout(host, {612, 3, 19, cols}, 19, kHalf), label));
      EXPECT_TRUE(rows.others_untouched()) << label;
    }
  }
}

TEST_P(DropoutTest, writes_nothing_past_the_end_of_the_epoch) {
  const DeviceMatrix<float> rows = filled(device(), 8, 5);
  for (const std::int64_t batch : {3, 4}) {
    const DeviceMatrix<StepState> state = on_device(device(), dropout_state(613, 0, 20, 8, batch));
    device().enqueue(ops::Dropout{rows.view(), kHalf, state.view()});
    EXPECT_TRUE(untouched_from(rows, 0, "batch " + std::to_string(batch)));
  }
}

TEST_P(DropoutTest, bits_do_not_depend_on_threads) {
  constexpr std::int64_t kBatch = 5003;
  for (const std::int64_t cols : {1, 33}) {
    RandomInputs inputs(614);
    const std::vector<float> host = inputs.matrix(kBatch, cols);
    std::vector<float> first;
    for (const auto& other : devices_by_threads()) {
      const std::vector<float> got = dropout(*other, host, cols, kHalf, dropout_state(614, 1, 2 * kBatch, kBatch, 1));
      if (first.empty()) {
        first = got;
      }
      EXPECT_TRUE(bits_equal(got, first, std::to_string(other->info().threads) + " threads"));
    }
  }
}

}  // namespace
}  // namespace curate::test
