#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/gather_rows.h"
#include "tests/reference/matrix.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using GatherRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(GatherRowsTest);

TEST(GatherRowsReference, hand_computed) {
  const reference::Matrix table(3, 2, std::vector<double>{1, 2, 3, 4, 5, 6});
  const reference::Matrix got = reference::gather_rows(table, {0, 2, 2, 1}, 1, 3);
  EXPECT_EQ(got.rows, 3);
  EXPECT_EQ(got.values, (std::vector<double>{5, 6, 5, 6, 3, 4}));
}

std::vector<float> narrow(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

/// The concatenated matrix after a gather into its columns [first, first + d).
std::vector<float> expected_matrix(const reference::Matrix& gathered, std::int64_t rows, std::int64_t cols,
                                   std::int64_t first) {
  reference::Matrix matrix(rows, cols);
  for (double& value : matrix.values) {
    value = static_cast<double>(kUntouched);
  }
  for (std::int64_t row = 0; row < gathered.rows; ++row) {
    for (std::int64_t col = 0; col < gathered.cols; ++col) {
      matrix(row, first + col) = gathered(row, col);
    }
  }
  return narrow(matrix.values);
}

// Catches: a tail of the row lost or written too wide, an ld ignored on either side, batch_begin ignored, rows past
// batch_count written, a row of the wrong rating.
TEST_P(GatherRowsTest, copies_rows_into_columns_of_a_wider_matrix) {
  constexpr std::int64_t kRows = 53;
  constexpr std::int64_t kBefore = 3;
  for (const BatchCase& test : batch_cases()) {
    RandomInputs inputs(test.seed);
    const std::int64_t width = kBefore + test.dim + 2;
    const std::vector<float> values = inputs.matrix(kRows, test.dim);
    const std::vector<std::int32_t> index = inputs.skewed_indices(test.num_ratings, kRows);
    const std::vector<float> untouched(static_cast<std::size_t>(test.batch_size * width), kUntouched);

    const DeviceMatrix<float> table(device(), values, kRows, test.dim, test.dim + test.padding);
    const DeviceMatrix<std::int32_t> device_index(device(), index, test.num_ratings);
    const DeviceMatrix<float> out(device(), untouched, test.batch_size, width);
    const DeviceMatrix<StepState> state =
        on_device(device(), batch_state(test.num_ratings, test.batch_size, test.batch));
    device().enqueue(
        ops::GatherRows{out.view().columns(kBefore, test.dim), table.view(), device_index.view(), state.view()});

    const reference::Matrix gathered =
        reference::gather_rows(reference::Matrix(kRows, test.dim, values), index, test.begin(), test.count());
    ASSERT_TRUE(bits_equal(out.values(), expected_matrix(gathered, test.batch_size, width, kBefore), test.label()));
  }
}

// The same, where both sides are contiguous: engines may take another path then.
TEST_P(GatherRowsTest, copies_rows_into_a_contiguous_matrix) {
  constexpr std::int64_t kRows = 53;
  for (const BatchCase& test : batch_cases()) {
    RandomInputs inputs(test.seed);
    const std::vector<float> values = inputs.matrix(kRows, test.dim);
    const std::vector<std::int32_t> index = inputs.indices(test.num_ratings, kRows);
    const std::vector<float> untouched(static_cast<std::size_t>(test.batch_size * test.dim), kUntouched);

    const DeviceMatrix<float> table(device(), values, kRows, test.dim);
    const DeviceMatrix<std::int32_t> device_index(device(), index, test.num_ratings);
    const DeviceMatrix<float> out(device(), untouched, test.batch_size, test.dim);
    const DeviceMatrix<StepState> state =
        on_device(device(), batch_state(test.num_ratings, test.batch_size, test.batch));
    device().enqueue(ops::GatherRows{out.view(), table.view(), device_index.view(), state.view()});

    const reference::Matrix gathered =
        reference::gather_rows(reference::Matrix(kRows, test.dim, values), index, test.begin(), test.count());
    ASSERT_TRUE(bits_equal(out.values(), expected_matrix(gathered, test.batch_size, test.dim, 0), test.label()));
  }
}

// Catches: a copy that goes through arithmetic, which would lose the sign of zero or flush small numbers.
TEST_P(GatherRowsTest, keeps_every_bit) {
  const std::vector<float> values = {-0.0F,
                                     0.0F,
                                     std::numeric_limits<float>::denorm_min(),
                                     -std::numeric_limits<float>::denorm_min(),
                                     std::numeric_limits<float>::max(),
                                     std::numeric_limits<float>::lowest(),
                                     std::numeric_limits<float>::min() / 3.0F,
                                     1.0F / 3.0F};
  const DeviceMatrix<float> table(device(), values, 1, 8);
  const DeviceMatrix<std::int32_t> index(device(), {0, 0}, 2);
  const DeviceMatrix<float> out(device(), std::vector<float>(16, kUntouched), 2, 8);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(2, 2));
  device().enqueue(ops::GatherRows{out.view(), table.view(), index.view(), state.view()});
  std::vector<float> twice = values;
  twice.insert(twice.end(), values.begin(), values.end());
  EXPECT_TRUE(bits_equal(out.values(), twice, "special values"));
}

TEST_P(GatherRowsTest, several_gathers_build_one_matrix) {
  constexpr std::int64_t kBatch = 9;
  RandomInputs inputs(21);
  const std::vector<float> users = inputs.matrix(20, 5);
  const std::vector<float> items = inputs.matrix(30, 7);
  const std::vector<std::int32_t> user_index = inputs.indices(kBatch, 20);
  const std::vector<std::int32_t> item_index = inputs.indices(kBatch, 30);
  const DeviceMatrix<float> user_table(device(), users, 20, 5);
  const DeviceMatrix<float> item_table(device(), items, 30, 7);
  const DeviceMatrix<std::int32_t> device_users(device(), user_index, kBatch);
  const DeviceMatrix<std::int32_t> device_items(device(), item_index, kBatch);
  const DeviceMatrix<float> out(device(), std::vector<float>(kBatch * 12, kUntouched), kBatch, 12);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
  device().enqueue(ops::GatherRows{out.view().columns(5, 7), item_table.view(), device_items.view(), state.view()});
  device().enqueue(ops::GatherRows{out.view().columns(0, 5), user_table.view(), device_users.view(), state.view()});

  std::vector<float> expected;
  for (std::size_t b = 0; b < static_cast<std::size_t>(kBatch); ++b) {
    const auto user = users.begin() + user_index[b] * 5;
    const auto item = items.begin() + item_index[b] * 7;
    expected.insert(expected.end(), user, user + 5);
    expected.insert(expected.end(), item, item + 7);
  }
  EXPECT_TRUE(bits_equal(out.values(), expected, "users and items"));
}

// Catches: a count that is taken from the buffer, which would read the index past its end.
TEST_P(GatherRowsTest, writes_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(22);
  const DeviceMatrix<float> table(device(), inputs.matrix(10, 4), 10, 4);
  const DeviceMatrix<std::int32_t> index(device(), inputs.indices(20, 10), 20);
  const std::vector<float> untouched(8 * 4, kUntouched);
  const DeviceMatrix<float> out(device(), untouched, 8, 4);
  for (const std::int64_t batch : {3, 4}) {
    const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch));
    device().enqueue(ops::GatherRows{out.view(), table.view(), index.view(), state.view()});
    EXPECT_TRUE(bits_equal(out.values(), untouched, "batch " + std::to_string(batch)));
  }
}

}  // namespace
}  // namespace curate::test
