#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/build_segments.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using Ids = std::vector<std::int32_t>;

using BuildSegmentsTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(BuildSegmentsTest);

TEST(BuildSegmentsReference, hand_computed) {
  const reference::Segments got = reference::build_segments({7, 3, 7, 9, 9}, 3, -1);
  EXPECT_EQ(got.counts, (Ids{2, 1}));
  EXPECT_EQ(got.rows, (Ids{3, 7, -1, 9, -1}));
  EXPECT_EQ(got.starts, (Ids{0, 1, -1, 0, -1}));
  EXPECT_EQ(got.positions, (Ids{1, 0, 2, 0, 1}));
}

reference::Segments build(Device& device, const Ids& index, std::int64_t num_rows, std::int64_t batch_size,
                          std::int64_t batch) {
  const auto n = static_cast<std::int64_t>(index.size());
  const auto batches = static_cast<std::size_t>((n + batch_size - 1) / batch_size);
  const Ids unset(index.size(), kUntouchedIndex);
  const DeviceSegments out(device, {unset, unset, unset, Ids(batches, kUntouchedIndex)});
  const DeviceMatrix<std::int32_t> device_index(device, index, n);
  const DeviceMatrix<StepState> state = on_device(device, batch_state(n, batch_size, batch));
  device.enqueue(ops::BuildSegments{out.view(), device_index.view(), num_rows, state.view()});
  return {out.rows.values(), out.starts.values(), out.positions.values(), out.counts.values()};
}

/// What the contract leaves open, the slots past a batch's last segment, is set to one value.
void forget_unused_slots(reference::Segments& segments, std::int64_t batch_size) {
  for (std::size_t slot = 0; slot < segments.rows.size(); ++slot) {
    const std::size_t batch = slot / static_cast<std::size_t>(batch_size);
    const auto segment = static_cast<std::int32_t>(slot % static_cast<std::size_t>(batch_size));
    if (segment >= segments.counts.at(batch)) {
      segments.rows[slot] = kUntouchedIndex;
      segments.starts[slot] = kUntouchedIndex;
    }
  }
}

void expect_segments(Device& device, const Ids& index, std::int64_t num_rows, std::int64_t batch_size,
                     const std::string& label, std::int64_t batch = 0) {
  const reference::Segments expected = reference::build_segments(index, batch_size, kUntouchedIndex);
  reference::Segments got = build(device, index, num_rows, batch_size, batch);
  const std::string where =
      label + ", n " + std::to_string(index.size()) + ", batch_size " + std::to_string(batch_size);
  ASSERT_TRUE(bits_equal(got.counts, expected.counts, where + ", counts"));
  forget_unused_slots(got, batch_size);
  EXPECT_TRUE(bits_equal(got.rows, expected.rows, where + ", rows"));
  EXPECT_TRUE(bits_equal(got.starts, expected.starts, where + ", starts"));
  EXPECT_TRUE(bits_equal(got.positions, expected.positions, where + ", positions"));
}

const std::vector<std::int64_t>& batch_sizes() {
  static const std::vector<std::int64_t> sizes = {1, 2, 5, 32, 999, 1000, 1001, 100000};
  return sizes;
}

// Catches: segments that run across batches, positions within the epoch instead of the batch, a short last batch that
// is padded, descending or unstable positions, batches without a count.
TEST_P(BuildSegmentsTest, groups_random_rows) {
  for (const std::int64_t batch_size : batch_sizes()) {
    RandomInputs inputs(static_cast<std::uint64_t>(batch_size));
    expect_segments(device(), inputs.indices(1000, 97), 97, batch_size, "uniform");
    expect_segments(device(), inputs.skewed_indices(1000, 300), 300, batch_size, "skewed");
    expect_segments(device(), inputs.indices(1000, 100000), 100000, batch_size, "sparse");
  }
  for (const std::int64_t ratings : kSizesPastABlock) {
    RandomInputs inputs(static_cast<std::uint64_t>(ratings));
    expect_segments(device(), inputs.indices(ratings, 100000), 100000, ratings, "one batch");
  }
}

TEST_P(BuildSegmentsTest, groups_one_row) {
  for (const std::int64_t batch_size : batch_sizes()) {
    expect_segments(device(), Ids(1000, 41), 42, batch_size, "the last row always");
    expect_segments(device(), Ids(1000, 0), 1, batch_size, "a table of one row");
  }
}

TEST_P(BuildSegmentsTest, groups_distinct_rows) {
  Ids descending(1000);
  std::iota(descending.rbegin(), descending.rend(), 0);
  for (const std::int64_t batch_size : batch_sizes()) {
    expect_segments(device(), descending, 1000, batch_size, "descending");
  }
}

TEST_P(BuildSegmentsTest, groups_a_single_rating) {
  for (const std::int64_t batch_size : {1, 2, 1000}) {
    expect_segments(device(), {6}, 7, batch_size, "single");
  }
}

TEST_P(BuildSegmentsTest, an_epoch_without_ratings_is_fine) {
  EXPECT_TRUE(build(device(), {}, 10, 4, 0).rows.empty());
  EXPECT_NO_THROW(device().synchronize());
}

// Catches: sort keys with a bit too few where num_rows is at, or one past, a power of two, or where batch and row
// together need more than 32 bits.
TEST_P(BuildSegmentsTest, sorts_by_all_bits_of_the_row) {
  for (const std::int64_t num_rows : {2, 3, 255, 256, 257, 65536, 65537, 16777216, 16777217, 2147483647}) {
    RandomInputs inputs(static_cast<std::uint64_t>(num_rows));
    for (const std::int64_t batch_size : {1, 3, 400}) {
      expect_segments(device(), inputs.indices(800, num_rows), num_rows, batch_size,
                      "num_rows " + std::to_string(num_rows));
    }
  }
}

// Segments are built for all batches at once, wherever the state stands.
TEST_P(BuildSegmentsTest, groups_all_batches_from_any_batch) {
  RandomInputs inputs(8);
  const Ids index = inputs.skewed_indices(100, 10);
  for (const std::int64_t batch : {0, 1, 3, 4, 7}) {
    expect_segments(device(), index, 10, 32, "state at batch " + std::to_string(batch), batch);
  }
}

TEST_P(BuildSegmentsTest, result_does_not_depend_on_threads) {
  RandomInputs inputs(9);
  const Ids index = inputs.skewed_indices(30011, 5000);
  for (const auto& other : devices_by_threads()) {
    for (const std::int64_t batch_size : {64, 4096}) {
      expect_segments(*other, index, 5000, batch_size, std::to_string(other->info().threads) + " threads");
    }
  }
}

}  // namespace
}  // namespace curate::test
