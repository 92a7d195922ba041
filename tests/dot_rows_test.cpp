#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/dot_rows.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using DotRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(DotRowsTest);

TEST(DotRowsReference, hand_computed) {
  HostMf rows{2, 2, 3, {1, 2, 3, 1, 0, -1}, {4, -5, 6, 2, 9, 3}, {0.5F, 1.0F}, {-0.25F, 2.0F}, 3.5F};
  EXPECT_EQ(reference::dot_rows(reference::to_reference(rows), 2), (std::vector<double>{15.75, 5.5}));
  EXPECT_EQ(reference::dot_rows_magnitudes(reference::to_reference(rows), 2), (std::vector<double>{36.25, 11.5}));
  rows.user_bias.clear();
  EXPECT_EQ(reference::dot_rows(reference::to_reference(rows), 2), (std::vector<double>{15.25, 4.5}));
  rows.item_bias.clear();
  EXPECT_EQ(reference::dot_rows(reference::to_reference(rows), 1), (std::vector<double>{15.5}));
}

/// The rows past the count of a batch hold what the last full batch left there, or nothing sensible at all.
void poison_rows_past(HostMf& rows, std::int64_t count) {
  for (std::vector<float>* values : {&rows.user, &rows.item}) {
    std::fill(values->begin() + count * rows.dim, values->end(), kNan);
  }
  for (std::vector<float>* values : {&rows.user_bias, &rows.item_bias}) {
    if (!values->empty()) {
      std::fill(values->begin() + count, values->end(), kNan);
    }
  }
}

// Catches: a tail of the dot lost or read beyond dim, an ld ignored (biases too), a bias taken for the other or missed
// when it is alone, the mean missed or added per rating more than once, predictions past the count overwritten.
TEST_P(DotRowsTest, matches_reference) {
  for (const BatchCase& test : batch_cases()) {
    for (const Biases& biases : all_biases()) {
      if (test.batch_size == 1000 && biases.user != biases.item) {
        continue;  // time: the small batches have every combination
      }
      const std::string label = test.label() + biases.label();
      RandomInputs inputs(test.seed);
      HostMf rows = random_mf(inputs, test.batch_size, test.batch_size, test.dim, biases);
      const reference::Mf exact = reference::to_reference(rows);
      poison_rows_past(rows, test.count());

      const DeviceMf device_rows(device(), rows, test.padding);
      const DeviceMatrix<float> prediction(
          device(), std::vector<float>(static_cast<std::size_t>(test.batch_size), kUntouched), test.batch_size);
      const DeviceMatrix<StepState> state =
          on_device(device(), batch_state(test.num_ratings, test.batch_size, test.batch));
      device().enqueue(ops::DotRows{prediction.view(), device_rows.rows(), state.view()});

      std::vector<float> got = prediction.values();
      for (std::int64_t b = test.count(); b < test.batch_size; ++b) {
        ASSERT_EQ(got[static_cast<std::size_t>(b)], kUntouched) << label << ", row " << b << " past the count";
      }
      got.resize(static_cast<std::size_t>(test.count()));
      ASSERT_TRUE(dot_close(got, reference::dot_rows(exact, test.count()),
                            reference::dot_rows_magnitudes(exact, test.count()), {test.dim + 3}, label));
    }
  }
}

TEST_P(DotRowsTest, writes_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(31);
  const DeviceMf rows(device(), random_mf(inputs, 8, 8, 4, {}));
  const std::vector<float> untouched(8, kUntouched);
  const DeviceMatrix<float> prediction(device(), untouched, 8);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, 3));
  device().enqueue(ops::DotRows{prediction.view(), rows.rows(), state.view()});
  EXPECT_TRUE(bits_equal(prediction.values(), untouched, "batch past the end"));
}

// Catches: a sum whose order depends on which thread gets which rows.
TEST_P(DotRowsTest, bits_do_not_depend_on_threads_or_runs) {
  constexpr std::int64_t kBatch = 777;
  RandomInputs inputs(32);
  const HostMf rows = random_mf(inputs, kBatch, kBatch, 100, {});
  std::vector<float> first;
  for (const auto& other : devices_by_threads()) {
    for (int run = 0; run < 2; ++run) {
      const DeviceMf device_rows(*other, rows);
      const DeviceMatrix<float> prediction(*other, std::vector<float>(kBatch, kUntouched), kBatch);
      const DeviceMatrix<StepState> state = on_device(*other, batch_state(kBatch, kBatch));
      other->enqueue(ops::DotRows{prediction.view(), device_rows.rows(), state.view()});
      if (first.empty()) {
        first = prediction.values();
      }
      EXPECT_TRUE(bits_equal(prediction.values(), first, std::to_string(other->info().threads) + " threads"));
    }
  }
}

}  // namespace
}  // namespace curate::test
