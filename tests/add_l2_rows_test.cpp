#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/add_l2_rows.h"
#include "tests/reference/dense.h"
#include "tests/reference/matrix.h"
#include "tests/reference/scatter_add_rows.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using AddL2RowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(AddL2RowsTest);

TEST(AddL2RowsReference, hand_computed) {
  reference::Matrix grad_rows(3, 2, std::vector<double>{10, 20, 30, 40, 50, 60});
  const reference::Matrix table(3, 2, std::vector<double>{1, 2, 3, 4, 5, 6});
  // 2 * 0.5 / 2 = 0.5 times rows 2 and 0; the third row is past the count.
  reference::add_l2_rows(grad_rows, table, {1, 2, 0, 1}, 0.5, 1, 2);
  EXPECT_EQ(grad_rows.values, (std::vector<double>{12.5, 23, 30.5, 41, 50, 60}));
}

/// mean(l2 |table[index[b], :]|^2) over the batch.
double objective(const reference::Matrix& table, const std::vector<std::int32_t>& index, double l2, std::int64_t begin,
                 std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t b = 0; b < count; ++b) {
    for (std::int64_t k = 0; k < table.cols; ++k) {
      const double w = table(index.at(static_cast<std::size_t>(begin + b)), k);
      sum += l2 * w * w;
    }
  }
  return sum / static_cast<double>(count);
}

// Catches a reference (and so a contract) whose L2 is not lambda per rating: a factor of 2 or of n.
TEST(AddL2RowsReference, matches_finite_differences) {
  constexpr double kStep = 1e-5;
  constexpr double kL2 = 0.3;
  RandomInputs inputs(801);
  reference::Matrix table(6, 3, inputs.matrix(6, 3));
  const std::vector<std::int32_t> index = inputs.skewed_indices(12, 6);
  std::vector<double> differences;
  for (double& value : table.values) {
    const double at = value;
    value = at + kStep;
    const double above = objective(table, index, kL2, 2, 7);
    value = at - kStep;
    const double below = objective(table, index, kL2, 2, 7);
    value = at;
    differences.push_back((above - below) / (2.0 * kStep));
  }
  reference::Matrix grad_rows(7, 3);
  reference::add_l2_rows(grad_rows, table, index, kL2, 2, 7);
  reference::Matrix grad_table(6, 3);
  reference::scatter_add_rows(grad_table, grad_rows, index, 2, 7);
  EXPECT_TRUE(gradient_close(grad_table.values, differences, 1e-8, "seed 801"));
}

void expect_l2_rows(Device& device, const BatchCase& test, std::int64_t num_rows, float l2) {
  const std::string label = test.label() + ", l2 " + std::to_string(l2);
  RandomInputs inputs(test.seed);
  const std::vector<float> host_table = inputs.matrix(num_rows, test.dim);
  const std::vector<std::int32_t> host_index = inputs.skewed_indices(test.num_ratings, num_rows);
  std::vector<float> host_grad = inputs.matrix(test.batch_size, test.dim);
  std::fill(host_grad.begin() + test.count() * test.dim, host_grad.end(), kUntouched);
  const DeviceMatrix<float> table(device, host_table, num_rows, test.dim, test.dim + test.padding);
  const DeviceMatrix<std::int32_t> index(device, host_index, test.num_ratings);
  const DeviceMatrix<float> grad_rows(device, host_grad, test.batch_size, test.dim, test.dim + 5 - test.padding);
  const DeviceMatrix<StepState> state = on_device(device, batch_state(test.num_ratings, test.batch_size, test.batch));
  device.enqueue(ops::AddL2Rows{grad_rows.view(), table.view(), index.view(), l2, state.view()});

  const reference::Matrix exact_table(num_rows, test.dim, host_table);
  host_grad.resize(static_cast<std::size_t>(test.count() * test.dim));
  reference::Matrix expected(test.count(), test.dim, host_grad);
  reference::Matrix magnitudes = reference::absolute(expected);
  const auto exact_l2 = static_cast<double>(l2);
  reference::add_l2_rows(expected, exact_table, host_index, exact_l2, test.begin(), test.count());
  reference::add_l2_rows(magnitudes, reference::absolute(exact_table), host_index, exact_l2, test.begin(),
                         test.count());
  // A product and a sum, and 2 l2 / count itself is rounded.
  ASSERT_TRUE(dot_close(first_rows(grad_rows, test.count()), expected.values, magnitudes.values, {2, 2.0}, label));
  ASSERT_TRUE(untouched_from(grad_rows, test.count(), label));
  ASSERT_TRUE(bits_equal(table.values(), host_table, label + ", table"));
}

// Catches: a mean over the capacity of the batch instead of its count, a factor of 2, gradients overwritten instead of
// added to, rows of another rating (batch_begin ignored), rows past the count, tails and ld on either side.
TEST_P(AddL2RowsTest, matches_reference) {
  for (const BatchCase& test : batch_cases()) {
    expect_l2_rows(device(), test, 37, test.seed % 3 == 0 ? 0.01F : 0.7F);
  }
}

// Large enough that an engine shares the work among threads. Catches: rows that fall between two shares. The gradient
// of a large batch is small next to what it is added to, so l2 is large.
TEST_P(AddL2RowsTest, matches_reference_where_threads_share_the_work) {
  expect_l2_rows(device(), {802, 7, 20011, 1, 40000, 0}, 500, 20000.0F);
  expect_l2_rows(device(), {803, 1, 20011, 0, 20011, 2}, 500, 20000.0F);
}

TEST_P(AddL2RowsTest, no_l2_changes_nothing) {
  RandomInputs inputs(804);
  const std::vector<float> before = inputs.matrix(8, 5);
  const DeviceMatrix<float> grad_rows(device(), before, 8, 5);
  const DeviceMatrix<float> table(device(), inputs.matrix(10, 5), 10, 5);
  const DeviceMatrix<std::int32_t> index(device(), inputs.indices(20, 10), 20);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, 1));
  device().enqueue(ops::AddL2Rows{grad_rows.view(), table.view(), index.view(), 0.0F, state.view()});
  EXPECT_TRUE(all_close(grad_rows.values(), before, {}, "l2 0"));
}

// Catches: a division by the count of 0, and an index that is read past its end.
TEST_P(AddL2RowsTest, writes_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(805);
  const std::vector<float> before = inputs.matrix(8, 4);
  const DeviceMatrix<float> grad_rows(device(), before, 8, 4);
  const DeviceMatrix<float> table(device(), inputs.matrix(10, 4), 10, 4);
  const DeviceMatrix<std::int32_t> index(device(), inputs.indices(20, 10), 20);
  for (const std::int64_t batch : {3, 4}) {
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch));
    device().enqueue(ops::AddL2Rows{grad_rows.view(), table.view(), index.view(), 0.7F, state.view()});
    EXPECT_TRUE(bits_equal(grad_rows.values(), before, "batch " + std::to_string(batch)));
  }
}

// Catches: an offset, or the factor of the count, that is frozen when the step is captured.
TEST_P(AddL2RowsTest, a_captured_call_follows_the_state) {
  constexpr std::int64_t kBatch = 8;
  RandomInputs inputs(806);
  const std::vector<float> host_table = inputs.matrix(10, 4);
  const std::vector<std::int32_t> host_index = inputs.indices(21, 10);
  const DeviceMatrix<float> grad_rows(device(), std::vector<float>(kBatch * 4, 0.0F), kBatch, 4);
  const DeviceMatrix<float> table(device(), host_table, 10, 4);
  const DeviceMatrix<std::int32_t> index(device(), host_index, 21);
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  device().enqueue(ops::BeginEpoch{state.view(), {1, 0, 21, kBatch, {}}});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::AddL2Rows{grad_rows.view(), table.view(), index.view(), 0.7F, state.view()});
    device().enqueue(ops::AdvanceStep{state.view()});
  });
  // Once more than there are batches: past the end nothing may happen.
  device().replay(*graph, 4);
  reference::Matrix expected(kBatch, 4);
  const reference::Matrix exact_table(10, 4, host_table);
  const auto l2 = static_cast<double>(0.7F);
  reference::add_l2_rows(expected, exact_table, host_index, l2, 0, 8);
  reference::add_l2_rows(expected, exact_table, host_index, l2, 8, 8);
  reference::add_l2_rows(expected, exact_table, host_index, l2, 16, 5);
  EXPECT_TRUE(all_close(grad_rows.values(), expected.values, {1e-6, 1e-6}, "an epoch, seed 806"));
}

TEST_P(AddL2RowsTest, nan_in_a_row_shows_in_its_gradients) {
  std::vector<float> host_table(6 * 11, 1.0F);
  host_table[3 * 11 + 10] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::int32_t> host_index = {0, 3, 5, 3, 1};
  const DeviceMatrix<float> grad_rows(device(), std::vector<float>(5 * 11, 1.0F), 5, 11);
  const DeviceMatrix<float> table(device(), host_table, 6, 11);
  const DeviceMatrix<std::int32_t> index(device(), host_index, 5);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(5, 5));
  device().enqueue(ops::AddL2Rows{grad_rows.view(), table.view(), index.view(), 0.7F, state.view()});
  const std::vector<float> got = grad_rows.values();
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(std::isnan(got[i]), host_index[i / 11] == 3 && i % 11 == 10) << "element " << i;
  }
}

TEST_P(AddL2RowsTest, bits_do_not_depend_on_threads) {
  constexpr std::int64_t kBatch = 5003;
  RandomInputs inputs(807);
  const std::vector<float> host_grad = inputs.matrix(kBatch, 17);
  const std::vector<float> host_table = inputs.matrix(300, 17);
  const std::vector<std::int32_t> host_index = inputs.skewed_indices(kBatch, 300);
  std::vector<float> first;
  for (const auto& other : devices_by_threads()) {
    const DeviceMatrix<float> grad_rows(*other, host_grad, kBatch, 17);
    const DeviceMatrix<float> table(*other, host_table, 300, 17);
    const DeviceMatrix<std::int32_t> index(*other, host_index, kBatch);
    const DeviceMatrix<StepState> state = on_device(*other, batch_state(kBatch, kBatch));
    other->enqueue(ops::AddL2Rows{grad_rows.view(), table.view(), index.view(), 1000.0F, state.view()});
    const std::vector<float> got = grad_rows.values();
    if (first.empty()) {
      first = got;
    }
    EXPECT_TRUE(bits_equal(got, first, std::to_string(other->info().threads) + " threads"));
  }
}

}  // namespace
}  // namespace curate::test
