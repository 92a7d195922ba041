#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/engine.h"
#include "tests/reference/build_segments.h"
#include "tests/reference/matrix.h"
#include "tests/reference/scatter_add_rows.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using ScatterAddRowsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(ScatterAddRowsTest);

const char* name_of_scatter(ScatterKind kind) {
  return kind == ScatterKind::atomic ? "atomic" : "segments";
}

constexpr ScatterKind kBothKinds[] = {ScatterKind::atomic, ScatterKind::segments};

TEST(ScatterAddRowsReference, hand_computed) {
  reference::Matrix table(3, 2, std::vector<double>{1, 1, 2, 2, 3, 3});
  const reference::Matrix rows(3, 2, std::vector<double>{10, 20, 30, 40, 50, 60});
  reference::scatter_add_rows(table, rows, {0, 2, 0, 2, 1}, 1, 3);
  EXPECT_EQ(table.values, (std::vector<double>{31, 41, 2, 2, 63, 83}));
}

struct Scatter {
  std::int64_t num_rows;
  std::vector<float> grad_table;
  std::vector<float> grad_rows;
  std::vector<std::int32_t> index;
};

void expect_scatter(Device& device, const Scatter& scatter, const BatchCase& test, ScatterKind kind,
                    const std::string& label) {
  const std::string where = label + ", " + name_of_scatter(kind) + ", " + test.label();
  std::vector<float> grad_rows = scatter.grad_rows;
  std::fill(grad_rows.begin() + test.count() * test.dim, grad_rows.end(), std::numeric_limits<float>::quiet_NaN());
  const DeviceMatrix<float> grad_table(device, scatter.grad_table, scatter.num_rows, test.dim, test.dim + test.padding);
  const DeviceMatrix<float> device_grad_rows(device, grad_rows, test.batch_size, test.dim, test.dim + test.padding);
  const DeviceMatrix<std::int32_t> index(device, scatter.index, test.num_ratings);
  const DeviceSegments segments(device, reference::build_segments(scatter.index, test.batch_size, kUntouchedIndex));
  const DeviceMatrix<StepState> state = on_device(device, batch_state(test.num_ratings, test.batch_size, test.batch));
  device.enqueue(ops::ScatterAddRows{grad_table.view(), device_grad_rows.view(), index.view(), segments.view(), kind,
                                     state.view()});

  reference::Matrix expected(scatter.num_rows, test.dim, scatter.grad_table);
  reference::Matrix magnitudes = expected;
  reference::Matrix exact_rows(test.batch_size, test.dim, scatter.grad_rows);
  reference::scatter_add_rows(expected, exact_rows, scatter.index, test.begin(), test.count());
  for (reference::Matrix* matrix : {&magnitudes, &exact_rows}) {
    for (double& value : matrix->values) {
      value = std::abs(value);
    }
  }
  reference::scatter_add_rows(magnitudes, exact_rows, scatter.index, test.begin(), test.count());

  // A row without ratings in the batch keeps its bits, a row with one rating is one addition, and so on.
  std::vector<std::int64_t> repeats(static_cast<std::size_t>(scatter.num_rows), 0);
  for (std::int64_t b = 0; b < test.count(); ++b) {
    const std::int32_t row = scatter.index[static_cast<std::size_t>(test.begin() + b)];
    ++repeats[static_cast<std::size_t>(row)];
  }
  const std::vector<float> got = grad_table.values();
  for (std::int64_t row = 0; row < scatter.num_rows; ++row) {
    const std::int64_t first = row * test.dim;
    const std::int64_t last = first + test.dim;
    const std::vector<float> got_row(got.begin() + first, got.begin() + last);
    const std::string at = where + ", row " + std::to_string(row);
    if (repeats[static_cast<std::size_t>(row)] == 0) {
      const std::vector<float> before(scatter.grad_table.begin() + first, scatter.grad_table.begin() + last);
      ASSERT_TRUE(bits_equal(got_row, before, at));
    } else {
      const std::vector<double> expected_row(expected.values.begin() + first, expected.values.begin() + last);
      const std::vector<double> magnitude(magnitudes.values.begin() + first, magnitudes.values.begin() + last);
      ASSERT_TRUE(dot_close(got_row, expected_row, magnitude, {repeats[static_cast<std::size_t>(row)], 1.0}, at));
    }
  }
  ASSERT_TRUE(grad_table.padding_intact()) << where;
}

Scatter random_scatter(RandomInputs& inputs, const BatchCase& test, std::int64_t num_rows, bool skewed) {
  return {num_rows, inputs.matrix(num_rows, test.dim), inputs.matrix(test.batch_size, test.dim),
          skewed ? inputs.skewed_indices(test.num_ratings, num_rows) : inputs.indices(test.num_ratings, num_rows)};
}

// Catches: additions lost where rows repeat, a table overwritten instead of added to, the segments of another batch,
// the last segment's end taken from the next slot or the capacity, rows of the gradient past the count, tails and ld.
TEST_P(ScatterAddRowsTest, matches_reference) {
  for (const BatchCase& test : batch_cases()) {
    for (const ScatterKind kind : kBothKinds) {
      RandomInputs inputs(test.seed);
      expect_scatter(device(), random_scatter(inputs, test, 37, true), test, kind, "skewed");
      if (test.batch_size <= 32) {
        expect_scatter(device(), random_scatter(inputs, test, 37, false), test, kind, "uniform");
      }
    }
  }
}

// Catches: additions lost to a race on a hot row, and a hot row that runs out of a thread's or block's share.
TEST_P(ScatterAddRowsTest, adds_every_rating_of_one_row) {
  for (const std::int64_t dim : {1, 17}) {
    for (const ScatterKind kind : kBothKinds) {
      const BatchCase test = batch_case(61, dim, 4000, 1, 0);
      RandomInputs inputs(test.seed);
      Scatter scatter = random_scatter(inputs, test, 3, true);
      scatter.index.assign(scatter.index.size(), 2);
      expect_scatter(device(), scatter, test, kind, "one row");
    }
  }
}

// Large enough that an engine shares the work among threads. Catches: segments or rows that fall between two shares.
TEST_P(ScatterAddRowsTest, matches_reference_where_threads_share_the_work) {
  for (const ScatterKind kind : kBothKinds) {
    const BatchCase test = batch_case(64, 5, 16000, 1, 0);
    RandomInputs inputs(test.seed);
    expect_scatter(device(), random_scatter(inputs, test, 6000, false), test, kind, "uniform");
    expect_scatter(device(), random_scatter(inputs, test, 6000, true), test, kind, "skewed");
  }
}

TEST_P(ScatterAddRowsTest, atomic_variant_needs_no_segments) {
  const DeviceMatrix<float> grad_table(device(), {1.0F, 2.0F}, 2);
  const DeviceMatrix<float> grad_rows(device(), {0.5F, 0.25F, 0.125F}, 3);
  const DeviceMatrix<std::int32_t> index(device(), {1, 0, 1}, 3);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(3, 3));
  device().enqueue(ops::ScatterAddRows{grad_table.view(), grad_rows.view(), index.view(), SegmentsView{},
                                       ScatterKind::atomic, state.view()});
  EXPECT_TRUE(bits_equal(grad_table.values(), std::vector<float>{1.25F, 2.625F}, "atomic"));
}

// A thread of the emulator is stopped only at what goes by a name, so that a plain addition is whole there and lost on
// a GPU: every element has to go by a reduction.
TEST(ScatterAddRowsTraffic, every_element_is_a_reduction) {
  emulator::add_emulated_engine();
  const auto device = make_device(emulator::kEmulatedDevice);
  for (const std::int64_t dim : {1, 4, 7, 16}) {
    const BatchCase test = batch_case(65, dim, 100, 2, 0);
    RandomInputs inputs(test.seed);
    const Scatter scatter = random_scatter(inputs, test, 9, true);
    const std::int64_t before = emulator::traffic().reduced;
    expect_scatter(*device, scatter, test, ScatterKind::atomic, "reductions");
    EXPECT_EQ(emulator::traffic().reduced - before, 4 * test.count() * dim) << dim << " columns";
  }
}

// Catches: sums whose order is the schedule's. Values of very different sizes make the order visible.
TEST_P(ScatterAddRowsTest, segments_give_the_same_bits_whatever_the_schedule) {
  const BatchCase test = batch_case(62, 5, 16000, 0, 0);
  RandomInputs inputs(test.seed);
  Scatter scatter = random_scatter(inputs, test, 6000, true);
  for (std::size_t i = 0; i < scatter.grad_rows.size(); ++i) {
    scatter.grad_rows[i] = std::ldexp(scatter.grad_rows[i], static_cast<int>(i * 7 % 31));
  }
  std::vector<float> first;
  for (const auto& other : devices_by_threads()) {
    for (int run = 0; run < 2; ++run) {
      const DeviceMatrix<float> grad_table(*other, scatter.grad_table, scatter.num_rows, test.dim);
      const DeviceMatrix<float> grad_rows(*other, scatter.grad_rows, test.batch_size, test.dim);
      const DeviceMatrix<std::int32_t> index(*other, scatter.index, test.num_ratings);
      const DeviceSegments segments(*other, reference::build_segments(scatter.index, test.batch_size, 0));
      const DeviceMatrix<StepState> state = on_device(*other, batch_state(test.num_ratings, test.batch_size));
      other->enqueue(ops::ScatterAddRows{grad_table.view(), grad_rows.view(), index.view(), segments.view(),
                                         ScatterKind::segments, state.view()});
      const std::vector<float> got = grad_table.values();
      if (first.empty()) {
        first = got;
      }
      EXPECT_TRUE(
          bits_equal(got, first, std::to_string(other->info().threads) + " threads, run " + std::to_string(run)));
    }
  }
}

// Catches: segment counts read past their last batch.
TEST_P(ScatterAddRowsTest, adds_nothing_past_the_end_of_the_epoch) {
  RandomInputs inputs(63);
  const std::vector<std::int32_t> host_index = inputs.indices(20, 10);
  const std::vector<float> before = inputs.matrix(10, 4);
  const DeviceMatrix<float> grad_table(device(), before, 10, 4);
  const DeviceMatrix<float> grad_rows(device(), inputs.matrix(8, 4), 8, 4);
  const DeviceMatrix<std::int32_t> index(device(), host_index, 20);
  const DeviceSegments segments(device(), reference::build_segments(host_index, 8, kUntouchedIndex));
  for (const ScatterKind kind : kBothKinds) {
    for (const std::int64_t batch : {3, 4}) {
      const DeviceMatrix<StepState> state = on_device(device(), batch_state(20, 8, batch));
      device().enqueue(
          ops::ScatterAddRows{grad_table.view(), grad_rows.view(), index.view(), segments.view(), kind, state.view()});
      EXPECT_TRUE(bits_equal(grad_table.values(), before, name_of_scatter(kind)));
    }
  }
}

}  // namespace
}  // namespace curate::test
