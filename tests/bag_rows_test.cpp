#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/bag_rows.h"
#include "tests/reference/matrix.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using BagRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(BagRowsTest);

constexpr BagKind kKinds[] = {BagKind::sum, BagKind::mean};
constexpr ScatterKind kScatters[] = {ScatterKind::atomic, ScatterKind::segments};

const char* name_of_kind(BagKind kind) {
  return kind == BagKind::mean ? "mean" : "sum";
}

TEST(BagRowsReference, hand_computed) {
  const reference::Matrix table(3, 2, std::vector<double>{1, 2, 3, 4, 5, 6});
  const reference::Bags bags = {{0, 2}, {}, {1, 1, 2}};
  EXPECT_EQ(reference::bag_rows(table, bags, {1, 0, 2}, false, 0, 3).values, (std::vector<double>{0, 0, 6, 8, 11, 14}));
  EXPECT_EQ(reference::bag_rows(table, bags, {1, 0, 2}, true, 1, 1).values, (std::vector<double>{3, 4}));
  reference::Matrix grad(3, 2, std::vector<double>{10, 10, 10, 10, 10, 10});
  const reference::Matrix rows(2, 2, std::vector<double>{2, 4, 3, 6});
  reference::bag_rows_backward(grad, rows, bags, {1, 0, 2}, false, 1, 2);
  EXPECT_EQ(grad.values, (std::vector<double>{12, 14, 16, 22, 15, 20}));
}

// The gradient is that of the forward pass, by finite differences of <rows, bag_rows(table)>, which is linear.
TEST(BagRowsReference, gradient_is_that_of_the_forward_pass) {
  const reference::Bags bags = {{0, 2}, {}, {1, 1, 2}};
  const std::vector<std::int32_t> index = {2, 0, 1};
  const reference::Matrix rows(3, 1, std::vector<double>{0.5, -1.5, 2.0});
  for (const bool mean : {false, true}) {
    reference::Matrix grad(3, 1);
    reference::bag_rows_backward(grad, rows, bags, index, mean, 0, 3);
    for (std::int64_t row = 0; row < 3; ++row) {
      reference::Matrix table(3, 1);
      table(row, 0) = 1.0;
      const reference::Matrix out = reference::bag_rows(table, bags, index, mean, 0, 3);
      double change = 0.0;
      for (std::int64_t b = 0; b < 3; ++b) {
        change += rows(b, 0) * out(b, 0);
      }
      EXPECT_DOUBLE_EQ(grad(row, 0), change) << "row " << row << (mean ? ", mean" : ", sum");
    }
  }
}

/// Bags of up to five rows, some empty, some with a row twice.
reference::Bags random_bags(RandomInputs& inputs, std::int64_t count, std::int64_t rows) {
  reference::Bags bags(static_cast<std::size_t>(count));
  const std::vector<std::int32_t> sizes = inputs.indices(count, 6);
  for (std::size_t bag = 0; bag < bags.size(); ++bag) {
    bags[bag] = inputs.skewed_indices(sizes[bag], rows);
  }
  return bags;
}

/// BagsView of bags.
class DeviceBags {
 public:
  DeviceBags(Device& device, const reference::Bags& bags) {
    std::vector<std::int32_t> starts = {0};
    std::vector<std::int32_t> rows;
    for (const auto& bag : bags) {
      rows.insert(rows.end(), bag.begin(), bag.end());
      starts.push_back(static_cast<std::int32_t>(rows.size()));
    }
    starts_ = std::make_unique<DeviceMatrix<std::int32_t>>(device, starts, static_cast<std::int64_t>(starts.size()));
    if (!rows.empty()) {
      rows_ = std::make_unique<DeviceMatrix<std::int32_t>>(device, rows, static_cast<std::int64_t>(rows.size()));
    }
  }
  BagsView view() const { return {starts_->view(), rows_ ? rows_->view() : MatrixView{}}; }

 private:
  std::unique_ptr<DeviceMatrix<std::int32_t>> starts_;
  std::unique_ptr<DeviceMatrix<std::int32_t>> rows_;
};

constexpr std::int64_t kRows = 19;
constexpr std::int64_t kBags = 37;

// Catches: a tail of the row lost or written too wide, an ld ignored, batch_begin ignored, rows past batch_count
// written, the bag of another rating, an empty bag that keeps what was there, a division by its size, or with `add` a
// bag that replaces what was there, or a mean over that too.
TEST_P(BagRowsTest, sums_and_means_of_bags) {
  constexpr std::int64_t kBefore = 3;
  for (const BatchCase& test : batch_cases()) {
    RandomInputs inputs(test.seed);
    const std::int64_t width = kBefore + test.dim + 2;
    const std::vector<float> values = inputs.matrix(kRows, test.dim);
    const reference::Bags bags = random_bags(inputs, kBags, kRows);
    const std::vector<std::int32_t> index = inputs.indices(test.num_ratings, kBags);
    const DeviceMatrix<float> table(device(), values, kRows, test.dim, test.dim + test.padding);
    const DeviceBags device_bags(device(), bags);
    const DeviceMatrix<std::int32_t> device_index(device(), index, test.num_ratings);
    const DeviceMatrix<StepState> state =
        on_device(device(), batch_state(test.num_ratings, test.batch_size, test.batch));
    const std::vector<float> before = inputs.matrix(test.batch_size, width);
    for (const BagKind kind : kKinds) {
      const reference::Matrix sums = reference::bag_rows(reference::Matrix(kRows, test.dim, values), bags, index,
                                                         kind == BagKind::mean, test.begin(), test.count());
      for (const bool add : {false, true}) {
        const std::string label = test.label() + ", " + name_of_kind(kind) + (add ? ", added" : "");
        const DeviceMatrix<float> out(device(), before, test.batch_size, width);
        device().enqueue(ops::BagRows{out.view().columns(kBefore, test.dim), table.view(), device_bags.view(),
                                      device_index.view(), kind, state.view(), add});
        std::vector<double> expected(before.begin(), before.end());
        for (std::int64_t b = 0; b < test.count(); ++b) {
          for (std::int64_t k = 0; k < test.dim; ++k) {
            double& value = expected[static_cast<std::size_t>(b * width + kBefore + k)];
            value = (add ? value : 0.0) + sums(b, k);
          }
        }
        ASSERT_TRUE(all_close(out.values(), expected, {1e-6, 1e-6}, label));
      }
    }
  }
}

// Catches: gradients of rows past batch_count (NaN here), a row of the table left out or taken from another slice of
// the batch, a sum that replaces what was there, a row that is twice in a bag counted once.
TEST_P(BagRowsTest, gradients_reach_every_row_of_the_bags) {
  for (const BatchCase& test : batch_cases()) {
    RandomInputs inputs(test.seed);
    const std::vector<float> before = inputs.matrix(kRows, test.dim);
    const std::vector<float> gradients = inputs.matrix(test.batch_size, test.dim);
    const reference::Bags bags = random_bags(inputs, kBags, kRows);
    const std::vector<std::int32_t> index = inputs.indices(test.num_ratings, kBags);
    std::vector<float> poisoned = gradients;
    std::fill(poisoned.begin() + test.count() * test.dim, poisoned.end(), std::numeric_limits<float>::quiet_NaN());
    const DeviceMatrix<float> grad_rows(device(), poisoned, test.batch_size, test.dim, test.dim + test.padding);
    const DeviceBags device_bags(device(), bags);
    const DeviceMatrix<std::int32_t> device_index(device(), index, test.num_ratings);
    const DeviceMatrix<StepState> state =
        on_device(device(), batch_state(test.num_ratings, test.batch_size, test.batch));
    for (const BagKind kind : kKinds) {
      reference::Matrix expected(kRows, test.dim, before);
      reference::bag_rows_backward(expected, reference::Matrix(test.batch_size, test.dim, gradients), bags, index,
                                   kind == BagKind::mean, test.begin(), test.count());
      for (const ScatterKind scatter : kScatters) {
        const std::string label =
            test.label() + ", " + name_of_kind(kind) + (scatter == ScatterKind::atomic ? ", atomic" : ", in order");
        const DeviceMatrix<float> grad_table(device(), before, kRows, test.dim, test.dim + test.padding);
        device().enqueue(ops::BagRowsBackward{grad_table.view(), grad_rows.view(), device_bags.view(),
                                              device_index.view(), kind, scatter, state.view()});
        ASSERT_TRUE(gradient_close(grad_table.values(), expected.values, 1e-5, label));
      }
    }
  }
}

// Catches: sums in another order with each run, and slices of a long batch that overlap or leave a rating out.
TEST_P(BagRowsTest, in_order_gives_the_same_bits_every_time) {
  constexpr std::int64_t kBatch = 1000;
  constexpr std::int64_t kDim = 6;
  RandomInputs inputs(31);
  const reference::Bags bags = random_bags(inputs, kBags, kRows);
  const std::vector<std::int32_t> index = inputs.indices(kBatch, kBags);
  const std::vector<float> gradients = inputs.matrix(kBatch, kDim);
  const DeviceMatrix<float> grad_rows(device(), gradients, kBatch, kDim);
  const DeviceBags device_bags(device(), bags);
  const DeviceMatrix<std::int32_t> device_index(device(), index, kBatch);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kBatch, kBatch));
  std::vector<float> first;
  for (int run = 0; run < 3; ++run) {
    const DeviceMatrix<float> grad_table(device(), std::vector<float>(kRows * kDim, 0.0F), kRows, kDim);
    device().enqueue(ops::BagRowsBackward{grad_table.view(), grad_rows.view(), device_bags.view(), device_index.view(),
                                          BagKind::mean, ScatterKind::segments, state.view()});
    if (run == 0) {
      first = grad_table.values();
      reference::Matrix expected(kRows, kDim);
      reference::bag_rows_backward(expected, reference::Matrix(kBatch, kDim, gradients), bags, index, true, 0, kBatch);
      ASSERT_TRUE(gradient_close(first, expected.values, 1e-5, "1000 ratings, seed 31"));
    }
    ASSERT_TRUE(bits_equal(grad_table.values(), first, "run " + std::to_string(run)));
  }
}

TEST_P(BagRowsTest, empty_bags_give_zeros_and_no_gradient) {
  const DeviceMatrix<float> table(device(), {1, 2, 3, 4}, 2, 2);
  const DeviceBags bags(device(), {{}, {}});
  const DeviceMatrix<std::int32_t> index(device(), {1, 0, 1}, 3);
  const DeviceMatrix<float> rows(device(), std::vector<float>(6, kUntouched), 3, 2);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(3, 3));
  for (const BagKind kind : kKinds) {
    device().enqueue(ops::BagRows{rows.view(), table.view(), bags.view(), index.view(), kind, state.view()});
    EXPECT_EQ(rows.values(), std::vector<float>(6, 0.0F)) << name_of_kind(kind);
    for (const ScatterKind scatter : kScatters) {
      device().enqueue(
          ops::BagRowsBackward{table.view(), rows.view(), bags.view(), index.view(), kind, scatter, state.view()});
      EXPECT_EQ(table.values(), (std::vector<float>{1, 2, 3, 4})) << name_of_kind(kind);
    }
  }
}

}  // namespace
}  // namespace curate::test
