#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DecayRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DecayRowsTest);

// Catches: rows past the batch's count that stay (all rows decay), the tail of a row, ld, and a learning rate that is
// not the state's.
TEST_P(DecayRowsTest, matches_reference) {
  for (const std::int64_t cols : {1, 3, 4, 65, 256}) {
    for (const std::int64_t padding : {0, 3}) {
      constexpr std::int64_t kTableRows = 57;
      RandomInputs inputs(static_cast<std::uint64_t>(cols));
      const std::vector<float> values = inputs.matrix(kTableRows, cols);
      const DeviceMatrix<float> table(device(), values, kTableRows, cols, cols + padding);
      StepState step = batch_state(33, 20);
      step.learning_rate = 0.05F;
      const auto state = on_device(device(), step);
      device().enqueue(ops::DecayRows{table.view(), 3.0F, state.view()});
      std::vector<double> expected(values.begin(), values.end());
      for (double& value : expected) {
        value *= std::exp(-static_cast<double>(0.05F) * 3.0);
      }
      EXPECT_TRUE(all_close(table.values(), expected, {1e-6, 1e-6}, "table"));
    }
  }
}

}  // namespace
}  // namespace curate::test
