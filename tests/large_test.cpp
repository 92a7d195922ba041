// Tables of more than 2^31 elements. Of the 9 GB that they are, only the pages that are used take memory.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

using LargeTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(LargeTest);

constexpr std::int64_t kDim = 64;
constexpr std::int64_t kRows = (std::int64_t{1} << 31U) / kDim + 1000;

/// The last rows of a table as a matrix of its own.
MatrixView last_rows(const Buffer& table, std::int64_t rows) {
  return table.view(DType::f32, rows, kDim, 0, (kRows - rows) * kDim);
}

// Catches: offsets of 32 bits, which wrap around to the table's first rows.
TEST_P(LargeTest, rows_past_two_to_the_31st_element) {
  emulator::set_memory(std::size_t{20} << 30U);
  Buffer table;
  Buffer gradient;
  try {
    table = device().allocate_array<float>(kRows * kDim);
    gradient = device().allocate_array<float>(kRows * kDim);
  } catch (const DeviceError& error) {
    const char* const ci = std::getenv("CI");
    ASSERT_FALSE(ci != nullptr && std::string(ci) == "true") << error.what() << "; with CI=true there has to be room";
    GTEST_SKIP() << error.what();
  }
  const MatrixView whole = table.view(DType::f32, kRows, kDim);
  const MatrixView whole_gradient = gradient.view(DType::f32, kRows, kDim);
  std::vector<float> values(4 * kDim);
  std::iota(values.begin(), values.end(), 1.0F);
  device().upload(last_rows(table, 4), std::span<const float>(values));
  device().zero(last_rows(gradient, 4));

  const std::vector<std::int32_t> rows = {kRows - 1, kRows - 4, kRows - 1};
  const DeviceMatrix<std::int32_t> index(device(), rows, 3);
  const DeviceMatrix<float> gathered(device(), std::vector<float>(3 * kDim, 0.0F), 3, kDim);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(3, 3));
  const DeviceSegments segments(device(), reference::build_segments(rows, 3, kUntouchedIndex));
  device().enqueue(ops::GatherRows{gathered.view(), whole, index.view(), state.view()});
  std::vector<float> expected(values.end() - kDim, values.end());
  expected.insert(expected.end(), values.begin(), values.begin() + kDim);
  expected.insert(expected.end(), values.end() - kDim, values.end());
  EXPECT_TRUE(bits_equal(gathered.values(), expected, "gather_rows"));

  for (const ScatterKind kind : {ScatterKind::atomic, ScatterKind::segments}) {
    device().enqueue(
        ops::ScatterAddRows{whole_gradient, gathered.view(), index.view(), segments.view(), kind, state.view()});
  }
  std::vector<float> sums(4 * kDim);
  device().download(std::span<float>(sums), last_rows(gradient, 4));
  for (std::size_t k = 0; k < static_cast<std::size_t>(kDim); ++k) {
    EXPECT_EQ(sums[k], 2.0F * values[k]);
    EXPECT_EQ(sums[kDim + k], 0.0F);
    EXPECT_EQ(sums[3 * kDim + k], 4.0F * values[3 * kDim + k]);
  }

  OptimizerParams sgd;
  device().enqueue(ops::UpdateRows{{whole, whole_gradient, {}, {}}, segments.view(), sgd, state.view()});
  device().download(std::span<float>(sums), last_rows(gradient, 4));
  EXPECT_EQ(sums, std::vector<float>(4 * kDim, 0.0F));
}

}  // namespace
}  // namespace curate::test
