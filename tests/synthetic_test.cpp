// The generator of synthetic ratings, and writing data sets.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/write_dataset.h"
#include "tests/support/mean.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

double sd_of(const Column<float>& values) {
  const double mean = mean_of(values);
  double sum = 0.0;
  for (const float value : values) {
    sum += (value - mean) * (value - mean);
  }
  return std::sqrt(sum / static_cast<double>(values.size()));
}

/// How often every raw id, 1..map.size(), occurs.
std::vector<int> counts_of(const Column<std::int32_t>& ids, const IdMap& map) {
  std::vector<int> counts(static_cast<std::size_t>(map.size()), 0);
  for (const std::int32_t id : ids) {
    ++counts.at(static_cast<std::size_t>(map.raw(id) - 1));
  }
  return counts;
}

SyntheticOptions sizes(std::int32_t users, std::int32_t items, std::int64_t ratings) {
  SyntheticOptions options;
  options.users = users;
  options.items = items;
  options.ratings = ratings;
  return options;
}

TEST(Synthetic, MeetsEverySizeWithDistinctPairs) {
  const std::vector<SyntheticOptions> cases = {
      sizes(1000, 500, 50000), sizes(1, 1, 1),     sizes(3, 2, 6),        sizes(50, 40, 2000),    sizes(50, 40, 1999),
      sizes(50, 40, 90),       sizes(50, 40, 40),  sizes(50, 40, 1),      sizes(1, 1000, 300),    sizes(1000, 1, 300),
      sizes(7, 300, 307),      sizes(300, 7, 307), sizes(2000, 30, 2030), sizes(100, 5000, 20000)};
  for (const SyntheticOptions& options : cases) {
    SCOPED_TRACE(::testing::Message() << options.users << " x " << options.items << ", " << options.ratings);
    const Dataset dataset = generate_dataset(options).dataset;
    const RatingTable& table = dataset.ratings;
    ASSERT_EQ(table.size(), options.ratings);
    ASSERT_EQ(table.users.size(), table.ratings.size());
    ASSERT_EQ(table.items.size(), table.ratings.size());
    ASSERT_EQ(table.timestamps.size(), table.ratings.size());
    std::set<std::pair<std::int64_t, std::int64_t>> pairs;
    for (std::size_t k = 0; k < table.ratings.size(); ++k) {
      const std::int64_t user = dataset.users.raw(table.users[k]);
      const std::int64_t item = dataset.items.raw(table.items[k]);
      ASSERT_TRUE(user >= 1 && user <= options.users);
      ASSERT_TRUE(item >= 1 && item <= options.items);
      pairs.emplace(user, item);
      const float doubled = 2.0F * table.ratings[k];
      ASSERT_EQ(doubled, std::round(doubled));
      ASSERT_TRUE(doubled >= 1.0F && doubled <= 10.0F);
      ASSERT_GT(table.timestamps[k], 800000000);
      ASSERT_LT(table.timestamps[k], 2000000000);
    }
    EXPECT_EQ(static_cast<std::int64_t>(pairs.size()), options.ratings);
    if (options.ratings >= options.users + options.items) {
      EXPECT_EQ(dataset.users.size(), options.users);
      EXPECT_EQ(dataset.items.size(), options.items);
    }
    EXPECT_EQ(dataset.item_info.size(), static_cast<std::size_t>(dataset.items.size()));
    EXPECT_EQ(dataset.scale.step, 0.5F);
  }
}

TEST(Synthetic, SpreadsNicely) {
  for (const double noise : {0.0, 0.4, 0.8}) {
    SyntheticOptions options = sizes(2000, 1000, 100000);
    options.noise = noise;
    const Column<float> ratings = generate_dataset(options).dataset.ratings.ratings;
    EXPECT_NEAR(mean_of(ratings), 3.5, 0.15) << noise;
    EXPECT_NEAR(sd_of(ratings), 0.95, 0.06) << noise;  // clamping takes some
  }
}

TEST(Synthetic, PopularityAndActivityHaveHeavyTails) {
  const Dataset dataset = generate_dataset(sizes(3000, 2000, 200000)).dataset;
  for (std::vector<int> counts :
       {counts_of(dataset.ratings.users, dataset.users), counts_of(dataset.ratings.items, dataset.items)}) {
    // Ids tell nothing: either half of them has about the same share.
    const auto half = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
    EXPECT_NEAR(std::accumulate(counts.begin(), half, 0), 100000, 15000);
    std::sort(counts.begin(), counts.end(), std::greater<>());
    EXPECT_GT(counts.front(), 8 * counts[counts.size() / 2]);
    const auto tenth = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 10);
    EXPECT_GT(std::accumulate(counts.begin(), tenth, 0), 60000);
  }
}

TEST(Synthetic, IsReproducedByItsSeed) {
  SyntheticOptions options = sizes(200, 100, 3000);
  const SyntheticDataset first = generate_dataset(options);
  const SyntheticDataset again = generate_dataset(options);
  EXPECT_EQ(first.dataset.ratings.users, again.dataset.ratings.users);
  EXPECT_EQ(first.dataset.ratings.items, again.dataset.ratings.items);
  EXPECT_EQ(first.dataset.ratings.ratings, again.dataset.ratings.ratings);
  EXPECT_EQ(first.dataset.ratings.timestamps, again.dataset.ratings.timestamps);
  EXPECT_EQ(first.dataset.title(5), again.dataset.title(5));
  EXPECT_EQ(first.best_rmse, again.best_rmse);
  options.seed = 2;
  const SyntheticDataset other = generate_dataset(options);
  EXPECT_NE(first.dataset.ratings.items, other.dataset.ratings.items);
  EXPECT_NE(first.dataset.ratings.ratings, other.dataset.ratings.ratings);
}

TEST(Synthetic, ItemsHaveTitlesAndGenres) {
  const Dataset dataset = generate_dataset(sizes(100, 400, 5000)).dataset;
  for (std::int32_t item = 0; item < dataset.items.size(); ++item) {
    const std::string& title = dataset.title(item);
    const std::string start = "Synthetic film " + std::to_string(dataset.items.raw(item)) + " (";
    ASSERT_EQ(title.substr(0, start.size()), start);
    const int year = std::stoi(title.substr(start.size()));
    ASSERT_TRUE(year >= 1900 && year <= 2025) << title;
    std::vector<std::string> genres;
    std::string rest = dataset.item_info[static_cast<std::size_t>(item)].genres;
    for (std::size_t bar = 0; bar != std::string::npos; rest = bar == std::string::npos ? "" : rest.substr(bar + 1)) {
      bar = rest.find('|');
      genres.push_back(rest.substr(0, bar));
      ASSERT_FALSE(genres.back().empty());
    }
    ASSERT_LE(genres.size(), 3U);
    ASSERT_EQ(std::set<std::string>(genres.begin(), genres.end()).size(), genres.size());
  }
}

/// What best_rmse should be near, by simulation: scores from the planted distribution, for each the mean of many
/// ratings drawn for it, and the error of further ratings about that mean.
double simulated_best_rmse(const SyntheticOptions& options, double score_variance) {
  std::mt19937_64 random(11);
  std::normal_distribution<double> normal;
  const double factor_sd = std::pow(0.5 * score_variance / options.rank, 0.25);
  constexpr int kScores = 4000;
  constexpr int kDraws = 500;
  double squared = 0.0;
  for (int k = 0; k < kScores; ++k) {
    double score = 3.5 + std::sqrt(0.5 * score_variance) * normal(random);  // both biases
    for (int factor = 0; factor < options.rank; ++factor) {
      score += factor_sd * normal(random) * factor_sd * normal(random);
    }
    double sum = 0.0;
    double sum_of_squares = 0.0;
    for (int draw = 0; draw < kDraws; ++draw) {
      const double rating =
          std::min(5.0, std::max(0.5, std::round(2.0 * (score + options.noise * normal(random))) / 2.0));
      sum += rating;
      sum_of_squares += rating * rating;
    }
    squared += (sum_of_squares - sum * sum / kDraws) / (kDraws - 1);
  }
  return std::sqrt(squared / kScores);
}

TEST(Synthetic, BestRmseAgreesWithASimulation) {
  SyntheticOptions options = sizes(4000, 3000, 200000);
  options.rank = 8;
  for (const auto& [noise, score_variance] : {std::pair{0.1, 0.99}, {0.3, 0.91}, {0.8, 0.36}, {2.0, 0.25}}) {
    options.noise = noise;
    const double simulated = simulated_best_rmse(options, score_variance);
    EXPECT_NEAR(generate_dataset(options).best_rmse, simulated, 0.025 * simulated) << noise;
  }
}

TEST(Synthetic, BestRmseAtTheExtremesOfNoise) {
  SyntheticOptions options = sizes(300, 200, 20000);
  options.noise = 0.0;
  EXPECT_EQ(generate_dataset(options).best_rmse, 0.0);
  // All ratings are the lowest or the highest, by the flip of a coin.
  options.noise = 1e6;
  const SyntheticDataset loud = generate_dataset(options);
  EXPECT_NEAR(loud.best_rmse, 2.25, 0.001);
  EXPECT_NEAR(mean_of(loud.dataset.ratings.ratings), 2.75, 0.05);
}

TEST(Synthetic, BestRmseIsBelowThatOfTheMeans) {
  const SyntheticDataset generated = generate_dataset(sizes(2000, 1000, 100000));
  const RatingTable& table = generated.dataset.ratings;
  EXPECT_LT(generated.best_rmse, 0.9 * sd_of(table.ratings));
  // Noise and rounding remain, less what clamping takes away.
  EXPECT_GT(generated.best_rmse, 0.9 * 0.8);
}

TEST(Synthetic, RefusesImpossibleSizes) {
  const auto expect_refused = [](const SyntheticOptions& options, const std::string& what, const std::string& remedy) {
    try {
      generate_dataset(options);
      ADD_FAILURE() << "no InputError for: " << what;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(remedy), std::string::npos) << error.what();
    }
  };
  expect_refused(sizes(0, 5, 5), "0 users", "at least 1");
  expect_refused(sizes(5, -1, 5), "-1 items", "at least 1");
  expect_refused(sizes(5, 5, 0), "0 ratings", "at least 1");
  expect_refused(sizes(5, 5, 26), "5 users and 5 items make 25 pairs", "fewer ratings");
  expect_refused(sizes(2147483647, 2147483647, std::numeric_limits<std::int64_t>::max()), "do not fit",
                 "fewer ratings");
  SyntheticOptions options;
  options.rank = 0;
  expect_refused(options, "rank 0", "give 1 to");
  options = {};
  options.noise = -0.1;
  expect_refused(options, "noise -0.1", "0 or more");
  options.noise = std::numeric_limits<double>::quiet_NaN();
  expect_refused(options, "noise nan", "0 or more");
  options.noise = std::numeric_limits<double>::infinity();
  expect_refused(options, "noise inf", "0 or more");
}

class WriteDatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_write_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void expect_same(const Dataset& dataset, const Dataset& other) {
    EXPECT_EQ(dataset.ratings.users, other.ratings.users);
    EXPECT_EQ(dataset.ratings.items, other.ratings.items);
    EXPECT_EQ(dataset.ratings.ratings, other.ratings.ratings);
    EXPECT_EQ(dataset.ratings.timestamps, other.ratings.timestamps);
    ASSERT_EQ(dataset.users.size(), other.users.size());
    ASSERT_EQ(dataset.items.size(), other.items.size());
    for (std::int32_t user = 0; user < dataset.users.size(); ++user) {
      ASSERT_EQ(dataset.users.raw(user), other.users.raw(user));
    }
    for (std::int32_t item = 0; item < dataset.items.size(); ++item) {
      const auto index = static_cast<std::size_t>(item);
      ASSERT_EQ(dataset.items.raw(item), other.items.raw(item));
      ASSERT_EQ(dataset.title(item), other.title(item));
      ASSERT_EQ(index < dataset.item_info.size() ? dataset.item_info[index].genres : "",
                index < other.item_info.size() ? other.item_info[index].genres : "");
    }
  }

  std::string read(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path folder_;
};

TEST_F(WriteDatasetTest, ReadsBackTheSame) {
  const Dataset dataset = generate_dataset(sizes(300, 200, 10000)).dataset;
  const std::string target = (folder_ / "new" / "set").string();
  write_movielens(dataset, target);
  const Dataset back = read_dataset(target);
  EXPECT_EQ(back.layout, "ml-csv");
  EXPECT_EQ(back.duplicates, 0);
  expect_same(dataset, back);
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(target)) {
    files.push_back(entry.path().filename().string());
  }
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, (std::vector<std::string>{"movies.csv", "ratings.csv"}));
}

TEST_F(WriteDatasetTest, QuotesWhatNeedsIt) {
  Dataset dataset;
  const std::vector<ItemInfo> infos = {{"Slingshot, The (1993)", "Comedy|Drama"},
                                       {"11'09\"01 - September 11", ""},
                                       {" blanks ", "a, b"},
                                       {"two\nlines", "War"},
                                       {"Misérables\r", "War"},
                                       {"\"quoted\"", "War"}};
  const Column<float> ratings = {0.1F, 3.3333333F, 1e-8F, -2.5F, 16777215.0F, 5.0F, 4.5F};
  for (std::size_t k = 0; k < ratings.size(); ++k) {
    dataset.ratings.users.push_back(dataset.users.find_or_add(std::numeric_limits<std::int64_t>::min()));
    dataset.ratings.items.push_back(
        dataset.items.find_or_add(std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(k)));
  }
  dataset.ratings.ratings = ratings;
  dataset.item_info = infos;  // one less than there are items
  write_movielens(dataset, folder_.string());
  const Dataset back = read_dataset((folder_ / "ratings.csv").string());
  EXPECT_FALSE(back.ratings.has_timestamps());
  expect_same(dataset, back);
}

TEST_F(WriteDatasetTest, WritesTheMovielensLayout) {
  Dataset dataset;
  dataset.ratings.users = {dataset.users.find_or_add(7), dataset.users.find_or_add(8)};
  dataset.ratings.items = {dataset.items.find_or_add(31), dataset.items.find_or_add(31)};
  dataset.ratings.ratings = {2.5F, 3.0F};
  dataset.ratings.timestamps = {1260759144, 0};
  dataset.item_info = {{"Cats, \"Great\" (1998)", ""}};
  write_movielens(dataset, folder_.string());
  EXPECT_EQ(read("ratings.csv"), "userId,movieId,rating,timestamp\n7,31,2.5,1260759144\n8,31,3.0,0\n");
  EXPECT_EQ(read("movies.csv"), "movieId,title,genres\n31,\"Cats, \"\"Great\"\" (1998)\",(no genres listed)\n");
}

TEST_F(WriteDatasetTest, OverwritesNothing) {
  const Dataset dataset = generate_dataset(sizes(3, 2, 6)).dataset;
  for (const std::string name : {"ratings.csv", "movies.csv"}) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::ofstream(folder_ / name) << "precious";
    try {
      write_movielens(dataset, folder_.string());
      ADD_FAILURE() << "no InputError";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find((folder_ / name).string() + ": this file exists already; remove it"),
                std::string::npos)
          << error.what();
    }
    EXPECT_EQ(read(name), "precious");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
  }
}

TEST_F(WriteDatasetTest, RefusesWhatCannotBeWritten) {
  EXPECT_THROW(write_movielens(Dataset{}, (folder_ / "empty").string()), InputError);
  EXPECT_FALSE(fs::exists(folder_ / "empty"));
  const Dataset dataset = generate_dataset(sizes(3, 2, 6)).dataset;
  std::ofstream(folder_ / "file") << "x";
  EXPECT_THROW(write_movielens(dataset, (folder_ / "file").string()), InputError);
  EXPECT_THROW(write_movielens(dataset, (folder_ / "file" / "below").string()), Error);
}

}  // namespace
}  // namespace curate
