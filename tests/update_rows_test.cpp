#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
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

namespace curate::test {
namespace {

using UpdateRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(UpdateRowsTest);

constexpr OptimizerKind kOptimizers[] = {OptimizerKind::sgd, OptimizerKind::adagrad, OptimizerKind::adam};

std::string label_of(const OptimizerParams& params) {
  const char* const names[] = {"sgd", "adagrad", "adam"};
  return std::string(names[static_cast<int>(params.kind)]) + (params.dense ? ", dense" : ", lazy") +
         (params.non_negative ? ", non-negative" : "") + ", epsilon " + std::to_string(params.epsilon);
}

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

/// A table with everything an optimizer may need, on the host.
struct HostTable {
  std::int64_t rows;
  std::int64_t dim;
  std::vector<float> weights;
  std::vector<float> gradient;
  std::vector<float> first_moment;
  std::vector<float> second_moment;
};

HostTable random_table(RandomInputs& inputs, std::int64_t rows, std::int64_t dim, OptimizerKind kind) {
  HostTable table{rows, dim, inputs.matrix(rows, dim), inputs.matrix(rows, dim), {}, {}};
  const std::vector<float> first = inputs.matrix(rows, dim, -0.5F, 0.5F);
  const std::vector<float> second = inputs.matrix(rows, dim, 0.0F, 0.5F);
  if (kind == OptimizerKind::adam) {
    table.first_moment = first;
  }
  if (kind != OptimizerKind::sgd) {
    table.second_moment = second;
  }
  return table;
}

struct DeviceTable {
  DeviceTable(Device& device, const HostTable& host, std::int64_t padding)
      : weights(device, host.weights, host.rows, host.dim, host.dim + padding),
        gradient(device, host.gradient, host.rows, host.dim, host.dim + padding),
        first_moment(device, host.first_moment, host.first_moment.empty() ? 0 : host.rows, host.dim,
                     host.dim + padding),
        second_moment(device, host.second_moment, host.second_moment.empty() ? 0 : host.rows, host.dim,
                      host.dim + padding) {}

  TrainedTable view() const { return {weights.view(), gradient.view(), first_moment.view(), second_moment.view()}; }

  DeviceMatrix<float> weights;
  DeviceMatrix<float> gradient;
  DeviceMatrix<float> first_moment;
  DeviceMatrix<float> second_moment;
};

std::vector<std::int32_t> distinct_rows(const std::vector<std::int32_t>& index, std::int64_t begin,
                                        std::int64_t count) {
  std::vector<std::int32_t> rows(index.begin() + begin, index.begin() + begin + count);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

/// Rows that were updated are close to the reference, all others have the bits they had.
testing::AssertionResult rows_match(const DeviceMatrix<float>& got, const std::vector<float>& before,
                                    const reference::Matrix& expected, const std::vector<bool>& updated,
                                    Tolerance tolerance, const std::string& label) {
  const std::vector<float> values = got.values();
  for (std::size_t row = 0; row < updated.size(); ++row) {
    const auto first = static_cast<std::ptrdiff_t>(row) * expected.cols;
    const auto last = first + expected.cols;
    const std::vector<float> got_row(values.begin() + first, values.begin() + last);
    const std::string at = label + ", row " + std::to_string(row) + (updated[row] ? " (updated)" : " (not updated)");
    const testing::AssertionResult result =
        updated[row]
            ? all_close(got_row, std::vector<double>(expected.values.begin() + first, expected.values.begin() + last),
                        tolerance, at)
            : bits_equal(got_row, std::vector<float>(before.begin() + first, before.begin() + last), at);
    if (!result) {
      return result;
    }
  }
  return got.padding_intact();
}

/// One step from random slots at `step` of the run, as the engine must do it at any point of a run.
void expect_one_step(Device& device, const BatchCase& test, const OptimizerParams& params, std::int64_t step,
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
  device.update_rows(table.view(), segments.view(), params, state.view());

  reference::Table expected{reference::Matrix(num_rows, test.dim, host.weights),
                            reference::Matrix(num_rows, test.dim, host.gradient),
                            reference::Matrix(host.first_moment.empty() ? 0 : num_rows, test.dim, host.first_moment),
                            reference::Matrix(host.second_moment.empty() ? 0 : num_rows, test.dim, host.second_moment)};
  std::vector<std::int32_t> rows(static_cast<std::size_t>(num_rows));
  std::iota(rows.begin(), rows.end(), 0);
  if (!params.dense) {
    rows = distinct_rows(index, test.begin(), test.count());
  }
  reference::update_rows(expected, rows, params, static_cast<double>(kLearningRate), step + 1);

  std::vector<bool> updated(static_cast<std::size_t>(num_rows), false);
  for (const std::int32_t row : rows) {
    updated[static_cast<std::size_t>(row)] = true;
  }
  const Tolerance tolerance{1e-6, 5e-6};
  ASSERT_TRUE(rows_match(table.weights, host.weights, expected.weights, updated, tolerance, label + ", weights"));
  // Exactly zero: what is left would be added to the next batch's gradient.
  ASSERT_TRUE(rows_match(table.gradient, host.gradient, expected.gradient, updated, {}, label + ", gradient"));
  if (!host.first_moment.empty()) {
    ASSERT_TRUE(rows_match(table.first_moment, host.first_moment, expected.first_moment, updated, tolerance,
                           label + ", first moment"));
  }
  if (!host.second_moment.empty()) {
    ASSERT_TRUE(rows_match(table.second_moment, host.second_moment, expected.second_moment, updated, tolerance,
                           label + ", second moment"));
  }
}

// Catches: a formula that differs (epsilon inside the root: it is large here; bias correction with step instead of
// step + 1, or none; beta1 and beta2 exchanged), gradients not zeroed or zeroed elsewhere, rows of the batch missed,
// rows of another batch updated, projection missed or applied before the step, tails and ld.
TEST_P(UpdateRowsTest, one_step_matches_reference) {
  for (const BatchCase& test : batch_cases()) {
    if (test.dim > 64 && test.batch_size > 5) {
      continue;  // the table is small: more ratings touch no more of it
    }
    for (const OptimizerKind kind : kOptimizers) {
      OptimizerParams params;
      params.kind = kind;
      params.dense = test.seed % 3 == 0;
      params.non_negative = test.seed % 2 == 0;
      params.epsilon = test.seed % 5 == 0 ? 1e-8F : 0.25F;
      params.beta1 = 0.8F;
      params.beta2 = 0.95F;
      expect_one_step(device(), test, params, static_cast<std::int64_t>(test.seed % 4) * 3);
    }
  }
}

// Every combination of the switches, which the walk over sizes above does not reach.
TEST_P(UpdateRowsTest, every_combination_of_options_matches_reference) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool dense : {false, true}) {
      for (const bool non_negative : {false, true}) {
        for (const float epsilon : {1e-8F, 0.25F}) {
          for (const std::int64_t step : {0, 1, 1000}) {
            OptimizerParams params;
            params.kind = kind;
            params.dense = dense;
            params.non_negative = non_negative;
            params.epsilon = epsilon;
            expect_one_step(device(), batch_case(71, 10, 5, 2, 0), params, step);
          }
        }
      }
    }
  }
}

// Large enough that an engine shares the work among threads. Catches: rows that fall between two shares.
TEST_P(UpdateRowsTest, matches_reference_where_threads_share_the_work) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool dense : {false, true}) {
      OptimizerParams params;
      params.kind = kind;
      params.dense = dense;
      params.epsilon = 0.25F;
      expect_one_step(device(), batch_case(75, 17, 4000, 1, 0), params, 2, 2003);
    }
  }
}

/// A whole epoch of steps, with the gradients of each batch put in between, from slots of zero as training has them.
void expect_epoch(Device& device, const OptimizerParams& params) {
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
  device.begin_epoch(state.view(), {1, 0, kRatings, kBatch, {ScheduleKind::linear, 0.1F, 12, 3}});

  reference::Table expected{reference::Matrix(kRows, kDim, host.weights), reference::Matrix(kRows, kDim),
                            reference::Matrix(host.first_moment.empty() ? 0 : kRows, kDim),
                            reference::Matrix(host.second_moment.empty() ? 0 : kRows, kDim)};
  // Warm-up over 3 of 12 planned steps, then a linear fall.
  const double rates[] = {0.1 / 3.0,         0.1 * 11.0 / 12.0 * 2.0 / 3.0,
                          0.1 * 10.0 / 12.0, 0.1 * 9.0 / 12.0,
                          0.1 * 8.0 / 12.0,  0.1 * 7.0 / 12.0,
                          0.1 * 6.0 / 12.0,  0.1 * 5.0 / 12.0,
                          0.1 * 4.0 / 12.0,  0.1 * 3.0 / 12.0};
  std::vector<std::int32_t> all(kRows);
  std::iota(all.begin(), all.end(), 0);
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
    device.update_rows(table.view(), segments.view(), params, state.view());
    device.advance_step(state.view());
    reference::update_rows(expected, params.dense ? all : rows, params, rates[batch], batch + 1);

    const std::string label = label_of(params) + ", batch " + std::to_string(batch) + ", seed 72";
    ASSERT_TRUE(all_close(table.weights.values(), expected.weights.values, {5e-6, 1e-5}, label));
    ASSERT_TRUE(all_close(table.gradient.values(), expected.gradient.values, {}, label + ", gradient"));
  }
}

// Catches: a t that does not grow with the state's step, a learning rate that is frozen at the first step, slots that
// are not kept from step to step, the short last batch.
TEST_P(UpdateRowsTest, an_epoch_of_steps_matches_reference) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool dense : {false, true}) {
      for (const bool non_negative : {false, true}) {
        OptimizerParams params;
        params.kind = kind;
        params.dense = dense;
        params.non_negative = non_negative;
        expect_epoch(device(), params);
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
  device().update_rows(table.view(), segments.view(), params, state.view());
  EXPECT_TRUE(all_close(table.weights.values(), std::vector<double>{0.875, 1.125, 0.875, 1.125}, {1e-5, 0.0}, "adam"));
}

// A step without gradient must not divide zero by zero: optimizers meet it on every dense update.
TEST_P(UpdateRowsTest, zero_gradient_on_zero_slots_moves_nothing) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.dense = true;
    const DeviceTable table(device(), {1, 3, {1, -2, 3}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, 0);
    const DeviceSegments segments(device(), reference::build_segments({0}, 1, kUntouchedIndex));
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
    device().update_rows(table.view(), segments.view(), params, state.view());
    EXPECT_TRUE(bits_equal(table.weights.values(), std::vector<float>{1, -2, 3}, label_of(params)));
  }
}

// Catches: a dense update that decays moments (or projects) past the end of an epoch, when a graph is replayed once too
// often, and segment counts read past their last batch.
TEST_P(UpdateRowsTest, a_batch_without_ratings_changes_nothing) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool dense : {false, true}) {
      OptimizerParams params;
      params.kind = kind;
      params.dense = dense;
      params.non_negative = true;
      RandomInputs inputs(73);
      const HostTable host = random_table(inputs, 10, 4, kind);
      const DeviceTable table(device(), host, 0);
      const DeviceSegments segments(device(), reference::build_segments(inputs.indices(20, 10), 8, kUntouchedIndex));
      for (const std::int64_t batch : {3, 4}) {
        const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch, 0.1F));
        device().update_rows(table.view(), segments.view(), params, state.view());
        EXPECT_TRUE(bits_equal(table.weights.values(), host.weights, label_of(params)));
        EXPECT_TRUE(bits_equal(table.gradient.values(), host.gradient, label_of(params)));
        if (!host.first_moment.empty()) {
          EXPECT_TRUE(bits_equal(table.first_moment.values(), host.first_moment, label_of(params)));
        }
        if (!host.second_moment.empty()) {
          EXPECT_TRUE(bits_equal(table.second_moment.values(), host.second_moment, label_of(params)));
        }
      }
    }
  }
}

TEST_P(UpdateRowsTest, bits_do_not_depend_on_threads) {
  constexpr std::int64_t kRows = 2000;
  constexpr std::int64_t kDim = 17;
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool dense : {false, true}) {
      OptimizerParams params;
      params.kind = kind;
      params.dense = dense;
      RandomInputs inputs(74);
      const HostTable host = random_table(inputs, kRows, kDim, kind);
      const std::vector<std::int32_t> index = inputs.skewed_indices(6000, kRows);
      std::vector<float> first;
      for (const auto& other : devices_by_threads()) {
        const DeviceTable table(*other, host, 0);
        const DeviceSegments segments(*other, reference::build_segments(index, 6000, kUntouchedIndex));
        const DeviceMatrix<StepState> state = on_device(*other, batch_state(6000, 6000, 0, 0.1F));
        other->update_rows(table.view(), segments.view(), params, state.view());
        const std::vector<float> got = table.weights.values();
        if (first.empty()) {
          first = got;
        }
        EXPECT_TRUE(
            bits_equal(got, first, label_of(params) + ", " + std::to_string(other->info().threads) + " threads"));
      }
    }
  }
}

}  // namespace
}  // namespace curate::test
