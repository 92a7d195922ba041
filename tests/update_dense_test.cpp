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
#include "tests/reference/matrix.h"
#include "tests/reference/update_rows.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"
#include "tests/support/trained_table.h"

namespace curate::test {
namespace {

using UpdateDenseTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(UpdateDenseTest);

// The formulas are those of update_rows, whose tests check their reference by hand.
TEST(UpdateDenseReference, steps_on_every_row) {
  reference::Table table{reference::Matrix(2, 2, std::vector<double>{1, 2, 3, 4}),
                         reference::Matrix(2, 2, std::vector<double>{8, 4, 0, -4}),
                         {},
                         {}};
  OptimizerParams params;
  params.l2 = 0.5F;
  params.weight_decay = 0.25F;
  reference::update_dense(table, params, 0.5, 1);
  // 1 - 0.125 - 0.5 * (8 + 1), 2 - 0.25 - 0.5 * (4 + 2), 3 - 0.375 - 0.5 * 3, 4 - 0.5 - 0.5 * (-4 + 4).
  EXPECT_EQ(table.weights.values, (std::vector<double>{-3.625, -1.25, 1.125, 3.5}));
  EXPECT_EQ(table.gradient.values, (std::vector<double>{0, 0, 0, 0}));
}

struct DenseTableCase {
  std::uint64_t seed = 0;
  std::int64_t rows = 1;
  std::int64_t dim = 1;
  std::int64_t padding = 0;

  std::string label() const {
    return std::to_string(rows) + " rows, dim " + std::to_string(dim) + ", padding " + std::to_string(padding) +
           ", seed " + std::to_string(seed);
  }
};

/// One step from random slots at `step` of the run, as the engine must do it at any point of a run.
void expect_dense_step(Device& device, const DenseTableCase& test, const OptimizerParams& params, std::int64_t step) {
  constexpr float kLearningRate = 0.05F;
  const std::string label = label_of(params) + ", step " + std::to_string(step) + ", " + test.label();
  RandomInputs inputs(test.seed);
  const HostTable host = random_table(inputs, test.rows, test.dim, params.kind);
  const DeviceTable table(device, host, test.padding);
  StepState at = batch_state(25, 10, 2, kLearningRate);
  at.step = step;
  const DeviceMatrix<StepState> state = on_device(device, at);
  device.enqueue(ops::UpdateDense{table.view(), params, state.view()});

  reference::Table expected = to_reference(host);
  reference::update_dense(expected, params, static_cast<double>(kLearningRate), step + 1);
  ASSERT_TRUE(tables_match(table, host, expected, label));
}

// Catches: what the same test of update_rows catches, rows that a batch must name to be updated, and a vector (a bias)
// whose elements are not those of one row.
TEST_P(UpdateDenseTest, one_step_matches_reference) {
  std::uint64_t seed = 700;
  for (const std::int64_t dim : {1, 2, 3, 7, 16, 17, 64, 100, 128, 513}) {
    for (const std::int64_t rows : {1, 5, 32, 41, 65, 257, 300, 513}) {
      if (dim > 1 && (rows == 65 || rows == 257 || rows == 513)) {
        continue;  // several threads share a row
      }
      ++seed;
      for (const OptimizerKind kind : kOptimizers) {
        OptimizerParams params;
        params.kind = kind;
        params.non_negative = seed % 2 == 0;
        params.l2 = seed % 3 == 0 ? 0.3F : 0.0F;
        params.weight_decay = seed % 4 < 2 ? 0.4F : 0.0F;
        params.epsilon = seed % 5 == 0 ? 1e-8F : 0.25F;
        params.beta1 = 0.8F;
        params.beta2 = 0.95F;
        const DenseTableCase test{seed, rows, dim, seed % 7 < 4 ? 0 : 5};
        expect_dense_step(device(), test, params, static_cast<std::int64_t>(seed % 4) * 3);
      }
    }
  }
}

// Every combination of the switches, which the walk over sizes above does not reach.
TEST_P(UpdateDenseTest, every_combination_of_options_matches_reference) {
  for (const OptimizerParams& params : all_optimizer_params()) {
    for (const std::int64_t step : {0, 1, 1000}) {
      expect_dense_step(device(), {71, 9, 10, 0}, params, step);
    }
  }
}

// Large enough that an engine shares the work among threads. Catches: elements that fall between two shares.
TEST_P(UpdateDenseTest, matches_reference_where_threads_share_the_work) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.epsilon = 0.25F;
    expect_dense_step(device(), {75, 2003, 17, 0}, params, 2);
    expect_dense_step(device(), {76, 2003, 17, 2}, params, 2);
    expect_dense_step(device(), {77, 1, 30011, 0}, params, 2);
    expect_dense_step(device(), {78, 30011, 1, 0}, params, 2);
  }
}

/// A whole epoch of steps, with the gradients of each batch put in between, from slots of zero as training has them.
/// The step is captured, as the driver does it.
void expect_dense_epoch(Device& device, const OptimizerParams& params) {
  constexpr std::int64_t kRows = 30;
  constexpr std::int64_t kDim = 6;
  RandomInputs inputs(72);
  HostTable host = random_table(inputs, kRows, kDim, params.kind);
  host.gradient.assign(host.gradient.size(), 0.0F);
  host.first_moment.assign(host.first_moment.size(), 0.0F);
  host.second_moment.assign(host.second_moment.size(), 0.0F);
  const DeviceTable table(device, host, 0);
  const DeviceMatrix<StepState> state = on_device(device, StepState{});
  device.enqueue(ops::BeginEpoch{state.view(), {1, 0, 150, 16, {ScheduleKind::linear, 0.1F, 12, 3}}});
  const std::unique_ptr<Graph> graph = device.capture([&] {
    device.enqueue(ops::UpdateDense{table.view(), params, state.view()});
    device.enqueue(ops::AdvanceStep{state.view()});
  });

  reference::Table expected = to_reference(host);
  // Warm-up over 3 of 12 planned steps, then a linear fall.
  const double rates[] = {0.1 / 3.0,         0.1 * 11.0 / 12.0 * 2.0 / 3.0,
                          0.1 * 10.0 / 12.0, 0.1 * 9.0 / 12.0,
                          0.1 * 8.0 / 12.0,  0.1 * 7.0 / 12.0,
                          0.1 * 6.0 / 12.0,  0.1 * 5.0 / 12.0,
                          0.1 * 4.0 / 12.0,  0.1 * 3.0 / 12.0};
  for (std::int64_t batch = 0; batch < 10; ++batch) {
    // Most rows have no gradient in most steps, as an embedding table's.
    std::vector<float> gradient = inputs.matrix(kRows, kDim);
    for (std::int64_t row = 0; row < kRows; ++row) {
      if ((row + batch) % 3 != 0) {
        std::fill_n(gradient.begin() + row * kDim, kDim, 0.0F);
      }
    }
    device.upload(table.gradient.view(), std::span<const float>(gradient));
    expected.gradient = reference::Matrix(kRows, kDim, gradient);
    device.replay(*graph, 1);
    reference::update_dense(expected, params, rates[batch], batch + 1);

    const std::string label = label_of(params) + ", batch " + std::to_string(batch) + ", seed 72";
    ASSERT_TRUE(all_close(table.weights.values(), expected.weights.values, {5e-6, 1e-5}, label));
    ASSERT_TRUE(all_close(table.gradient.values(), expected.gradient.values, {}, label + ", gradient"));
  }
  // Once more than there are batches: past the end nothing may happen.
  const std::vector<float> before = table.weights.values();
  device.replay(*graph, 1);
  ASSERT_TRUE(bits_equal(table.weights.values(), before, label_of(params) + ", past the end"));
}

// Catches: a t that does not grow with the state's step, a learning rate that is frozen at the first step, slots that
// are not kept from step to step, moments that stand still where a row has no gradient, the short last batch.
TEST_P(UpdateDenseTest, an_epoch_of_steps_matches_reference) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool non_negative : {false, true}) {
      for (const bool regularized : {false, true}) {
        OptimizerParams params;
        params.kind = kind;
        params.non_negative = non_negative;
        params.l2 = regularized ? 0.05F : 0.0F;
        params.weight_decay = regularized ? 0.1F : 0.0F;
        expect_dense_epoch(device(), params);
      }
    }
  }
}

// Adam's first step moves every weight by the learning rate against the sign of its gradient, however small that is.
// Needs no reference, so it catches a mistake that both share.
TEST_P(UpdateDenseTest, first_adam_step_has_the_length_of_the_learning_rate) {
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  const DeviceTable table(device(), {2, 2, {1, 1, 1, 1}, {1e-3F, -1e-3F, 50.0F, -50.0F}, {0, 0, 0, 0}, {0, 0, 0, 0}},
                          0);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
  device().enqueue(ops::UpdateDense{table.view(), params, state.view()});
  EXPECT_TRUE(all_close(table.weights.values(), std::vector<double>{0.875, 1.125, 0.875, 1.125}, {1e-5, 0.0}, "adam"));
}

// A step without gradient must not divide zero by zero: optimizers meet it on every dense update.
TEST_P(UpdateDenseTest, zero_gradient_on_zero_slots_moves_nothing) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    const DeviceTable table(device(), {1, 3, {1, -2, 3}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, 0);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
    device().enqueue(ops::UpdateDense{table.view(), params, state.view()});
    EXPECT_TRUE(bits_equal(table.weights.values(), std::vector<float>{1, -2, 3}, label_of(params)));
  }
}

// Needs no reference, and tells both regularizers apart: the decay without gradient does not depend on the optimizer,
// that of l2 does.
TEST_P(UpdateDenseTest, weight_decay_passes_by_the_optimizer) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.weight_decay = 0.5F;
    const DeviceTable table(device(), {2, 2, {1, -2, 4, 8}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}}, 0);
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
    device().enqueue(ops::UpdateDense{table.view(), params, state.view()});
    EXPECT_TRUE(all_close(table.weights.values(), std::vector<double>{0.9375, -1.875, 3.75, 7.5}, {0.0, 1e-6},
                          label_of(params)));
  }
}

// Catches: a projection that hides a diverged weight, as max(NaN, 0) does in many an instruction set.
TEST_P(UpdateDenseTest, nan_in_a_gradient_shows_in_its_weight) {
  for (const OptimizerKind kind : kOptimizers) {
    for (const bool non_negative : {false, true}) {
      OptimizerParams params;
      params.kind = kind;
      params.non_negative = non_negative;
      RandomInputs inputs(79);
      HostTable host = random_table(inputs, 3, 11, kind);
      for (const std::size_t at : {0, 13, 32}) {
        host.gradient[at] = std::numeric_limits<float>::quiet_NaN();
      }
      const DeviceTable table(device(), host, 0);
      const DeviceMatrix<StepState> state = on_device(device(), batch_state(1, 1, 0, 0.125F));
      device().enqueue(ops::UpdateDense{table.view(), params, state.view()});
      const std::vector<float> got = table.weights.values();
      for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(std::isnan(got[i]), i == 0 || i == 13 || i == 32) << label_of(params) << ", element " << i;
      }
    }
  }
}

// Catches: a dense update that decays moments (or projects) past the end of an epoch, when a graph is replayed once too
// often.
TEST_P(UpdateDenseTest, a_batch_without_ratings_changes_nothing) {
  for (const OptimizerKind kind : kOptimizers) {
    OptimizerParams params;
    params.kind = kind;
    params.non_negative = true;
    params.l2 = 0.3F;
    params.weight_decay = 0.4F;
    RandomInputs inputs(73);
    const HostTable host = random_table(inputs, 10, 4, kind);
    const DeviceTable table(device(), host, 0);
    for (const std::int64_t batch : {3, 4}) {
      const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch, 0.1F));
      device().enqueue(ops::UpdateDense{table.view(), params, state.view()});
      EXPECT_TRUE(table_unchanged(table, host, label_of(params)));
    }
  }
}

TEST_P(UpdateDenseTest, bits_do_not_depend_on_threads) {
  for (const std::int64_t dim : {1, 17}) {
    for (const OptimizerKind kind : kOptimizers) {
      OptimizerParams params;
      params.kind = kind;
      params.l2 = 0.3F;
      params.weight_decay = 0.4F;
      RandomInputs inputs(74);
      const HostTable host = random_table(inputs, 34000 / dim, dim, kind);
      std::vector<float> first;
      for (const auto& other : devices_by_threads()) {
        const DeviceTable table(*other, host, 0);
        const DeviceMatrix<StepState> state = on_device(*other, batch_state(6000, 6000, 0, 0.1F));
        other->enqueue(ops::UpdateDense{table.view(), params, state.view()});
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
