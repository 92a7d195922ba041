#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/build_segments.h"
#include "tests/reference/matrix.h"
#include "tests/reference/update_rows.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"
#include "tests/support/trained_table.h"

namespace curate::test {
namespace {

using UpdateRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(UpdateRowsTest);

reference::Matrix one(double value) {
  return reference::Matrix(1, 1, std::vector<double>{value});
}

TEST(UpdateRowsReference, hand_computed_sgd) {
  reference::Table table{reference::Matrix(2, 2, std::vector<double>{1, 2, 3, 4}),
                         reference::Matrix(2, 2, std::vector<double>{9, 9, 4, 20}),
                         {},
                         {}};
  OptimizerParams params;
  reference::update_rows(table, {1}, params, 0.25, 1);
  EXPECT_EQ(table.weights.values, (std::vector<double>{1, 2, 2, -1}));
  EXPECT_EQ(table.gradient.values, (std::vector<double>{9, 9, 0, 0}));
  table.gradient.values = {0, 0, 0, 0};
  params.non_negative = true;
  reference::update_rows(table, {0, 1}, params, 0.25, 2);
  EXPECT_EQ(table.weights.values, (std::vector<double>{1, 2, 2, 0}));
}

TEST(UpdateRowsReference, hand_computed_adagrad) {
  OptimizerParams params;
  params.kind = OptimizerKind::adagrad;
  params.epsilon = 1.0F;
  reference::Table table{one(10.0), one(4.0), {}, one(9.0)};
  reference::update_rows(table, {0}, params, 0.5, 1);
  // v = 9 + 16 = 25; w = 10 - 0.5 * 4 / (5 + 1).
  EXPECT_DOUBLE_EQ(table.second_moment(0, 0), 25.0);
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 10.0 - 2.0 / 6.0);
}

TEST(UpdateRowsReference, hand_computed_adam) {
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  params.beta1 = 0.5F;
  params.beta2 = 0.75F;
  params.epsilon = 1.0F;
  reference::Table table{one(10.0), one(4.0), one(0.0), one(0.0)};
  reference::update_rows(table, {0}, params, 0.5, 1);
  // m = 2, v = 4; corrected: 2 / 0.5 = 4, 4 / 0.25 = 16; w = 10 - 0.5 * 4 / (4 + 1).
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 9.6);
  table.gradient(0, 0) = 0.0;
  reference::update_rows(table, {0}, params, 0.5, 2);
  // m = 1, v = 3; corrected: 1 / 0.75 = 4 / 3, 3 / (1 - 9 / 16) = 48 / 7.
  EXPECT_DOUBLE_EQ(table.first_moment(0, 0), 1.0);
  EXPECT_DOUBLE_EQ(table.second_moment(0, 0), 3.0);
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 9.6 - 0.5 * (4.0 / 3.0) / (std::sqrt(48.0 / 7.0) + 1.0));
}

// The weight that l2 sees is the one from before the decay.
TEST(UpdateRowsReference, hand_computed_l2_and_weight_decay) {
  OptimizerParams params;
  params.l2 = 0.25F;
  reference::Table table{one(8.0), one(2.0), {}, {}};
  reference::update_rows(table, {0}, params, 0.5, 1);
  // g = 2 + 2 * 0.25 * 8 = 6; w = 8 - 0.5 * 6.
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 5.0);

  params.l2 = 0.0F;
  params.weight_decay = 0.25F;
  table = {one(8.0), one(2.0), {}, {}};
  reference::update_rows(table, {0}, params, 0.5, 1);
  // w = 8 - 0.5 * 0.25 * 8 = 7, then 7 - 0.5 * 2.
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 6.0);

  params.l2 = 0.25F;
  table = {one(8.0), one(2.0), {}, {}};
  reference::update_rows(table, {0}, params, 0.5, 1);
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 7.0 - 0.5 * 6.0);
  EXPECT_DOUBLE_EQ(table.gradient(0, 0), 0.0);

  params.kind = OptimizerKind::adagrad;
  params.epsilon = 1.0F;
  table = {one(8.0), one(2.0), {}, one(13.0)};
  reference::update_rows(table, {0}, params, 0.5, 1);
  // l2 enters the moment, the decay does not: v = 13 + 36 = 49; w = 7 - 0.5 * 6 / (7 + 1).
  EXPECT_DOUBLE_EQ(table.second_moment(0, 0), 49.0);
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 7.0 - 3.0 / 8.0);

  params.kind = OptimizerKind::adam;
  params.beta1 = 0.5F;
  params.beta2 = 0.75F;
  table = {one(8.0), one(2.0), one(0.0), one(0.0)};
  reference::update_rows(table, {0}, params, 0.5, 1);
  // m = 3, v = 9; corrected: 6, 36; w = 7 - 0.5 * 6 / (6 + 1).
  EXPECT_DOUBLE_EQ(table.first_moment(0, 0), 3.0);
  EXPECT_DOUBLE_EQ(table.second_moment(0, 0), 9.0);
  EXPECT_DOUBLE_EQ(table.weights(0, 0), 7.0 - 3.0 / 7.0);
}

std::vector<std::int32_t> distinct_rows(const std::vector<std::int32_t>& index, std::int64_t begin,
                                        std::int64_t count) {
  std::vector<std::int32_t> rows(index.begin() + begin, index.begin() + begin + count);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

/// One step from random slots at `step` of the run, as the engine must do it at any point of a run.
void expect_sparse_step(Device& device, const BatchCase& test, const OptimizerParams& params, std::int64_t step,
                        std::int64_t num_rows = 41) {
  constexpr float kLearningRate = 0.05F;
  const std::string label = label_of(params) + ", step " + std::to_string(step) + ", " + test.label();
  RandomInputs inputs(test.seed);
  const HostTable host = random_table(inputs, num_rows, test.dim, params.kind);
  const std::vector<std::int32_t> index = inputs.skewed_indices(test.num_ratings, num_rows - 4);

  const DeviceTable table(device, host, test.padding);
  const DeviceSegments segments(device, reference::build_segments(index, test.batch_size, kUntouchedIndex));
  StepState at = batch_state(test.num_ratings, test.batch_size, test.batch, kLearningRate);
  at.step = step;
  const DeviceMatrix<StepState> state = on_device(device, at);
  device.enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});

  reference::Table expected = to_reference(host);
  const std::vector<std::int32_t> rows = distinct_rows(index, test.begin(), test.count());
  reference::update_rows(expected, rows, params, static_cast<double>(kLearningRate), step + 1);

  std::vector<bool> updated(static_cast<std::size_t>(num_rows), false);
  for (const std::int32_t row : rows) {
    updated[static_cast<std::size_t>(row)] = true;
  }
  ASSERT_TRUE(tables_match(table, host, expected, updated, label));
}

// Catches: a formula that differs (epsilon inside the root: it is large here; bias correction with step instead of
// step + 1, or none; beta1 and beta2 exchanged), gradients not zeroed or zeroed elsewhere, rows of the batch missed,
// rows of another batch updated, projection missed or applied before the step, a decay or l2 that is missed, of a wrong
// factor or taken from the wrong weight, tails and ld.
TEST_P(UpdateRowsTest, one_step_matches_reference) {
  for (const BatchCase& test : batch_cases()) {
    if (test.dim > 64 && test.batch_size > 5) {
      continue;  // the table is small: more ratings touch no more of it
    }
    for (const OptimizerKind kind : kOptimizers) {
      OptimizerParams params;
      params.kind = kind;
      params.non_negative = test.seed % 2 == 0;
      params.l2 = test.seed % 3 == 0 ? 0.3F : 0.0F;
      params.weight_decay = test.seed % 4 < 2 ? 0.4F : 0.0F;
      params.rate = test.seed % 5 == 0 ? 0.5F : 1.0F;
      params.epsilon = test.seed % 5 == 0 ? 1e-8F : 0.25F;
      params.beta1 = 0.8F;
      params.beta2 = 0.95F;
      expect_sparse_step(device(), test, params, static_cast<std::int64_t>(test.seed % 4) * 3,
                         std::max<std::int64_t>(41, test.batch_size));
    }
  }
}

// Every combination of the switches, which the walk over sizes above does not reach.
TEST_P(UpdateRowsTest, every_combination_of_options_matches_reference) {
  for (const OptimizerParams& params : all_optimizer_params()) {
    for (const std::int64_t step : {0, 1, 1000}) {
      expect_sparse_step(device(), batch_case(71, 10, 5, 2, 0), params, step);
    }
  }
}

// Large enough that an engine shares the work among threads. Catches: rows that fall between two shares.
TEST_P(UpdateRowsTest, matches_reference_where_threads_share_the_work) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.epsilon = 0.25F;
    expect_sparse_step(device(), batch_case(75, 17, 4000, 1, 0), params, 2, 2003);
  }
}

/// A whole epoch of steps, with the gradients of each batch put in between, from slots of zero as training has them.
void expect_sparse_epoch(Device& device, const OptimizerParams& params) {
  constexpr std::int64_t kRows = 30;
  constexpr std::int64_t kDim = 6;
  constexpr std::int64_t kBatch = 16;
  constexpr std::int64_t kRatings = 150;
  RandomInputs inputs(72);
  HostTable host = random_table(inputs, kRows, kDim, params.kind);
  host.gradient.assign(host.gradient.size(), 0.0F);
  host.first_moment.assign(host.first_moment.size(), 0.0F);
  host.second_moment.assign(host.second_moment.size(), 0.0F);
  const std::vector<std::int32_t> index = inputs.skewed_indices(kRatings, kRows);
  const DeviceTable table(device, host, 0);
  const DeviceSegments segments(device, reference::build_segments(index, kBatch, kUntouchedIndex));
  const DeviceMatrix<StepState> state = on_device(device, StepState{});
  device.enqueue(ops::BeginEpoch{state.view(), {1, 0, kRatings, kBatch, {ScheduleKind::linear, 0.1F, 12, 3}}});

  reference::Table expected = to_reference(host);
  // Warm-up over 3 of 12 planned steps, then a linear fall.
  const double rates[] = {0.1 / 3.0,         0.1 * 11.0 / 12.0 * 2.0 / 3.0,
                          0.1 * 10.0 / 12.0, 0.1 * 9.0 / 12.0,
                          0.1 * 8.0 / 12.0,  0.1 * 7.0 / 12.0,
                          0.1 * 6.0 / 12.0,  0.1 * 5.0 / 12.0,
                          0.1 * 4.0 / 12.0,  0.1 * 3.0 / 12.0};
  for (std::int64_t batch = 0; batch < 10; ++batch) {
    const std::int64_t count = std::min(kBatch, kRatings - batch * kBatch);
    const std::vector<std::int32_t> rows = distinct_rows(index, batch * kBatch, count);
    const std::vector<float> random = inputs.matrix(kRows, kDim);
    std::vector<float> gradient(random.size(), 0.0F);
    for (const std::int32_t row : rows) {
      std::copy_n(random.begin() + row * kDim, kDim, gradient.begin() + row * kDim);
    }
    device.upload(table.gradient.view(), std::span<const float>(gradient));
    expected.gradient = reference::Matrix(kRows, kDim, gradient);
    device.enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});
    device.enqueue(ops::AdvanceStep{state.view()});
    reference::update_rows(expected, rows, params, rates[batch], batch + 1);

    const std::string label = label_of(params) + ", batch " + std::to_string(batch) + ", seed 72";
    ASSERT_TRUE(all_close(table.weights.values(), expected.weights.values, {5e-6, 1e-5}, label));
    ASSERT_TRUE(all_close(table.gradient.values(), expected.gradient.values, {}, label + ", gradient"));
  }
}

// Catches: a t that does not grow with the state's step, a learning rate that is frozen at the first step, slots that
// are not kept from step to step, the short last batch.
TEST_P(UpdateRowsTest, an_epoch_of_steps_matches_reference) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool non_negative : {false, true}) {
      for (const bool regularized : {false, true}) {
        OptimizerParams params;
        params.kind = kind;
        params.non_negative = non_negative;
        params.l2 = regularized ? 0.05F : 0.0F;
        params.weight_decay = regularized ? 0.1F : 0.0F;
        params.rate = regularized ? 1.5F : 1.0F;
        expect_sparse_epoch(device(), params);
      }
    }
  }
}

// Adam's first step moves every weight by the learning rate against the sign of its gradient, however small that is.
// Needs no reference, so it catches a mistake that both share.
TEST_P(UpdateRowsTest, first_adam_step_has_the_length_of_the_learning_rate) {
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  const DeviceTable table(device(), {1, 4, {1, 1, 1, 1}, {1e-3F, -1e-3F, 50.0F, -50.0F}, {0, 0, 0, 0}, {0, 0, 0, 0}},
                          0);
  const DeviceSegments segments(device(), reference::build_segments({0}, 1, kUntouchedIndex));
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
  device().enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});
  EXPECT_TRUE(all_close(table.weights.values(), std::vector<double>{0.875, 1.125, 0.875, 1.125}, {1e-5, 0.0}, "adam"));
}

// A step without gradient must not divide zero by zero: optimizers meet it where items of a batch cancel out.
TEST_P(UpdateRowsTest, zero_gradient_on_zero_slots_moves_nothing) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    const DeviceTable table(device(), {1, 3, {1, -2, 3}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, 0);
    const DeviceSegments segments(device(), reference::build_segments({0}, 1, kUntouchedIndex));
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
    device().enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});
    EXPECT_TRUE(bits_equal(table.weights.values(), std::vector<float>{1, -2, 3}, label_of(params)));
  }
}

// Needs no reference, and tells both regularizers apart: the decay of a row without gradient does not depend on the
// optimizer, that of l2 does.
TEST_P(UpdateRowsTest, weight_decay_passes_by_the_optimizer) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.weight_decay = 0.5F;
    const DeviceTable table(device(), {2, 2, {1, -2, 4, 8}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}, 0);
    const DeviceSegments segments(device(), reference::build_segments({1}, 1, kUntouchedIndex));
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
    device().enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});
    // The row that is not of the batch does not decay.
    EXPECT_TRUE(
        all_close(table.weights.values(), std::vector<double>{1, -2, 3.75, 7.5}, {0.0, 1e-6}, label_of(params)));
  }
}

// Catches: an update that decays moments (or projects) past the end of an epoch, when a graph is replayed once too
// often, and segment counts read past their last batch.
TEST_P(UpdateRowsTest, a_batch_without_ratings_changes_nothing) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.non_negative = true;
    params.l2 = 0.3F;
    params.weight_decay = 0.4F;
    RandomInputs inputs(73);
    const HostTable host = random_table(inputs, 10, 4, kind);
    const DeviceTable table(device(), host, 0);
    const DeviceSegments segments(device(), reference::build_segments(inputs.indices(20, 10), 8, kUntouchedIndex));
    for (const std::int64_t batch : {3, 4}) {
      const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch, 0.1F));
      device().enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});
      EXPECT_TRUE(table_unchanged(table, host, label_of(params)));
    }
  }
}

TEST_P(UpdateRowsTest, bits_do_not_depend_on_threads) {
  constexpr std::int64_t kRows = 2000;
  constexpr std::int64_t kDim = 17;
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.l2 = 0.3F;
    params.weight_decay = 0.4F;
    RandomInputs inputs(74);
    const HostTable host = random_table(inputs, kRows, kDim, kind);
    const std::vector<std::int32_t> index = inputs.skewed_indices(6000, kRows);
    std::vector<float> first;
    for (const auto& other : devices_by_threads()) {
      const DeviceTable table(*other, host, 0);
      const DeviceSegments segments(*other, reference::build_segments(index, 6000, kUntouchedIndex));
      const DeviceMatrix<StepState> state = on_device(*other, batch_state(6000, 6000, 0, 0.1F));
      other->enqueue(ops::UpdateRows{table.view(), segments.view(), params, state.view()});
      const std::vector<float> got = table.weights.values();
      if (first.empty()) {
        first = got;
      }
      EXPECT_TRUE(bits_equal(got, first, label_of(params) + ", " + std::to_string(other->info().threads) + " threads"));
    }
  }
}

}  // namespace
}  // namespace curate::test
