// Data sets like releases of MovieLens.

#include "data/movielens_like.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <numbers>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/film_names.h"
#include "data/movielens.h"
#include "data/movielens_shape.h"
#include "data/write_layouts.h"
#include "data/write_movielens_like.h"
#include "support/alias_table.h"
#include "support/normal_quantile.h"
#include "support/ordered_file.h"
#include "support/thread_pool.h"
#include "tests/support/mean.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

MovielensLikeOptions like(const std::string& name, double scale, std::uint64_t seed = 1) {
  MovielensLikeOptions options;
  options.like = name;
  options.scale = scale;
  options.seed = seed;
  return options;
}

const std::vector<std::string>& names() {
  static const std::vector<std::string> kNames = {"ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m"};
  return kNames;
}

/// How often every dense id occurs.
std::vector<std::int64_t> counts_of(const Column<std::int32_t>& ids, std::int32_t size) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size), 0);
  for (const std::int32_t id : ids) {
    ++counts.at(static_cast<std::size_t>(id));
  }
  return counts;
}

/// Everything that the shape promises, but for the most rated item and the mean.
void expect_shape(const Dataset& dataset, const MovielensShape& shape) {
  const RatingTable& table = dataset.ratings;
  ASSERT_EQ(table.size(), shape.ratings);
  ASSERT_EQ(dataset.users.size(), shape.users);
  ASSERT_EQ(dataset.items.size(), shape.items);
  ASSERT_EQ(table.timestamps.size(), table.ratings.size());
  const std::vector<std::int64_t> of_user = counts_of(table.users, dataset.users.size());
  EXPECT_EQ(*std::min_element(of_user.begin(), of_user.end()), 20);
  EXPECT_EQ(*std::max_element(of_user.begin(), of_user.end()), shape.most_active);
  std::int64_t last_item = 0;
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    const std::pair now(dataset.users.raw(table.users[k]), dataset.items.raw(table.items[k]));
    if (k > 0) {
      const std::pair before(dataset.users.raw(table.users[k - 1]), dataset.items.raw(table.items[k - 1]));
      ASSERT_LT(before, now);  // in order, and no pair twice
    }
    ASSERT_TRUE(now.first >= 1 && now.first <= shape.users);
    ASSERT_GE(now.second, 1);
    last_item = std::max(last_item, now.second);
    const float steps = table.ratings[k] * (shape.whole_stars ? 1.0F : 2.0F);
    ASSERT_TRUE(steps == std::round(steps) && steps >= 1.0F && table.ratings[k] <= 5.0F);
    ASSERT_TRUE(table.timestamps[k] >= shape.first_time && table.timestamps[k] <= shape.last_time);
  }
  EXPECT_EQ(last_item, shape.last_item);
}

TEST(MovielensShape, IsThatOfTheRelease) {
  const MovielensShape shape = movielens_shape("ml-20m", 1.0);
  EXPECT_EQ(shape.users, 138493);
  EXPECT_EQ(shape.items, 26744);
  EXPECT_EQ(shape.ratings, 20000263);
  EXPECT_EQ(shape.most_active, 9254);
  EXPECT_EQ(shape.last_item, 131262);
}

TEST(MovielensShape, CountsOfUsersAreExactAtEveryScale) {
  for (const std::string& name : names()) {
    for (const double scale : {0.01, 0.0137, 0.3, 1.0}) {
      SCOPED_TRACE(name + " " + std::to_string(scale));
      const MovielensShape shape = movielens_shape(name, scale);
      const std::vector<std::int32_t> counts = activity_by_rank(shape);
      EXPECT_EQ(static_cast<std::int32_t>(counts.size()), shape.users);
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), shape.ratings);
      EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), 20);
      EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), shape.most_active);
      EXPECT_LE(shape.most_active, shape.items);
      EXPECT_EQ(std::count(counts.begin(), counts.end(), shape.most_active), 1);
    }
  }
}

TEST(MovielensShape, WantedCountsOfItemsAddUp) {
  for (const std::string& name : names()) {
    for (const double scale : {0.01, 1.0}) {
      SCOPED_TRACE(name + " " + std::to_string(scale));
      const MovielensShape shape = movielens_shape(name, scale);
      const std::vector<double> wanted = popularity_by_rank(shape);
      EXPECT_NEAR(wanted.front(), shape.most_rated, 1e-6);
      EXPECT_NEAR(std::accumulate(wanted.begin(), wanted.end(), 0.0), static_cast<double>(shape.ratings), 1.0);
      EXPECT_TRUE(std::is_sorted(wanted.rbegin(), wanted.rend()));
      EXPECT_GT(wanted.back(), 1.0);
    }
  }
}

TEST(MovielensShape, ItemIdsAreSparse) {
  for (const std::string& name : names()) {
    const MovielensShape shape = movielens_shape(name, 1.0);
    const std::vector<std::int64_t> ids = sparse_item_ids(shape);
    EXPECT_EQ(ids.front(), 1);
    EXPECT_EQ(ids.back(), shape.last_item);
    EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()), ids.end());
  }
}

TEST(MovielensShape, RefusesOtherNamesAndScales) {
  const auto expect_refused = [](const std::string& name, double scale, const std::string& what) {
    try {
      movielens_shape(name, scale);
      ADD_FAILURE() << "no InputError for " << name << " " << scale;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  expect_refused("ml-2m", 1.0, "`like` ml-2m: not one of ml-1m, ml-10m, ml-20m, ml-25m, ml-32m");
  expect_refused("ml-20m", 0.009, "give 0.01 to 1");
  expect_refused("ml-20m", 1.01, "give 0.01 to 1");
  expect_refused("ml-20m", std::nan(""), "give 0.01 to 1");
}

TEST(MovielensLike, HasTheShapeAtASmallScale) {
  for (const std::string& name : names()) {
    SCOPED_TRACE(name);
    const MovielensShape shape = movielens_shape(name, 0.02);
    const SyntheticDataset generated = generate_dataset(like(name, 0.02));
    expect_shape(generated.dataset, shape);
    const std::vector<std::int64_t> of_item = counts_of(generated.dataset.ratings.items, shape.items);
    // A few standard deviations, of the most rated of several about as popular.
    const double most = static_cast<double>(*std::max_element(of_item.begin(), of_item.end()));
    EXPECT_NEAR(most, shape.most_rated, 4.0 * std::sqrt(shape.most_rated) + 0.02 * shape.most_rated);
    EXPECT_NEAR(mean_of(generated.dataset.ratings.ratings), shape.mean, 0.02);
    EXPECT_EQ(generated.dataset.scale.step, shape.whole_stars ? 1.0F : 0.5F);
    EXPECT_NEAR(generated.best_rmse, shape.whole_stars ? 0.83 : 0.78, 0.02);
  }
}

TEST(MovielensLike, HasTheShapeOfMovielens1M) {
  const MovielensShape shape = movielens_shape("ml-1m", 1.0);
  const SyntheticDataset generated = generate_dataset(like("ml-1m", 1.0));
  expect_shape(generated.dataset, shape);
  const std::vector<std::int64_t> of_item = counts_of(generated.dataset.ratings.items, shape.items);
  EXPECT_NEAR(static_cast<double>(*std::max_element(of_item.begin(), of_item.end())), 3428.0, 0.05 * 3428.0);
  EXPECT_GE(*std::min_element(of_item.begin(), of_item.end()), 1);
  EXPECT_NEAR(mean_of(generated.dataset.ratings.ratings), 3.58, 0.02);
  EXPECT_NEAR(generated.best_rmse, 0.83, 0.01);
}

TEST(MovielensLike, ItemsAreRatedAsOftenAsWanted) {
  const MovielensShape shape = movielens_shape("ml-20m", 0.05);
  std::vector<double> wanted = popularity_by_rank(shape);
  std::vector<std::int64_t> counts =
      counts_of(generate_dataset(like("ml-20m", 0.05)).dataset.ratings.items, shape.items);
  std::sort(counts.rbegin(), counts.rend());
  for (const std::size_t tops : {10U, 100U, 1000U, 3000U}) {
    const auto first = static_cast<std::ptrdiff_t>(tops);
    const double expected = std::accumulate(wanted.begin(), wanted.begin() + first, 0.0);
    EXPECT_NEAR(static_cast<double>(std::accumulate(counts.begin(), counts.begin() + first, std::int64_t{0})), expected,
                0.02 * expected)
        << tops;
  }
}

TEST(MovielensLike, SeedsDiffer) {
  const Dataset first = generate_dataset(like("ml-1m", 0.02, 1)).dataset;
  const Dataset again = generate_dataset(like("ml-1m", 0.02, 1)).dataset;
  const Dataset other = generate_dataset(like("ml-1m", 0.02, 2)).dataset;
  EXPECT_EQ(first.ratings.items, again.ratings.items);
  EXPECT_EQ(first.ratings.ratings, again.ratings.ratings);
  EXPECT_EQ(first.ratings.timestamps, again.ratings.timestamps);
  EXPECT_NE(first.ratings.items, other.ratings.items);
  EXPECT_NE(first.ratings.ratings, other.ratings.ratings);
  EXPECT_NE(first.title(0), other.title(0));
}

/// The expectation of a rating: values times the probabilities that the noisy score falls into their cells.
double expected_rating(double score, double noise, const RatingGrid& grid) {
  const auto below = [&](double threshold) {
    return 0.5 * std::erfc((score - threshold) / (noise * std::numbers::sqrt2));
  };
  double sum = 0.0;
  const std::size_t last = grid.values().size() - 1;
  for (std::size_t k = 0; k <= last; ++k) {
    const double upto = k < last ? below(grid.thresholds()[k]) : 1.0;
    const double from = k > 0 ? below(grid.thresholds()[k - 1]) : 0.0;
    sum += static_cast<double>(grid.values()[k]) * (upto - from);
  }
  return sum;
}

TEST(MovielensLike, ThreadsDoNotMatter) {
  std::vector<std::int64_t> told;
  const SyntheticDataset one = generate_movielens_like(like("ml-1m", 0.05), 1, true, {});
  const SyntheticDataset three =
      generate_movielens_like(like("ml-1m", 0.05), 3, false, [&](std::int64_t done, std::int64_t total) {
        EXPECT_EQ(total, one.dataset.ratings.size());
        told.push_back(done);
      });
  EXPECT_EQ(three.dataset.ratings.users, one.dataset.ratings.users);
  EXPECT_EQ(three.dataset.ratings.items, one.dataset.ratings.items);
  EXPECT_EQ(three.dataset.ratings.ratings, one.dataset.ratings.ratings);
  EXPECT_FALSE(three.dataset.ratings.has_timestamps());
  EXPECT_EQ(three.dataset.items.raw(7), one.dataset.items.raw(7));
  EXPECT_EQ(three.dataset.title(7), one.dataset.title(7));
  EXPECT_EQ(three.best_rmse, one.best_rmse);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_EQ(told.back(), one.dataset.ratings.size());
}

TEST(MovielensLike, BestRmseIsThatOfThePlantedModel) {
  for (const std::string name : {"ml-1m", "ml-25m"}) {
    for (const double noise : {0.05, 0.3, 0.82, 3.0}) {
      SCOPED_TRACE(name + " " + std::to_string(noise));
      MovielensLikeOptions options = like(name, 0.01);
      options.noise = noise;
      options.rank = 5;
      const MovielensLike planted(options);
      const SyntheticDataset generated = generate_dataset(options);
      const RatingTable& table = generated.dataset.ratings;
      std::map<std::int64_t, std::int32_t> item_of_raw;
      for (std::int32_t item = 0; item < planted.shape().items; ++item) {
        item_of_raw[planted.raw_item(item)] = item;
      }
      std::vector<float> factors;
      double squared_error = 0.0;
      double error_sum = 0.0;
      for (std::size_t k = 0; k < table.ratings.size(); ++k) {
        const std::int32_t item = item_of_raw.at(generated.dataset.items.raw(table.items[k]));
        const std::int32_t user = table.users[k];
        planted.user_factors(user, factors);
        double score = planted.mean() + static_cast<double>(planted.user_bias(user)) +
                       static_cast<double>(planted.item_bias(item));
        for (std::size_t f = 0; f < factors.size(); ++f) {
          score += static_cast<double>(factors[f]) * static_cast<double>(planted.item_factors(item)[f]);
        }
        const double error = static_cast<double>(table.ratings[k]) - expected_rating(score, noise, planted.grid());
        squared_error += error * error;
        error_sum += error;
      }
      const auto ratings = static_cast<double>(table.size());
      EXPECT_NEAR(generated.best_rmse, std::sqrt(squared_error / ratings), 1e-4 * generated.best_rmse);
      // Ratings really are drawn about these expectations.
      EXPECT_NEAR(error_sum / ratings, 0.0, 4.0 * generated.best_rmse / std::sqrt(ratings));
    }
  }
}

TEST(MovielensLike, WithoutNoiseTheModelIsExact) {
  MovielensLikeOptions options = like("ml-10m", 0.01);
  options.noise = 0.0;
  EXPECT_EQ(generate_dataset(options).best_rmse, 0.0);
}

TEST(MovielensLike, FactorsAgreeWithGenres) {
  const MovielensLike planted(like("ml-20m", 0.05));
  const auto rank = static_cast<std::size_t>(planted.rank());
  // Variance of the factors between films of one genre alone, as a share of the whole variance.
  const auto share_between = [&](const std::vector<std::string>& genre_of, const std::vector<std::int32_t>& items) {
    std::map<std::string, std::vector<std::int32_t>> groups;
    for (std::size_t k = 0; k < items.size(); ++k) {
      groups[genre_of[k]].push_back(items[k]);
    }
    double within = 0.0;
    double whole = 0.0;
    for (std::size_t f = 0; f < rank; ++f) {
      const auto squares = [&](const std::vector<std::int32_t>& of) {
        double sum = 0.0;
        double sum_of_squares = 0.0;
        for (const std::int32_t item : of) {
          const auto value = static_cast<double>(planted.item_factors(item)[f]);
          sum += value;
          sum_of_squares += value * value;
        }
        return sum_of_squares - sum * sum / static_cast<double>(of.size());
      };
      whole += squares(items);
      for (const auto& [genre, of] : groups) {
        within += squares(of);
      }
    }
    return 1.0 - within / whole;
  };
  std::vector<std::int32_t> items;
  std::vector<std::string> genres;
  for (std::int32_t item = 0; item < planted.shape().items; ++item) {
    const std::string& of = planted.item_info(item).genres;
    if (of.find('|') == std::string::npos) {
      items.push_back(item);
      genres.push_back(of);
    }
  }
  ASSERT_GT(items.size(), 2000U);
  EXPECT_EQ(std::set<std::string>(genres.begin(), genres.end()).size(), kFilmGenres);
  const double between = share_between(genres, items);
  EXPECT_GT(between, 0.35);
  EXPECT_LT(between, 0.6);
  std::rotate(genres.begin(), genres.begin() + 1, genres.end());  // other films' genres
  EXPECT_LT(share_between(genres, items), 0.02);
}

TEST(MovielensLike, TitlesAgreeWithGenres) {
  const MovielensLike planted(like("ml-20m", 0.05));
  std::set<std::string> titles;
  for (std::int32_t item = 0; item < planted.shape().items; ++item) {
    const ItemInfo& info = planted.item_info(item);
    ASSERT_EQ(year_of_title(info.title), info.year) << info.title;
    ASSERT_TRUE(info.year > 1930 && info.year <= 2015);
    ASSERT_TRUE(titles.insert(info.title).second) << info.title << " twice";
    bool found = false;
    for (const FilmGenre& genre : film_genres()) {
      if (("|" + info.genres + "|").find("|" + std::string(genre.name) + "|") != std::string::npos) {
        for (const std::string_view word : genre.nouns) {
          found = found || info.title.find(word) != std::string::npos;
        }
      }
    }
    ASSERT_TRUE(found) << info.title << " for " << info.genres;
  }
}

TEST(MovielensLike, PopularItemsAreRatedBetter) {
  const Dataset dataset = generate_dataset(like("ml-20m", 0.05)).dataset;
  const std::vector<std::int64_t> of_item = counts_of(dataset.ratings.items, dataset.items.size());
  double popular_sum = 0.0;
  double other_sum = 0.0;
  double popular = 0.0;
  double others = 0.0;
  for (std::size_t k = 0; k < dataset.ratings.ratings.size(); ++k) {
    const bool often = of_item[static_cast<std::size_t>(dataset.ratings.items[k])] > 500;
    (often ? popular_sum : other_sum) += static_cast<double>(dataset.ratings.ratings[k]);
    (often ? popular : others) += 1.0;
  }
  EXPECT_GT(popular_sum / popular, other_sum / others + 0.05);
}

TEST(MovielensLike, AgeAndSexTellOfTastes) {
  const MovielensLike planted(like("ml-1m", 1.0));
  const UserTable table = planted.user_table();
  ASSERT_EQ(table.size(), 6040U);
  // The mean factors of the sexes differ by more than chance: their squared distance in units of its standard error.
  const auto rank = static_cast<std::size_t>(planted.rank());
  std::map<std::string, std::vector<double>> sums;
  std::map<std::string, double> users;
  std::vector<float> factors;
  double squares = 0.0;
  for (std::int32_t user = 0; user < planted.shape().users; ++user) {
    planted.user_factors(user, factors);
    std::vector<double>& sum = sums[table.at(user + 1).sex];
    sum.resize(rank);
    for (std::size_t f = 0; f < rank; ++f) {
      sum[f] += static_cast<double>(factors[f]);
      squares += static_cast<double>(factors[f] * factors[f]);
    }
    ++users[table.at(user + 1).sex];
  }
  ASSERT_EQ(users.size(), 2U);
  double distance = 0.0;
  for (std::size_t f = 0; f < rank; ++f) {
    const double difference = sums["F"][f] / users["F"] - sums["M"][f] / users["M"];
    distance += difference * difference;
  }
  EXPECT_GT(distance, 10.0 * squares / 6040.0 * (1.0 / users["F"] + 1.0 / users["M"]));
}

TEST(MovielensLike, RefusesWhatCannotBePlanted) {
  MovielensLikeOptions options = like("ml-1m", 0.01);
  options.rank = 0;
  EXPECT_THROW(generate_dataset(options), InputError);
  options.rank = 8;
  options.noise = -1.0;
  EXPECT_THROW(generate_dataset(options), InputError);
  options.noise = std::nan("");
  EXPECT_THROW(generate_dataset(options), InputError);
}

class WriteMovielensLikeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "curate_like_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  MovielensLikeReport write(const MovielensLike& planted, const std::string& name, int threads) const {
    OutputFolder folder((folder_ / name).string(), false, is_layout_file);
    const MovielensLikeReport report = write_movielens_like(planted, folder, threads, {});
    folder.commit();
    return report;
  }

  std::string bytes(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path folder_;
};

TEST_F(WriteMovielensLikeTest, AllReadersReadItBack) {
  const std::map<std::string, std::vector<std::string>> files = {{"ml-1m", {"movies.dat", "users.dat", "ratings.dat"}},
                                                                 {"ml-10m", {"movies.dat", "ratings.dat"}},
                                                                 {"ml-20m", {"movies.csv", "ratings.csv"}},
                                                                 {"ml-25m", {"movies.csv", "ratings.csv"}},
                                                                 {"ml-32m", {"movies.csv", "ratings.csv"}}};
  for (const auto& [name, expected_files] : files) {
    SCOPED_TRACE(name);
    const double scale = name == "ml-20m" ? 0.03 : 0.01;
    const MovielensLike planted(like(name, scale));
    const MovielensLikeReport report = write(planted, name, 2);
    EXPECT_EQ(report.files, expected_files);
    EXPECT_EQ(static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_ / name), {})),
              expected_files.size());
    const Dataset back = read_dataset((folder_ / name).string());
    const SyntheticDataset made = generate_dataset(like(name, scale));
    const Dataset& dataset = made.dataset;
    EXPECT_EQ(back.duplicates, 0);
    EXPECT_EQ(back.layout, expected_files.back() == "ratings.csv" ? "ml-csv" : "ml-1m");
    EXPECT_EQ(back.ratings.users, dataset.ratings.users);
    EXPECT_EQ(back.ratings.items, dataset.ratings.items);
    EXPECT_EQ(back.ratings.ratings, dataset.ratings.ratings);
    EXPECT_EQ(back.ratings.timestamps, dataset.ratings.timestamps);
    ASSERT_EQ(back.items.size(), dataset.items.size());
    for (std::int32_t item = 0; item < dataset.items.size(); ++item) {
      ASSERT_EQ(back.items.raw(item), dataset.items.raw(item));
      ASSERT_EQ(back.title(item), dataset.title(item));
      ASSERT_EQ(back.item_info[static_cast<std::size_t>(item)].genres,
                dataset.item_info[static_cast<std::size_t>(item)].genres);
    }
    // What is reported is what is there.
    EXPECT_EQ(report.ratings, back.ratings.size());
    EXPECT_NEAR(report.mean, mean_of(back.ratings.ratings), 1e-9);
    EXPECT_NEAR(report.best_rmse, made.best_rmse, 1e-12);
    const std::vector<std::int64_t> of_item = counts_of(back.ratings.items, back.items.size());
    EXPECT_EQ(report.most_rated, *std::max_element(of_item.begin(), of_item.end()));
    EXPECT_EQ(report.bytes, static_cast<std::int64_t>(fs::file_size(folder_ / name / expected_files.back())));
    EXPECT_EQ(std::accumulate(report.histogram.begin(), report.histogram.end(), std::int64_t{0}), report.ratings);
  }
}

TEST_F(WriteMovielensLikeTest, WritesLinesAsMovielensDoes) {
  write(MovielensLike(like("ml-20m", 0.01)), "csv", 1);
  EXPECT_EQ(bytes("csv/ratings.csv").substr(0, 34), "userId,movieId,rating,timestamp\n1,");
  EXPECT_NE(bytes("csv/ratings.csv").find(".0,"), std::string::npos);
  EXPECT_EQ(bytes("csv/movies.csv").substr(0, 23), "movieId,title,genres\n1,");
  write(MovielensLike(like("ml-10m", 0.01)), "dat", 1);
  const std::string ratings = bytes("dat/ratings.dat");
  EXPECT_EQ(ratings.substr(0, 3), "1::");
  EXPECT_NE(ratings.find("::4::"), std::string::npos);
  EXPECT_NE(ratings.find("::3.5::"), std::string::npos);
  EXPECT_EQ(ratings.find(".0::"), std::string::npos);
}

TEST_F(WriteMovielensLikeTest, UsersCanBeRead) {
  const MovielensLike planted(like("ml-1m", 0.05));
  write(planted, "users", 1);
  const UserTable read = parse_users_dat(bytes("users/users.dat"), "users.dat");
  const UserTable planned = planted.user_table();
  ASSERT_EQ(read.size(), planned.size());
  std::set<std::string> seen;
  for (const auto& [user, info] : planned) {
    ASSERT_EQ(read.at(user).sex, info.sex);
    ASSERT_EQ(read.at(user).age, info.age);
    ASSERT_EQ(read.at(user).occupation, info.occupation);
    ASSERT_EQ(read.at(user).zip, info.zip);
    seen.insert(info.sex + std::to_string(info.age));
  }
  EXPECT_EQ(seen.size(), 2 * kAgeGroups.size());
}

TEST_F(WriteMovielensLikeTest, BytesDoNotDependOnTheThreads) {
  // Several pieces of 2^17 ratings.
  const MovielensLike planted(like("ml-20m", 0.05));
  const MovielensLikeReport one = write(planted, "one", 1);
  for (const int threads : {2, 7}) {
    const std::string name = std::to_string(threads);
    const MovielensLikeReport many = write(planted, name, threads);
    EXPECT_EQ(one.best_rmse, many.best_rmse);
    EXPECT_EQ(one.histogram, many.histogram);
    EXPECT_EQ(one.most_rated, many.most_rated);
    EXPECT_TRUE(bytes("one/ratings.csv") == bytes(name + "/ratings.csv"));
    EXPECT_TRUE(bytes("one/movies.csv") == bytes(name + "/movies.csv"));
  }
}

TEST_F(WriteMovielensLikeTest, ReportsProgress) {
  const MovielensLike planted(like("ml-20m", 0.05));
  OutputFolder folder((folder_ / "made").string(), false, is_layout_file);
  std::vector<std::int64_t> done;
  write_movielens_like(planted, folder, 2, [&](std::int64_t ratings, std::int64_t total) {
    EXPECT_EQ(total, planted.shape().ratings);
    done.push_back(ratings);
  });
  EXPECT_GT(done.size(), 4U);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done.back(), planted.shape().ratings);
}

TEST_F(WriteMovielensLikeTest, OrderedFileKeepsTheOrder) {
  const std::string path = (folder_ / "ordered").string();
  std::string expected;
  for (int k = 0; k < 500; ++k) {
    expected += std::string(static_cast<std::size_t>(k * 37 % 101), static_cast<char>('a' + k % 26));
  }
  OrderedFile file(path, "ordered");
  ThreadPool pool(4);
  pool.run(500, [&](std::int64_t k) {
    file.write(k, std::string(static_cast<std::size_t>(k * 37 % 101), static_cast<char>('a' + k % 26)));
  });
  EXPECT_EQ(file.bytes(), static_cast<std::int64_t>(expected.size()));
  file.close();
  EXPECT_EQ(bytes("ordered"), expected);
}

TEST_F(WriteMovielensLikeTest, OrderedFileFailsEverywhereForOneReason) {
  OrderedFile file((folder_ / "ordered").string(), "ordered");
  ThreadPool pool(3);
  try {
    pool.run(50, [&](std::int64_t k) {
      try {
        file.check();
        if (k == 7) {
          throw std::runtime_error("seven");
        }
        file.write(k, "text");
      } catch (...) {
        file.give_up(std::current_exception());
        throw;
      }
    });
    ADD_FAILURE() << "no exception";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "seven");
  }
  EXPECT_THROW(OrderedFile((folder_ / "none" / "file").string(), "file"), Error);
}

TEST(NormalQuantile, InvertsTheDistribution) {
  for (const double x : {-5.5, -3.0, -2.0, -1.9, -0.5, 0.0, 0.1, 1.0, 2.0, 4.5}) {
    const double probability = 0.5 * std::erfc(-x / std::numbers::sqrt2);
    EXPECT_NEAR(normal_quantile(probability), x, 2e-9 * std::max(1.0, std::fabs(x))) << x;
  }
}

TEST(NormalQuantile, TableHasTheMomentsAndTheTails) {
  const NormalTable normal;
  constexpr std::uint64_t kStep = 4099;
  double count = 0.0;
  std::vector<double> moments(5, 0.0);
  double worst = 0.0;
  for (std::uint64_t word = kStep / 2; word < (std::uint64_t{1} << 32U); word += kStep) {
    const auto value = static_cast<double>(normal(static_cast<std::uint32_t>(word)));
    const double exact = normal_quantile((static_cast<double>(word) + 0.5) * 0x1.0p-32);
    worst = std::max(worst, std::fabs(value - exact));
    count += 1.0;
    for (std::size_t k = 1; k < moments.size(); ++k) {
      moments[k] += std::pow(value, static_cast<double>(k));
    }
  }
  EXPECT_LT(worst, 2e-4);
  EXPECT_NEAR(moments[1] / count, 0.0, 1e-4);
  EXPECT_NEAR(moments[2] / count, 1.0, 1e-4);
  EXPECT_NEAR(moments[3] / count, 0.0, 1e-3);
  EXPECT_NEAR(moments[4] / count, 3.0, 1e-3);
  EXPECT_LT(normal(0), -6.0F);
  EXPECT_GT(normal(0xFFFFFFFFU), 6.0F);
}

TEST(AliasTable, DrawsInProportion) {
  const std::vector<double> weights = {1.0, 0.0, 5.0, 0.25, 3.75, 1e-3, 2.0};
  const AliasTable table(weights);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> share(weights.size(), 0.0);
  constexpr std::uint64_t kStep = 1009;
  for (std::uint64_t word = 0; word < (std::uint64_t{1} << 32U); word += kStep) {
    share.at(static_cast<std::size_t>(table(static_cast<std::uint32_t>(word)))) += kStep * 0x1.0p-32;
  }
  for (std::size_t k = 0; k < weights.size(); ++k) {
    EXPECT_NEAR(share[k], weights[k] / total, 1e-5) << k;
  }
  EXPECT_EQ(share[1], 0.0);
  EXPECT_EQ(AliasTable({2.0})(0xFFFFFFFFU), 0);
}

}  // namespace
}  // namespace curate
