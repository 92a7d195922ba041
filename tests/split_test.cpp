// Splits and folds: partitions of the right sizes, reproducible by seed, in time order.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"

namespace curate {
namespace {

/// Every rating tells its position: users hold it.
RatingTable make_table(std::int64_t size, bool timed, std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  RatingTable table;
  for (std::int64_t k = 0; k < size; ++k) {
    table.users.push_back(static_cast<std::int32_t>(k));
    table.items.push_back(static_cast<std::int32_t>(3 * k));
    table.ratings.push_back(static_cast<float>(k) / 2);
    if (timed) {
      table.timestamps.push_back(static_cast<std::int64_t>(random() % 50) - 10);
    }
  }
  return table;
}

/// Both parts keep the order of the table, hold whole ratings, and together are the table.
void expect_partition(const RatingTable& table, const Split& split) {
  Column<std::int32_t> all;
  for (const RatingTable* part : {&split.train, &split.test}) {
    EXPECT_TRUE(std::is_sorted(part->users.begin(), part->users.end()));
    EXPECT_EQ(part->has_timestamps(), table.has_timestamps() && part->size() > 0);
    ASSERT_EQ(part->items.size(), part->ratings.size());
    ASSERT_EQ(part->users.size(), part->ratings.size());
    for (std::size_t k = 0; k < part->ratings.size(); ++k) {
      const auto position = static_cast<std::size_t>(part->users[k]);
      ASSERT_EQ(part->items[k], table.items[position]);
      ASSERT_EQ(part->ratings[k], table.ratings[position]);
      if (table.has_timestamps()) {
        ASSERT_EQ(part->timestamps[k], table.timestamps[position]);
      }
      all.push_back(part->users[k]);
    }
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, table.users);
}

std::int64_t expected_test_size(std::int64_t size, double fraction) {
  return std::clamp<std::int64_t>(std::llround(fraction * static_cast<double>(size)), 1, size - 1);
}

void expect_input_error(const std::vector<std::string>& parts, const auto& action) {
  try {
    action();
    ADD_FAILURE() << "no InputError";
  } catch (const InputError& error) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nlacks: " << part;
    }
  }
}

TEST(Split, RandomPartitions) {
  for (const std::int64_t size : {2, 3, 10, 101, 1000}) {
    for (const double fraction : {1e-9, 0.1, 0.25, 0.5, 0.9, 1.0 - 1e-9}) {
      for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
        const RatingTable table = make_table(size, seed == 1);
        const Split split = split_random(table, fraction, seed);
        expect_partition(table, split);
        EXPECT_EQ(split.test.size(), expected_test_size(size, fraction));
      }
    }
  }
}

TEST(Split, RandomIsReproducedByItsSeed) {
  const RatingTable table = make_table(1000, false);
  EXPECT_EQ(split_random(table, 0.2, 7).test.users, split_random(table, 0.2, 7).test.users);
  EXPECT_NE(split_random(table, 0.2, 7).test.users, split_random(table, 0.2, 8).test.users);
  // The high half of the seed counts as well.
  EXPECT_NE(split_random(table, 0.2, 7).test.users, split_random(table, 0.2, 7 + (std::uint64_t{1} << 32U)).test.users);
}

TEST(Split, RandomDrawsEveryPositionAlike) {
  constexpr std::int64_t kSize = 20;
  constexpr int kSeeds = 4000;
  const RatingTable table = make_table(kSize, false);
  std::vector<int> drawn(kSize, 0);
  for (int seed = 0; seed < kSeeds; ++seed) {
    for (const std::int32_t position : split_random(table, 0.25, static_cast<std::uint64_t>(seed)).test.users) {
      ++drawn[static_cast<std::size_t>(position)];
    }
  }
  // Binomial with mean 1000 and standard deviation 27.
  for (const int count : drawn) {
    EXPECT_NEAR(count, kSeeds / 4, 140);
  }
}

TEST(Split, RandomRefusesWhatCannotBeSplit) {
  const RatingTable table = make_table(10, false);
  for (const double fraction : {0.0, 1.0, -0.1, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    expect_input_error({"between 0 and 1"}, [&] { split_random(table, fraction, 1); });
  }
  expect_input_error({"one rating", "at least two"}, [&] { split_random(make_table(1, false), 0.5, 1); });
  expect_input_error({"no ratings", "at least two"}, [&] { split_random(make_table(0, false), 0.5, 1); });
}

TEST(Split, ByTimeTakesTheLatest) {
  for (const std::int64_t size : {2, 3, 10, 101, 1000}) {
    for (const double fraction : {1e-9, 0.1, 0.5, 0.9}) {
      RatingTable table = make_table(size, true, static_cast<std::uint32_t>(size));
      table.timestamps[0] = -100;  // not all equal, however small
      const Split split = split_by_time(table, fraction);
      expect_partition(table, split);
      ASSERT_EQ(split.test.size(), expected_test_size(size, fraction));
      // No test rating comes before a train rating; of equal times, the later in the table are test.
      for (std::size_t a = 0; a < split.train.ratings.size(); ++a) {
        for (std::size_t b = 0; b < split.test.ratings.size(); ++b) {
          ASSERT_LE(split.train.timestamps[a], split.test.timestamps[b]);
          if (split.train.timestamps[a] == split.test.timestamps[b]) {
            ASSERT_LT(split.train.users[a], split.test.users[b]);
          }
        }
      }
    }
  }
}

TEST(Split, ByTimeRefusesWhatHasNoOrder) {
  expect_input_error({"no timestamps", "random split"}, [] { split_by_time(make_table(10, false), 0.1); });
  RatingTable table = make_table(10, true);
  table.timestamps.assign(10, 978300760);
  expect_input_error({"same timestamp, 978300760", "random split"}, [&] { split_by_time(table, 0.1); });
  expect_input_error({"between 0 and 1"}, [] { split_by_time(make_table(10, true), 1.0); });
  expect_input_error({"one rating"}, [] { split_by_time(make_table(1, true), 0.5); });
}

TEST(Folds, SizesDifferByOneAtMost) {
  for (const std::int64_t size : {2, 5, 7, 100, 1003}) {
    for (const std::int32_t folds : {2, 3, 5, 7}) {
      if (folds > size) {
        continue;
      }
      const std::vector<std::int32_t> fold_of = assign_folds(size, folds, 3);
      ASSERT_EQ(static_cast<std::int64_t>(fold_of.size()), size);
      std::vector<std::int64_t> count(static_cast<std::size_t>(folds), 0);
      for (const std::int32_t fold : fold_of) {
        ASSERT_GE(fold, 0);
        ASSERT_LT(fold, folds);
        ++count[static_cast<std::size_t>(fold)];
      }
      const auto [smallest, largest] = std::minmax_element(count.begin(), count.end());
      EXPECT_LE(*largest - *smallest, 1);
    }
  }
}

TEST(Folds, AreReproducedByTheirSeed) {
  EXPECT_EQ(assign_folds(500, 5, 1), assign_folds(500, 5, 1));
  EXPECT_NE(assign_folds(500, 5, 1), assign_folds(500, 5, 2));
}

TEST(Folds, TestPartsTogetherAreTheTable) {
  const RatingTable table = make_table(103, true);
  const std::vector<std::int32_t> fold_of = assign_folds(table.size(), 4, 9);
  Column<std::int32_t> tested;
  for (std::int32_t fold = 0; fold < 4; ++fold) {
    const Split split = split_fold(table, fold_of, fold);
    expect_partition(table, split);
    for (const std::int32_t position : split.test.users) {
      EXPECT_EQ(fold_of[static_cast<std::size_t>(position)], fold);
    }
    tested.insert(tested.end(), split.test.users.begin(), split.test.users.end());
  }
  std::sort(tested.begin(), tested.end());
  EXPECT_EQ(tested, table.users);
}

TEST(Folds, RefusesWhatCannotBeFolded) {
  expect_input_error({"1 fold ", "at least 2"}, [] { assign_folds(10, 1, 1); });
  expect_input_error({"-3 folds", "at least 2"}, [] { assign_folds(10, -3, 1); });
  expect_input_error({"11 folds of 10 ratings", "fewer folds"}, [] { assign_folds(10, 11, 1); });
  EXPECT_THROW(split_fold(make_table(10, false), std::vector<std::int32_t>(9, 0), 0), std::invalid_argument);
}

TEST(Select, TakesPositionsInTheirOrder) {
  const RatingTable table = make_table(10, true);
  const RatingTable picked = select(table, {7, 2, 2});
  EXPECT_EQ(picked.users, (Column<std::int32_t>{7, 2, 2}));
  EXPECT_EQ(picked.items, (Column<std::int32_t>{21, 6, 6}));
  EXPECT_EQ(picked.ratings, (Column<float>{3.5F, 1.0F, 1.0F}));
  EXPECT_EQ(picked.timestamps, (Column<std::int64_t>{table.timestamps[7], table.timestamps[2], table.timestamps[2]}));
  EXPECT_FALSE(select(make_table(10, false), {1}).has_timestamps());
  EXPECT_EQ(select(table, {}).size(), 0);
  EXPECT_THROW(select(table, {10}), std::out_of_range);
  EXPECT_THROW(select(table, {-1}), std::out_of_range);
}

}  // namespace
}  // namespace curate
