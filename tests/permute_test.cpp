#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "device/device.h"
#include "support/philox.h"
#include "tests/reference/permute.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using PermuteTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(PermuteTest);

std::uint64_t shuffle_key(std::uint64_t seed, std::uint64_t element, std::uint32_t epoch) {
  return philox(seed, element, epoch, RandomPurpose::shuffle).low64();
}

TEST(PermuteReference, hand_computed) {
  // Two ratings: whichever key is smaller comes first.
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const bool swapped = shuffle_key(seed, 1, 3) < shuffle_key(seed, 0, 3);
    const std::vector<std::int32_t> expected =
        swapped ? std::vector<std::int32_t>{1, 0} : std::vector<std::int32_t>{0, 1};
    EXPECT_EQ(reference::epoch_order(seed, 3, 2), expected) << "seed " << seed;
  }
}

/// A published answer of Philox4x32-10 (Random123's kat_vectors): the order of an epoch must survive another
/// implementation of the generator.
TEST(PermuteReference, keys_come_from_philox4x32_10) {
  const PhiloxWords zero = philox(0, 0, 0, static_cast<RandomPurpose>(0));
  EXPECT_EQ(zero.word[0], 0x6627e8d5U);
  EXPECT_EQ(zero.word[1], 0xe169c58dU);
  EXPECT_EQ(zero.word[2], 0xbc57ac4cU);
  EXPECT_EQ(zero.word[3], 0x9b00dbd8U);
  EXPECT_EQ(zero.low64(), 0xe169c58d6627e8d5ULL);
  // Counter and key of this answer are digits of pi; it tells the words of both apart.
  const PhiloxWords pi =
      philox(0x299f31d0a4093822ULL, 0x85a308d3243f6a88ULL, 0x13198a2eU, static_cast<RandomPurpose>(0x03707344U));
  EXPECT_EQ(pi.word[0], 0xd16cfe09U);
  EXPECT_EQ(pi.word[1], 0x94fdccebU);
  EXPECT_EQ(pi.word[2], 0x5001e420U);
  EXPECT_EQ(pi.word[3], 0x24126ea1U);
}

struct Permuted {
  std::vector<std::int32_t> order;
  HostRatings ratings;
};

Permuted permute(Device& device, const HostRatings& host, std::uint64_t seed, std::int64_t epoch) {
  const std::int64_t n = host.size();
  const DeviceRatings in(device, host);
  const DeviceRatings out(device, {std::vector<std::int32_t>(host.users.size(), kUntouchedIndex),
                                   std::vector<std::int32_t>(host.users.size(), kUntouchedIndex),
                                   std::vector<float>(host.users.size(), kUntouched)});
  const DeviceMatrix<std::int32_t> order(device, std::vector<std::int32_t>(host.users.size(), kUntouchedIndex), n);
  StepState at = batch_state(n, std::max<std::int64_t>(n / 3, 1));
  at.seed = seed;
  at.epoch = epoch;
  const DeviceMatrix<StepState> state = on_device(device, at);
  device.enqueue(ops::Permute{out.view(), order.view(), in.view(), state.view()});
  return {order.values(), {out.users.values(), out.items.values(), out.ratings.values()}};
}

HostRatings random_ratings(RandomInputs& inputs, std::int64_t n) {
  return {inputs.indices(n, 1 << 20), inputs.indices(n, 1 << 20), inputs.matrix(n, 1)};
}

// Catches: keys of another counter or purpose, 32-bit or signed keys, a sort that drops or repeats ratings, arrays that
// are permuted by the inverse order or not all alike, sizes that a block or a thread does not divide.
TEST_P(PermuteTest, sorts_ratings_by_their_keys) {
  for (const std::int64_t n : {1, 2, 3, 31, 32, 33, 65, 257, 513, 1000, 70001}) {
    RandomInputs inputs(static_cast<std::uint64_t>(n) + 0xfedcba9876543210ULL);
    const std::string label = std::to_string(n) + " ratings, seed " + std::to_string(inputs.seed());
    const HostRatings host = random_ratings(inputs, n);
    const Permuted got = permute(device(), host, inputs.seed(), 5);
    const std::vector<std::int32_t> order = reference::epoch_order(inputs.seed(), 5, n);
    ASSERT_TRUE(bits_equal(got.order, order, label + ", order"));
    HostRatings expected;
    for (const std::int32_t e : order) {
      expected.users.push_back(host.users[static_cast<std::size_t>(e)]);
      expected.items.push_back(host.items[static_cast<std::size_t>(e)]);
      expected.ratings.push_back(host.ratings[static_cast<std::size_t>(e)]);
    }
    EXPECT_TRUE(bits_equal(got.ratings.users, expected.users, label + ", users"));
    EXPECT_TRUE(bits_equal(got.ratings.items, expected.items, label + ", items"));
    EXPECT_TRUE(bits_equal(got.ratings.ratings, expected.ratings, label + ", ratings"));
  }
}

// Independent of the reference: catches a mistake that both would share.
TEST_P(PermuteTest, order_is_a_shuffled_permutation) {
  constexpr std::int64_t kRatings = 5000;
  RandomInputs inputs(3);
  const Permuted got = permute(device(), random_ratings(inputs, kRatings), 3, 0);
  std::vector<std::int32_t> sorted = got.order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::int32_t> all(kRatings);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(sorted, all);
  // A random permutation leaves about one rating in place and moves the mean rating by a third of the length.
  std::int64_t fixed = 0;
  std::int64_t distance = 0;
  for (std::int32_t j = 0; j < kRatings; ++j) {
    const std::int32_t moved = std::abs(got.order[static_cast<std::size_t>(j)] - j);
    fixed += moved == 0 ? 1 : 0;
    distance += moved;
  }
  EXPECT_LT(fixed, 12);
  EXPECT_NEAR(static_cast<double>(distance) / kRatings, kRatings / 3.0, kRatings / 30.0);
}

// Catches: an epoch or seed (either half of it) that is not part of the key.
TEST_P(PermuteTest, order_differs_between_epochs_and_seeds) {
  constexpr std::int64_t kRatings = 100;
  RandomInputs inputs(4);
  const HostRatings host = random_ratings(inputs, kRatings);
  const std::vector<std::int32_t> first = permute(device(), host, 7, 0).order;
  EXPECT_EQ(permute(device(), host, 7, 0).order, first);
  EXPECT_NE(permute(device(), host, 7, 1).order, first);
  EXPECT_NE(permute(device(), host, 8, 0).order, first);
  EXPECT_NE(permute(device(), host, 7 + (1ULL << 32U), 0).order, first);
}

TEST_P(PermuteTest, order_does_not_depend_on_threads) {
  constexpr std::int64_t kRatings = 20011;
  RandomInputs inputs(5);
  const HostRatings host = random_ratings(inputs, kRatings);
  const std::vector<std::int32_t> expected = reference::epoch_order(11, 2, kRatings);
  for (const auto& other : devices_by_threads()) {
    EXPECT_TRUE(
        bits_equal(permute(*other, host, 11, 2).order, expected, std::to_string(other->info().threads) + " threads"));
  }
}

TEST_P(PermuteTest, an_epoch_without_ratings_is_fine) {
  const Permuted got = permute(device(), {}, 1, 0);
  EXPECT_NO_THROW(device().synchronize());
  EXPECT_TRUE(got.order.empty());
}

// The driver permutes from the ratings as loaded, every epoch anew: they must stay as they are.
TEST_P(PermuteTest, input_stays_as_it_is) {
  constexpr std::int64_t kRatings = 1000;
  RandomInputs inputs(6);
  const HostRatings host = random_ratings(inputs, kRatings);
  const DeviceRatings in(device(), host);
  const DeviceRatings out(device(), host);
  const DeviceMatrix<std::int32_t> order(device(), std::vector<std::int32_t>(kRatings, 0), kRatings);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(kRatings, 100));
  device().enqueue(ops::Permute{out.view(), order.view(), in.view(), state.view()});
  EXPECT_TRUE(bits_equal(in.users.values(), host.users, "users"));
  EXPECT_TRUE(bits_equal(in.items.values(), host.items, "items"));
  EXPECT_TRUE(bits_equal(in.ratings.values(), host.ratings, "ratings"));
}

}  // namespace
}  // namespace curate::test
