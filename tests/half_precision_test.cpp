// Tables in 16 bits: conversions, stochastic rounding, and every operation that takes such tables.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "support/philox.h"
#include "tests/reference/mf_sgd_epoch.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/half_matrix.h"
#include "tests/support/random_inputs.h"
#include "tests/support/trained_table.h"

namespace curate::test {
namespace {

constexpr DType kTypes[] = {DType::f16, DType::bf16};

std::vector<std::string> devices_with_halves() {
  std::vector<std::string> names;
  for (const std::string& name : test_devices("HalfPrecision")) {
    if (!name.starts_with("cpu")) {
      names.push_back(name);
    }
  }
  return names;
}

using HalfPrecisionTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(devices, HalfPrecisionTest, testing::ValuesIn(devices_with_halves()), device_test_name);

using HalfPrecisionRefusalTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(HalfPrecisionRefusalTest);

/// The value of 16 bits, by the definition of the formats.
double value_of(DType dtype, std::uint16_t bits) {
  if (dtype == DType::bf16) {
    return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U));
  }
  const int exponent = bits >> 10U & 0x1F;
  const double fraction = static_cast<double>(bits & 0x3FFU) / 1024.0;
  const double magnitude = exponent == 0    ? std::ldexp(fraction, -14)
                           : exponent == 31 ? std::numeric_limits<double>::infinity()
                                            : std::ldexp(1.0 + fraction, exponent - 15);
  return bits >> 15U != 0 ? -magnitude : magnitude;
}

/// All finite values from 0 on, ascending.
const std::vector<double>& magnitudes(DType dtype) {
  static const auto list = [](DType of) {
    std::vector<double> values;
    for (std::uint32_t bits = 0; bits < 0x8000U; ++bits) {
      const double value = value_of(of, static_cast<std::uint16_t>(bits));
      if (std::isfinite(value)) {
        values.push_back(value);
      }
    }
    return values;
  };
  static const std::vector<double> halves = list(DType::f16);
  static const std::vector<double> brains = list(DType::bf16);
  return dtype == DType::f16 ? halves : brains;
}

struct Neighbours {
  double low;   ///< the largest value of 16 bits that is not above
  double high;  ///< the smallest that is not below
  bool low_is_even;
};

Neighbours neighbours_of(DType dtype, double value) {
  const std::vector<double>& all = magnitudes(dtype);
  const double magnitude = std::abs(value);
  const auto above = std::lower_bound(all.begin(), all.end(), magnitude);
  const auto high = static_cast<std::size_t>(above - all.begin());
  const std::size_t low = all[high] == magnitude ? high : high - 1;
  if (value < 0.0) {
    return {-all[high], -all[low], high % 2 == 0};
  }
  return {all[low], all[high], low % 2 == 0};
}

double nearest(DType dtype, double value) {
  const Neighbours between = neighbours_of(dtype, value);
  const double below = value - between.low;
  const double above = between.high - value;
  return below < above || (below == above && between.low_is_even) ? between.low : between.high;
}

// Catches: a bit lost, subnormals flushed, ties to the wrong side, overflow or NaN that becomes a number, an ld
// ignored.
TEST_P(HalfPrecisionTest, copies_round_to_the_nearest) {
  for (const DType dtype : kTypes) {
    std::vector<float> values;
    const std::vector<double>& all = magnitudes(dtype);
    for (std::size_t k = 0; k + 1 < all.size(); k += 7) {
      for (const double part : {0.0, 0.25, 0.5, 0.75}) {
        const auto value = static_cast<float>(all[k] + part * (all[k + 1] - all[k]));
        values.push_back(k % 2 == 0 ? value : -value);
      }
    }
    values.resize(values.size() / 5 * 5);
    const auto rows = static_cast<std::int64_t>(values.size() / 5);
    const HalfMatrix table(device(), dtype, values, rows, 5, 8);
    std::vector<float> expected;
    for (const float value : values) {
      expected.push_back(static_cast<float>(nearest(dtype, static_cast<double>(value))));
    }
    EXPECT_TRUE(bits_equal(table.values(), expected, name_of(dtype)));

    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> ends =
        HalfMatrix(device(), dtype,
                   {infinity, -infinity, std::nanf(""), 3.4e38F, -3.4e38F, static_cast<float>(all.back())}, 1, 6)
            .values();
    EXPECT_EQ(ends[0], infinity);
    EXPECT_EQ(ends[1], -infinity);
    EXPECT_TRUE(std::isnan(ends[2]));
    EXPECT_EQ(ends[3], infinity);
    EXPECT_EQ(ends[4], -infinity);
    EXPECT_EQ(ends[5], static_cast<float>(all.back()));
  }
}

StepState rounding_state(std::int64_t step) {
  StepState state = batch_state(1000, 1000, 0, 1.0F);
  state.seed = 77;
  state.step = step;
  return state;
}

/// What plain SGD at rate 1 makes of tables of zeros: `targets` [rows, cols], rounded stochastically.
std::vector<float> rounded_by_update(Device& device, DType dtype, const std::vector<float>& targets, std::int64_t rows,
                                     std::int64_t cols, std::int64_t step, RandomPurpose purpose) {
  const HalfMatrix weights(device, dtype, std::vector<float>(targets.size(), 0.0F), rows, cols);
  std::vector<float> gradient = targets;
  for (float& value : gradient) {
    value = -value;
  }
  const DeviceMatrix<float> gradients(device, gradient, rows, cols);
  const DeviceMatrix<StepState> state = on_device(device, rounding_state(step));
  device.enqueue(ops::UpdateDense{{weights.view(), gradients.view(), {}, {}, purpose}, {}, state.view()});
  return weights.values();
}

// Catches: rounding to the nearest, always up or always down, a value that 16 bits have and that changes, random bits
// that are not those that the contract names (for other columns, rows, steps or tables the same), subnormals, signs.
TEST_P(HalfPrecisionTest, updates_round_up_as_often_as_the_value_is_high) {
  for (const DType dtype : kTypes) {
    const int dropped = dtype == DType::f16 ? 13 : 16;
    for (const std::int64_t cols : {8, 5, 12}) {
      constexpr std::int64_t kRows = 300;
      RandomInputs inputs(17);
      std::vector<float> targets = inputs.matrix(kRows, cols, -3.0F, 3.0F);
      for (std::size_t k = 0; k < targets.size(); k += 3) {
        targets[k] = static_cast<float>(nearest(dtype, static_cast<double>(targets[k])));
      }
      const std::vector<float> got =
          rounded_by_update(device(), dtype, targets, kRows, cols, 9, RandomPurpose::rounding_item);
      for (std::int64_t e = 0; e < kRows * cols; ++e) {
        const float target = targets[static_cast<std::size_t>(e)];
        const Neighbours between = neighbours_of(dtype, static_cast<double>(target));
        const std::int64_t c = e % cols;
        const PhiloxWords words = philox(77, static_cast<std::uint64_t>(e / cols * ((cols + 7) / 8) + c / 8), 9,
                                         RandomPurpose::rounding_item);
        const std::uint32_t random = words.word[c % 8 / 2] >> (c % 2 * 16) & 0xFFFFU;
        // Away from zero where what is dropped and the random bits carry.
        const std::uint32_t low_bits = std::bit_cast<std::uint32_t>(target) & ((1U << dropped) - 1U);
        const bool away = std::abs(target) >= 0x1.0p-14F && low_bits + (random >> (16 - dropped)) >= 1U << dropped;
        const double expected = between.low == between.high ? between.low
                                : away == (target > 0.0F)   ? between.high
                                                            : between.low;
        if (std::abs(target) >= 0x1.0p-14F || between.low == between.high) {
          ASSERT_EQ(static_cast<double>(got[static_cast<std::size_t>(e)]), expected)
              << name_of(dtype) << ", " << target << " at " << e;
        }
      }
    }
    // The share of what is rounded up, of 6,000 each: within five standard deviations.
    for (const double value : {1.0 + 0.3 / 128.0, -2.0 - 0.1 / 1024.0, 0.7, 3.0e-5, 1.1e-7, -4.2e-6}) {
      const auto target = static_cast<float>(value);
      const Neighbours between = neighbours_of(dtype, static_cast<double>(target));
      ASSERT_LT(between.low, between.high);
      const std::vector<float> got =
          rounded_by_update(device(), dtype, std::vector<float>(6000, target), 750, 8, 3, RandomPurpose::rounding_user);
      double up = 0.0;
      for (const float one : got) {
        ASSERT_TRUE(static_cast<double>(one) == between.low || static_cast<double>(one) == between.high) << one;
        up += static_cast<double>(one) == between.high ? 1.0 : 0.0;
      }
      const double share = (static_cast<double>(target) - between.low) / (between.high - between.low);
      EXPECT_NEAR(up / 6000.0, share, 5.0 * std::sqrt(share * (1.0 - share) / 6000.0) + 1e-4)
          << name_of(dtype) << ", " << value;
    }
  }
}

TEST_P(HalfPrecisionTest, tables_steps_and_rows_round_by_bits_of_their_own) {
  const std::vector<float> targets(800, 1.0F + 0.5F / 1024.0F + 0.5F / 128.0F);
  const auto rounded = [&](std::int64_t step, RandomPurpose purpose) {
    return rounded_by_update(device(), DType::bf16, targets, 100, 8, step, purpose);
  };
  const std::vector<float> first = rounded(1, RandomPurpose::rounding_user);
  EXPECT_EQ(rounded(1, RandomPurpose::rounding_user), first);
  EXPECT_NE(rounded(2, RandomPurpose::rounding_user), first);
  EXPECT_NE(rounded(1, RandomPurpose::rounding_item), first);
  EXPECT_NE(std::vector<float>(first.begin(), first.begin() + 400),
            std::vector<float>(first.begin() + 400, first.end()));
}

// Catches: what stochastic rounding is there for. To the nearest, every weight would stay at 1.
TEST_P(HalfPrecisionTest, steps_far_below_the_last_place_add_up) {
  constexpr std::int64_t kRows = 64;
  constexpr std::int64_t kDim = 8;
  constexpr int kSteps = 300;
  constexpr float kStep = 0x1.0p-14F;
  for (const DType dtype : kTypes) {
    const HalfMatrix weights(device(), dtype, std::vector<float>(kRows * kDim, 1.0F), kRows, kDim);
    for (int step = 0; step < kSteps; ++step) {
      const DeviceMatrix<float> gradient(device(), std::vector<float>(kRows * kDim, kStep), kRows, kDim);
      const DeviceMatrix<StepState> state = on_device(device(), rounding_state(step));
      device().enqueue(
          ops::UpdateDense{{weights.view(), gradient.view(), {}, {}, RandomPurpose::rounding_user}, {}, state.view()});
    }
    double mean = 0.0;
    for (const float value : weights.values()) {
      mean += static_cast<double>(value) / (kRows * kDim);
    }
    const double moved = kSteps * static_cast<double>(kStep);
    EXPECT_NEAR(mean, 1.0 - moved, 0.15 * moved) << name_of(dtype);
  }
}

// Catches: an element type taken for another, an ld or a tail of the other type.
TEST_P(HalfPrecisionTest, reading_operations_give_what_the_same_table_in_f32_gives) {
  for (const DType dtype : kTypes) {
    for (const std::int64_t dim : {1, 3, 4, 8, 12, 33, 64}) {
      for (const std::int64_t padding : {0, 1, 8}) {
        constexpr std::int64_t kRows = 40;
        constexpr std::int64_t kBatch = 70;
        RandomInputs inputs(static_cast<std::uint64_t>(dim));
        const std::string label = std::string(name_of(dtype)) + ", dim " + std::to_string(dim);
        const HalfMatrix half(device(), dtype, inputs.matrix(kRows, dim), kRows, dim, dim + padding);
        const HalfMatrix other_half(device(), dtype, inputs.matrix(kRows, dim), kRows, dim, dim + padding);
        const DeviceMatrix<float> full(device(), half.values(), kRows, dim);
        const DeviceMatrix<float> other_full(device(), other_half.values(), kRows, dim);
        const DeviceMatrix<std::int32_t> index(device(), inputs.skewed_indices(kBatch, kRows), kBatch);
        const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
        const auto rows = [&] {
          return DeviceMatrix<float>(device(), inputs.matrix(kBatch, dim, 2.0F, 3.0F), kBatch, dim);
        };
        const DeviceMatrix<float> gathered = rows();
        const DeviceMatrix<float> expected = rows();
        device().enqueue(ops::GatherRows{gathered.view(), half.view(), index.view(), state.view()});
        device().enqueue(ops::GatherRows{expected.view(), full.view(), index.view(), state.view()});
        EXPECT_TRUE(bits_equal(gathered.values(), expected.values(), label + ", gather_rows"));
        device().enqueue(ops::AddL2Rows{gathered.view(), half.view(), index.view(), 0.3F, state.view()});
        device().enqueue(ops::AddL2Rows{expected.view(), full.view(), index.view(), 0.3F, state.view()});
        EXPECT_TRUE(bits_equal(gathered.values(), expected.values(), label + ", add_l2_rows"));

        const HostRatings host{inputs.indices(200, kRows), inputs.indices(200, kRows), inputs.ratings(200)};
        const DeviceRatings ratings(device(), host);
        const DeviceMatrix<float> mean(device(), {3.0F}, 1);
        const auto errors = [&](const MatrixView& user, const MatrixView& item) {
          const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
          device().enqueue(ops::SumSquaredError{
              sums.view(), {user, item, {}, {}, mean.view()}, ratings.view(), ClipRange{-99.0F, 99.0F}});
          return device().read<ErrorSums>(sums.view());
        };
        EXPECT_TRUE(sums_match(errors(half.view(), other_half.view()), errors(full.view(), other_full.view()),
                               {0.0, 1e-5}, label + ", sum_squared_error"));
      }
    }
  }
}

/// A batch's values in f32 and in bf16, columns [before, before + dim) of wider matrices, and what fills them.
struct TwoBatches {
  TwoBatches(Device& device, RandomInputs& inputs, std::int64_t rows, std::int64_t before, std::int64_t dim)
      : before_(before),
        dim_(dim),
        f32(device, inputs.matrix(rows, before + dim + 1), rows, before + dim + 1),
        bf16(device, DType::bf16, f32.values(), rows, before + dim + 1),
        rounded(device, DType::bf16, f32.values(), rows, before + dim + 1) {}

  MatrixView in_f32() const { return f32.view().columns(before_, dim_); }
  MatrixView in_bf16() const { return bf16.view().columns(before_, dim_); }

  /// Whether bf16 holds what f32 does, to the nearest, in all columns and rows.
  testing::AssertionResult agree(Device& device, const std::string& label) const {
    device.copy(rounded.view(), f32.view());
    return bits_equal(bf16.values(), rounded.values(), label);
  }

  std::int64_t before_;
  std::int64_t dim_;
  DeviceMatrix<float> f32;
  HalfMatrix bf16;
  HalfMatrix rounded;
};

// Catches: another rounding than to the nearest, neighbouring columns or rows past the count that are written, packs
// where rows begin anywhere.
TEST_P(HalfPrecisionTest, values_in_bf16_are_those_in_f32_rounded) {
  constexpr std::int64_t kRows = 40;
  constexpr std::int64_t kBatch = 70;
  for (const std::int64_t dim : {1, 3, 4, 8, 12, 33, 64}) {
    for (const std::int64_t before : {0, 3, 8}) {
      RandomInputs inputs(static_cast<std::uint64_t>(100 * dim + before));
      const std::string label = "dim " + std::to_string(dim) + " from column " + std::to_string(before);
      const DeviceMatrix<float> table(device(), inputs.matrix(kRows, dim), kRows, dim);
      const DeviceMatrix<std::int32_t> index(device(), inputs.skewed_indices(kBatch, kRows), kBatch);
      // 60 ratings of a batch that has room for 70.
      const DeviceMatrix<StepState> state = on_device(device(), batch_state(60, kBatch));
      const TwoBatches values(device(), inputs, kBatch, before, dim);
      for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
        const Buffer memory = device().allocate_array<float>(kRows * dim);
        const MatrixView stored = memory.view(dtype, kRows, dim);
        device().copy(stored, table.view());
        device().enqueue(ops::GatherRows{values.in_f32(), stored, index.view(), state.view()});
        device().enqueue(ops::GatherRows{values.in_bf16(), stored, index.view(), state.view()});
        EXPECT_TRUE(values.agree(device(), label + ", gather_rows from " + name_of(dtype)));
      }
      const DropoutParams params{0.25F, RandomPurpose::dropout_user};
      device().copy(values.f32.view(), values.bf16.view());
      device().enqueue(ops::Dropout{values.in_f32(), params, state.view()});
      device().enqueue(ops::Dropout{values.in_bf16(), params, state.view()});
      EXPECT_TRUE(values.agree(device(), label + ", dropout"));

      std::vector<std::int32_t> starts = {0};
      for (std::int64_t bag = 0; bag < kRows; ++bag) {
        starts.push_back(starts.back() + static_cast<std::int32_t>(bag % 4));
      }
      const DeviceMatrix<std::int32_t> bag_starts(device(), starts, kRows + 1);
      const DeviceMatrix<std::int32_t> bag_rows(device(), inputs.indices(starts.back(), kRows), starts.back());
      const BagsView bags = {bag_starts.view(), bag_rows.view()};
      for (const bool add : {false, true}) {
        device().copy(values.f32.view(), values.bf16.view());
        device().enqueue(
            ops::BagRows{values.in_f32(), table.view(), bags, index.view(), BagKind::mean, state.view(), add});
        device().enqueue(
            ops::BagRows{values.in_bf16(), table.view(), bags, index.view(), BagKind::mean, state.view(), add});
        EXPECT_TRUE(values.agree(device(), label + (add ? ", bag_rows added" : ", bag_rows")));
      }
    }
  }
}

// Catches: an optimizer that computes with rounded moments, rows that were not touched and change, a weight that is no
// neighbour of what f32 gives.
TEST_P(HalfPrecisionTest, updates_of_rows_end_beside_what_f32_gives) {
  constexpr std::int64_t kRows = 30;
  constexpr std::int64_t kRatings = 12;
  for (const DType dtype : kTypes) {
    for (const OptimizerKind kind : kOptimizers) {
      for (const std::int64_t dim : {3, 8, 20}) {
        RandomInputs inputs(static_cast<std::uint64_t>(31 + dim));
        OptimizerParams params;
        params.kind = kind;
        params.l2 = 0.1F;
        params.non_negative = dim == 20;
        HostTable host = random_table(inputs, kRows, dim, kind);
        const HalfMatrix half(device(), dtype, host.weights, kRows, dim, dim + 4);
        host.weights = half.values();
        const DeviceTable rounded(device(), host, 4);
        const DeviceTable full(device(), host, 4);
        const DeviceSegments segments(
            device(), reference::build_segments(inputs.skewed_indices(kRatings, kRows), kRatings, kRows));
        const DeviceMatrix<StepState> state = on_device(device(), rounding_state(4));
        TrainedTable table = rounded.view();
        table.weights = half.view();
        device().enqueue(ops::UpdateRows{table, segments.view(), params, state.view()});
        device().enqueue(ops::UpdateRows{full.view(), segments.view(), params, state.view()});
        const std::vector<float> got = half.values();
        const std::vector<float> expected = full.weights.values();
        for (std::size_t e = 0; e < got.size(); ++e) {
          const Neighbours between = neighbours_of(dtype, static_cast<double>(expected[e]));
          ASSERT_TRUE(static_cast<double>(got[e]) == between.low || static_cast<double>(got[e]) == between.high)
              << name_of(dtype) << ", dim " << dim << ", element " << e << ": " << got[e] << " for " << expected[e];
        }
        EXPECT_TRUE(bits_equal(rounded.gradient.values(), full.gradient.values(), "gradient"));
        if (kind != OptimizerKind::sgd) {
          EXPECT_TRUE(bits_equal(rounded.second_moment.values(), full.second_moment.values(), "second moment"));
        }
        if (kind == OptimizerKind::adam) {
          EXPECT_TRUE(bits_equal(rounded.first_moment.values(), full.first_moment.values(), "first moment"));
        }
      }
    }
  }
}

/// A matrix factorization's tables in 16 bits, and ratings.
struct HalfEpoch {
  HalfEpoch(Device& device, DType dtype, const HostMf& host, const HostRatings& given)
      : user(device, dtype, host.user, host.users, host.dim),
        item(device, dtype, host.item, host.items, host.dim),
        user_bias(device, host.user_bias, host.user_bias.empty() ? 0 : host.users, 1),
        item_bias(device, host.item_bias, host.item_bias.empty() ? 0 : host.items, 1),
        mean(device, {host.mean}, 1),
        ratings(device, given) {}

  MfTables tables() const { return {user.view(), item.view(), user_bias.view(), item_bias.view(), mean.view()}; }

  HalfMatrix user;
  HalfMatrix item;
  DeviceMatrix<float> user_bias;
  DeviceMatrix<float> item_bias;
  DeviceMatrix<float> mean;
  DeviceRatings ratings;
};

// Catches: wrong elements in the packs, reductions that add the value instead of the change.
TEST_P(HalfPrecisionTest, an_epoch_of_one_worker_is_the_sequential_one_but_for_rounding) {
  for (const DType dtype : kTypes) {
    for (const std::int64_t dim : {8, 16, 64, 128, 264, 512}) {
      for (const bool deterministic : {false, true}) {
        RandomInputs inputs(static_cast<std::uint64_t>(dim));
        HostMf host = random_mf(inputs, 60, 50, dim, {true, true});
        for (std::vector<float>* factors : {&host.user, &host.item}) {
          for (float& value : *factors) {
            value /= std::sqrt(static_cast<float>(dim));
          }
        }
        const HostRatings given{inputs.indices(300, 60), inputs.indices(300, 50), inputs.ratings(300)};
        const HalfEpoch epoch(device(), dtype, host, given);
        host.user = epoch.user.values();
        host.item = epoch.item.values();
        MfPlanOptions options;
        options.blocks = deterministic ? 4 : 1;
        options.deterministic = deterministic;
        options.keep_order = true;
        const auto plan = device().run(ops::PlanMfEpoch{epoch.ratings.view(), 60, 50, options});
        const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
        const DeviceMatrix<StepState> state = on_device(device(), epoch_state(300, 0.05F));
        device().enqueue(ops::MfSgdEpoch{epoch.tables(), sums.view(), plan.get(), {0.05F, false}, state.view()});
        HostRatings ordered;
        for (const std::int32_t k : plan->order(0, dim, false)) {
          ordered.users.push_back(given.users.at(static_cast<std::size_t>(k)));
          ordered.items.push_back(given.items.at(static_cast<std::size_t>(k)));
          ordered.ratings.push_back(given.ratings.at(static_cast<std::size_t>(k)));
        }
        ASSERT_EQ(ordered.size(), given.size());
        reference::Mf expected = reference::to_reference(host);
        ErrorSums expected_sums;
        reference::mf_sgd_epoch(expected, expected_sums, ordered.users, ordered.items, ordered.ratings, {0.05F, false},
                                static_cast<double>(0.05F));
        const std::string label = std::string(name_of(dtype)) + ", dim " + std::to_string(dim);
        // A row is written some six times, the ends of the tables thirty.
        const double tolerance = dtype == DType::f16 ? 0.008 : 0.06;
        EXPECT_TRUE(gradient_close(epoch.user.values(), expected.user.values, tolerance, label + ", user"));
        EXPECT_TRUE(gradient_close(epoch.item.values(), expected.item.values, tolerance, label + ", item"));
        EXPECT_TRUE(gradient_close(epoch.user_bias.values(), expected.user_bias.values, tolerance, label + ", bias"));
        EXPECT_EQ(device().read<ErrorSums>(sums.view()).count, 300);
      }
    }
  }
}

// Every user rates every item, and every rating changes an item by some 2^-13 where 16 bits have steps of 2^-10 (f16)
// or 2^-7 (bf16): to the nearest, no item would move. Catches: items' changes that are rounded to the nearest, or all
// one way, and those that workers lose to each other.
TEST_P(HalfPrecisionTest, steps_of_an_epoch_far_below_the_last_place_add_up) {
  constexpr std::int64_t kUsers = 150;
  constexpr std::int64_t kItems = 4;
  constexpr std::int64_t kDim = 64;
  constexpr float kUserFactor = 0.125F;
  constexpr float kError = 100.0F;
  constexpr float kRate = 0x1.0p-13F / (kError * kUserFactor);
  HostMf host{kUsers, kItems, kDim, {}, {}, {}, {}, 0.0F};
  host.user.assign(kUsers * kDim, kUserFactor);
  host.item.assign(kItems * kDim, 1.0F);
  HostRatings given;
  for (std::int32_t u = 0; u < kUsers; ++u) {
    for (std::int32_t i = 0; i < kItems; ++i) {
      given.users.push_back(u);
      given.items.push_back(i);
      given.ratings.push_back(kError + kUserFactor * static_cast<float>(kDim));
    }
  }
  reference::Mf expected = reference::to_reference(host);
  ErrorSums expected_sums;
  reference::mf_sgd_epoch(expected, expected_sums, given.users, given.items, given.ratings, {},
                          static_cast<double>(kRate));
  const auto mean = [](const auto& values) {
    double sum = 0.0;
    for (const auto value : values) {
      sum += static_cast<double>(value);
    }
    return sum / static_cast<double>(values.size());
  };
  const double moved = mean(expected.item.values) - 1.0;
  for (const DType dtype : kTypes) {
    for (const bool deterministic : {false, true}) {
      const HalfEpoch epoch(device(), dtype, host, given);
      MfPlanOptions options;
      options.deterministic = deterministic;
      const auto plan = device().run(ops::PlanMfEpoch{epoch.ratings.view(), kUsers, kItems, options});
      const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
      const DeviceMatrix<StepState> state = on_device(device(), epoch_state(given.size(), kRate));
      device().enqueue(ops::MfSgdEpoch{epoch.tables(), sums.view(), plan.get(), {}, state.view()});
      // The mean of 256 elements deviates by 1.5 % in f16, by 4 % in bf16.
      EXPECT_NEAR(mean(epoch.item.values()) - 1.0, moved, (dtype == DType::f16 ? 0.07 : 0.18) * moved)
          << name_of(dtype) << (deterministic ? ", deterministic" : "");
    }
  }
}

// Needs no reference: epochs of many workers on ratings that a factorization made must find it again.
TEST_P(HalfPrecisionTest, epochs_fit_ratings_that_factors_explain) {
  constexpr std::int64_t kUsers = 30;
  constexpr std::int64_t kItems = 20;
  for (const DType dtype : kTypes) {
    for (const bool non_negative : {false, true}) {
      RandomInputs inputs(83);
      HostMf truth = random_mf(inputs, kUsers, kItems, 8, {});
      for (std::vector<float>* factors : {&truth.user, &truth.item}) {
        for (std::size_t k = 0; k < factors->size(); ++k) {
          (*factors)[k] = k % 8 < 2 ? std::abs((*factors)[k]) : 0.0F;
        }
      }
      HostRatings given;
      const reference::Mf exact = reference::to_reference(truth);
      for (std::int32_t u = 0; u < kUsers; ++u) {
        for (std::int32_t i = 0; i < kItems; ++i) {
          given.users.push_back(u);
          given.items.push_back(i);
          given.ratings.push_back(static_cast<float>(reference::predict(exact, u, i)));
        }
      }
      HostMf start = random_mf(inputs, kUsers, kItems, 8, {});
      for (std::vector<float>* factors : {&start.user, &start.item}) {
        for (float& value : *factors) {
          value = 0.3F * std::abs(value);
        }
      }
      start.mean = truth.mean;
      const HalfEpoch epoch(device(), dtype, start, given);
      MfPlanOptions options;
      options.kernel.split = 16;
      const auto plan = device().run(ops::PlanMfEpoch{epoch.ratings.view(), kUsers, kItems, options});
      const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
      for (int number = 0; number < 60; ++number) {
        const DeviceMatrix<StepState> state =
            on_device(device(), epoch_state(given.size(), 0.1F * static_cast<float>(60 - number) / 60.0F, number));
        device().zero(sums.view());
        device().enqueue(ops::MfSgdEpoch{epoch.tables(), sums.view(), plan.get(), {0.0F, non_negative}, state.view()});
      }
      const auto got = device().read<ErrorSums>(sums.view());
      EXPECT_EQ(got.count, given.size());
      EXPECT_LT(std::sqrt(got.squared / static_cast<double>(got.count)), dtype == DType::f16 ? 0.03 : 0.05)
          << name_of(dtype) << (non_negative ? ", non-negative" : "");
      if (non_negative) {
        for (const float value : epoch.item.values()) {
          ASSERT_GE(value, 0.0F);
        }
      }
    }
  }
}

// Catches: 16 bits that reach an engine or an operation that takes them for something else.
TEST_P(HalfPrecisionRefusalTest, tables_of_16_bits_are_taken_where_the_contract_says_so) {
  Device& where = device();
  const Buffer memory = where.allocate(4096);
  const MatrixView half = memory.view(DType::f16, 4, 8);
  const DeviceMatrix<float> full(where, std::vector<float>(32, 1.0F), 4, 8);
  const DeviceMatrix<std::int32_t> index(where, std::vector<std::int32_t>(4, 0), 4);
  const DeviceMatrix<StepState> state = on_device(where, batch_state(4, 4));
  const bool stores = where.can_store(DType::f16);
  EXPECT_EQ(stores, !GetParam().starts_with("cpu"));
  EXPECT_EQ(stores, where.can_store(DType::bf16));
  EXPECT_FALSE(where.can_store(DType::i32));
  if (!stores) {
    EXPECT_THROW(where.copy(half, full.view()), std::invalid_argument);
    EXPECT_THROW(where.enqueue(ops::GatherRows{full.view(), half, index.view(), state.view()}), std::invalid_argument);
    const MatrixView values = memory.view(DType::bf16, 4, 8);
    EXPECT_THROW(where.enqueue(ops::GatherRows{values, full.view(), index.view(), state.view()}),
                 std::invalid_argument);
    EXPECT_THROW(where.enqueue(ops::Dropout{values, {0.5F, RandomPurpose::dropout_user}, state.view()}),
                 std::invalid_argument);
    EXPECT_THROW(where.enqueue(ops::UpdateDense{{half, full.view(), {}, {}}, {}, state.view()}), std::invalid_argument);
    return;
  }
  // Only tables: not what is gathered, but for bf16, nor gradients, nor matrices of layers.
  EXPECT_THROW(where.enqueue(ops::GatherRows{half, full.view(), index.view(), state.view()}), std::invalid_argument);
  EXPECT_THROW(where.enqueue(ops::Dropout{half, {0.5F, RandomPurpose::dropout_user}, state.view()}),
               std::invalid_argument);
  EXPECT_THROW(where.enqueue(ops::UpdateDense{{full.view(), half, {}, {}}, {}, state.view()}), std::invalid_argument);
  const DeviceMatrix<float> mean(where, {0.0F}, 1);
  const DeviceMatrix<ErrorSums> sums = on_device(where, ErrorSums{});
  const DeviceRatings ratings(where, {{0}, {0}, {1.0F}});
  const auto plan = where.run(ops::PlanMfEpoch{ratings.view(), 4, 4});
  const auto run = [&](const MatrixView& user, const MatrixView& item) {
    where.enqueue(ops::MfSgdEpoch{{user, item, {}, {}, mean.view()}, sums.view(), plan.get(), {}, state.view()});
  };
  EXPECT_THROW(run(half, full.view()), std::invalid_argument);
  EXPECT_THROW(run(half, memory.view(DType::bf16, 4, 8)), std::invalid_argument);
  EXPECT_THROW(run(memory.view(DType::f16, 4, 6, 8), memory.view(DType::f16, 4, 6, 8, 64)), std::invalid_argument);
  EXPECT_THROW(run(memory.view(DType::f16, 4, 8, 9), memory.view(DType::f16, 4, 8, 9, 64)), std::invalid_argument);
  EXPECT_THROW(run(memory.view(DType::f16, 4, 8, 8, 1), memory.view(DType::f16, 4, 8, 8, 64)), std::invalid_argument);
}

}  // namespace
}  // namespace curate::test
