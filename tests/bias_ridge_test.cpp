// The ridge solver of the bias model against dense equations, and the ridges that it finds.

#include "solvers/bias_ridge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace curate {
namespace {

struct Planted {
  std::int32_t users = 30;
  std::int32_t items = 20;
  std::int64_t ratings = 300;
  double user_deviation = 0.5;
  double item_deviation = 0.7;
  double error = 1.0;
  double popularity = 0.0;  ///< by how much the items of the most ratings are better
  std::uint64_t seed = 1;
};

/// Distinct pairs in random order; some users and items have many ratings, some few or none.
RatingTable draw(const Planted& planted) {
  std::mt19937_64 random(planted.seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  const auto offsets = [&](std::int32_t count, double deviation) {
    std::vector<double> values(static_cast<std::size_t>(count));
    std::generate(values.begin(), values.end(), [&] { return deviation * normal(random); });
    return values;
  };
  const std::vector<double> user_offset = offsets(planted.users, planted.user_deviation);
  std::vector<double> item_offset = offsets(planted.items, planted.item_deviation);
  for (std::size_t i = 0; i < item_offset.size(); ++i) {
    item_offset[i] += planted.popularity * (1.0 - static_cast<double>(i) / static_cast<double>(item_offset.size()));
  }
  std::vector<bool> taken(static_cast<std::size_t>(planted.users) * static_cast<std::size_t>(planted.items));
  RatingTable table;
  while (table.size() < planted.ratings) {
    const auto user = static_cast<std::int32_t>(planted.users * std::pow(uniform(random), 1.5));
    const auto item = static_cast<std::int32_t>(planted.items * std::pow(uniform(random), 1.5));
    const std::size_t pair =
        static_cast<std::size_t>(user) * static_cast<std::size_t>(planted.items) + static_cast<std::size_t>(item);
    if (taken[pair]) {
      continue;
    }
    taken[pair] = true;
    table.users.push_back(user);
    table.items.push_back(item);
    table.ratings.push_back(static_cast<float>(3.0 + user_offset[static_cast<std::size_t>(user)] +
                                               item_offset[static_cast<std::size_t>(item)] +
                                               planted.error * normal(random)));
  }
  return table;
}

BiasFit fit(const RatingTable& table, const Planted& planted, std::int32_t threads = 1) {
  return fit_biases(table, planted.users, planted.items, threads);
}

/// Solves a x = b by Gaussian elimination with pivots; a is [n, n].
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t row = k; row < n; ++row) {
      pivot = std::abs(a[row * n + k]) > std::abs(a[pivot * n + k]) ? row : pivot;
    }
    std::swap_ranges(a.begin() + static_cast<std::ptrdiff_t>(k * n),
                     a.begin() + static_cast<std::ptrdiff_t>((k + 1) * n),
                     a.begin() + static_cast<std::ptrdiff_t>(pivot * n));
    std::swap(b[k], b[pivot]);
    for (std::size_t row = k + 1; row < n; ++row) {
      const double factor = a[row * n + k] / a[k * n + k];
      for (std::size_t column = k; column < n; ++column) {
        a[row * n + column] -= factor * a[k * n + column];
      }
      b[row] -= factor * b[k];
    }
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t column = k + 1; column < n; ++column) {
      b[k] -= a[k * n + column] * b[column];
    }
    b[k] /= a[k * n + k];
  }
  return b;
}

/// The normal equations of mean, users and items. A side without variance has offsets 0.
std::vector<double> solve_densely(const RatingTable& table, const Planted& planted, const BiasVariances& variances) {
  const auto users = static_cast<std::size_t>(planted.users);
  const std::size_t n = 1 + users + static_cast<std::size_t>(planted.items);
  std::vector<double> a(n * n);
  std::vector<double> b(n);
  for (std::size_t r = 0; r < table.ratings.size(); ++r) {
    const std::size_t columns[] = {0, 1 + static_cast<std::size_t>(table.users[r]),
                                   1 + users + static_cast<std::size_t>(table.items[r])};
    for (const std::size_t row : columns) {
      b[row] += static_cast<double>(table.ratings[r]);
      for (const std::size_t column : columns) {
        a[row * n + column] += 1.0;
      }
    }
  }
  for (std::size_t k = 1; k < n; ++k) {
    const double variance = k <= users ? variances.user : variances.item;
    if (variance > 0.0) {
      a[k * n + k] += 1.0 / variance;
      continue;
    }
    for (std::size_t other = 0; other < n; ++other) {
      a[k * n + other] = a[other * n + k] = 0.0;
    }
    a[k * n + k] = 1.0;
    b[k] = 0.0;
  }
  return solve(a, b);
}

void expect_solution(const BiasFit& got, const std::vector<double>& expected, double tolerance) {
  EXPECT_NEAR(got.mean, expected[0], tolerance);
  for (std::size_t u = 0; u < got.user.size(); ++u) {
    EXPECT_NEAR(got.user[u], expected[1 + u], tolerance) << "user " << u;
  }
  for (std::size_t i = 0; i < got.item.size(); ++i) {
    EXPECT_NEAR(got.item[i], expected[1 + got.user.size() + i], tolerance) << "item " << i;
  }
}

TEST(BiasRidge, SolvesTheNormalEquations) {
  for (const BiasVariances variances :
       {BiasVariances{0.2, 0.4}, BiasVariances{3.0, 0.01}, BiasVariances{1000.0, 1000.0}, BiasVariances{0.0, 0.5},
        BiasVariances{0.5, 0.0}, BiasVariances{}}) {
    for (const std::int64_t ratings : {1, 40, 300, 599}) {
      Planted planted;
      planted.ratings = ratings;
      const RatingTable table = draw(planted);
      SCOPED_TRACE(testing::Message() << variances.user << ", " << variances.item << ", " << ratings << " ratings");
      const BiasFit got = fit_biases(table, planted.users, planted.items, variances, 1);
      expect_solution(got, solve_densely(table, planted, variances), 1e-9);
      EXPECT_EQ(std::accumulate(got.user_counts.begin(), got.user_counts.end(), std::int64_t{0}), ratings);
      EXPECT_EQ(got.item_counts[0], std::count(table.items.begin(), table.items.end(), 0));
    }
  }
}

TEST(BiasRidge, SolvesWithTheVariancesThatItFinds) {
  const Planted planted;
  const RatingTable table = draw(planted);
  const BiasFit got = fit(table, planted);
  ASSERT_GT(got.variances.user, 0.0);
  ASSERT_GT(got.variances.item, 0.0);
  expect_solution(got, solve_densely(table, planted, got.variances), 1e-9);
}

// Also the way of ratings that are in the order of users already.
TEST(BiasRidge, TheOrderOfRatingsDoesNotMatter) {
  Planted planted;
  planted.users = 200;
  planted.ratings = 2500;
  const RatingTable table = draw(planted);
  std::vector<std::int64_t> order(table.ratings.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return table.users[static_cast<std::size_t>(a)] < table.users[static_cast<std::size_t>(b)];
  });
  const BiasFit mixed = fit(table, planted);
  const BiasFit sorted = fit(select(table, order), planted);
  for (std::size_t u = 0; u < mixed.user.size(); ++u) {
    EXPECT_NEAR(mixed.user[u], sorted.user[u], 1e-10);
  }
  EXPECT_NEAR(mixed.variances.item, sorted.variances.item, 1e-10);
}

TEST(BiasRidge, SameBitsForAnyNumberOfThreads) {
  Planted planted;
  planted.users = 500;
  planted.items = 60;
  planted.ratings = 20000;  // ten pieces
  const RatingTable table = draw(planted);
  const BiasFit one = fit(table, planted, 1);
  for (const int threads : {2, 3, 7}) {
    const BiasFit many = fit(table, planted, threads);
    EXPECT_EQ(one.mean, many.mean);
    EXPECT_EQ(one.user, many.user) << threads;
    EXPECT_EQ(one.item, many.item) << threads;
    EXPECT_EQ(one.variances.user, many.variances.user);
  }
}

TEST(BiasRidge, ScaleAndShiftOfRatingsChangeNothingElse) {
  Planted planted;
  planted.ratings = 400;
  const RatingTable table = draw(planted);
  const BiasFit base = fit(table, planted);
  for (const auto& [scale, shift] : {std::pair{0.01, 0.0}, {8.0, 0.0}, {1.0, 100.0}, {-5.0, 3.0}, {20.0, -40.0}}) {
    RatingTable other = table;
    for (float& rating : other.ratings) {
      rating = static_cast<float>(scale * static_cast<double>(rating) + shift);
    }
    SCOPED_TRACE(testing::Message() << "times " << scale << ", plus " << shift);
    const BiasFit got = fit(other, planted);
    const double rounding = 1e-5 * (1.0 + std::abs(shift));  // of the ratings themselves
    EXPECT_NEAR(got.variances.user / base.variances.user, 1.0, rounding);
    EXPECT_NEAR(got.variances.item / base.variances.item, 1.0, rounding);
    EXPECT_NEAR((got.mean - shift) / scale, base.mean, rounding);
    for (std::size_t i = 0; i < base.item.size(); ++i) {
      EXPECT_NEAR(got.item[i] / scale, base.item[i], rounding);
    }
  }
}

/// Of ratings of one variance component each and the error's: up to a constant, and with the best error variance.
double restricted_log_likelihood(const RatingTable& table, const BiasVariances& variances) {
  const std::size_t n = table.ratings.size();
  // Cholesky factor of the covariance, with ones and ratings solved along.
  std::vector<double> v(n * n);
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b) {
      v[a * n + b] = (a == b ? 1.0 : 0.0) + (table.users[a] == table.users[b] ? variances.user : 0.0) +
                     (table.items[a] == table.items[b] ? variances.item : 0.0);
    }
  }
  std::vector<double> ones(n, 1.0);
  std::vector<double> values(table.ratings.begin(), table.ratings.end());
  double log_determinant = 0.0;
  for (std::size_t k = 0; k < n; ++k) {
    const double root = std::sqrt(v[k * n + k]);
    log_determinant += 2.0 * std::log(root);
    ones[k] /= root;
    values[k] /= root;
    for (std::size_t row = k + 1; row < n; ++row) {
      v[row * n + k] /= root;
      ones[row] -= v[row * n + k] * ones[k];
      values[row] -= v[row * n + k] * values[k];
    }
    for (std::size_t row = k + 1; row < n; ++row) {
      for (std::size_t column = k + 1; column <= row; ++column) {
        v[row * n + column] -= v[row * n + k] * v[column * n + k];
      }
    }
  }
  const auto product = [](const std::vector<double>& x, const std::vector<double>& y) {
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  };
  const double information = product(ones, ones);
  const double squares = product(values, values) - product(ones, values) * product(ones, values) / information;
  const auto count = static_cast<double>(n);
  return -0.5 * (log_determinant + std::log(information) + (count - 1.0) * std::log(squares));
}

// What the approximated diagonal and the tolerance of the fixed point may lose: the standard error of a variance is
// where the log-likelihood is 0.5 lower.
TEST(BiasRidge, VariancesAreThoseOfGreatestRestrictedLikelihood) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    for (const std::int64_t ratings : {150, 400}) {
      Planted planted;
      planted.ratings = ratings;
      planted.user_deviation = 0.8;
      planted.item_deviation = 0.8;
      planted.seed = seed;
      const RatingTable table = draw(planted);
      const BiasVariances found = fit(table, planted).variances;
      const double got = restricted_log_likelihood(table, found);
      double greatest = got;
      for (const double user : {0.05, 0.25, 0.5, 0.7, 0.85, 1.15, 1.4, 2.0, 4.0}) {
        for (const double item : {0.05, 0.25, 0.5, 0.7, 0.85, 1.15, 1.4, 2.0, 4.0}) {
          greatest = std::max(greatest, restricted_log_likelihood(table, {user * found.user, item * found.item}));
        }
      }
      EXPECT_LT(greatest - got, 0.05) << "seed " << seed << ", " << ratings << " ratings: " << found.user << ", "
                                      << found.item;
    }
  }
}

// The mean of the items is not that of the ratings.
TEST(BiasRidge, SoIsTheVarianceOfASideThatVariesAlone) {
  Planted planted;
  planted.users = 150;
  planted.ratings = 400;
  planted.user_deviation = 0.0;
  planted.item_deviation = 0.3;
  planted.popularity = 3.0;
  const RatingTable table = draw(planted);
  const BiasVariances found = fit(table, planted).variances;
  ASSERT_EQ(found.user, 0.0);
  const double got = restricted_log_likelihood(table, found);
  for (const double factor : {0.7, 0.8, 0.9, 1.1, 1.25, 1.4}) {
    EXPECT_LT(restricted_log_likelihood(table, {0.0, factor * found.item}), got + 1e-3) << factor;
  }
}

TEST(BiasRidge, FindsPlantedVariances) {
  Planted planted;
  planted.users = 2000;
  planted.items = 1000;
  planted.ratings = 40000;
  planted.user_deviation = 0.4;
  planted.item_deviation = 0.6;
  planted.error = 0.8;
  const BiasFit got = fit(draw(planted), planted);
  EXPECT_NEAR(got.variances.user, 0.25, 0.03);
  EXPECT_NEAR(got.variances.item, 0.5625, 0.08);
  EXPECT_NEAR(got.mean, 3.0, 0.06);
}

// 1.3 ratings a user.
TEST(BiasRidge, WithNothingToLearnItIsTheMean) {
  int learnt = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Planted planted;
    planted.users = 1000;
    planted.items = 400;
    planted.ratings = 1300;
    planted.user_deviation = planted.item_deviation = 0.0;
    planted.seed = seed;
    const RatingTable table = draw(planted);
    const BiasFit got = fit(table, planted);
    learnt += (got.variances.user > 0.0 ? 1 : 0) + (got.variances.item > 0.0 ? 1 : 0);
    if (got.variances.user == 0.0 && got.variances.item == 0.0) {
      const double mean = std::accumulate(table.ratings.begin(), table.ratings.end(), 0.0) / 1300.0;
      EXPECT_NEAR(got.mean, mean, 1e-12);
      EXPECT_EQ(got.user, std::vector<double>(1000));
      EXPECT_EQ(got.item, std::vector<double>(400));
    }
  }
  // The test has 2.3 % of false alarms: of 40 one is to be expected.
  EXPECT_LE(learnt, 4);
}

// 100 ratings cannot tell no differences from usual ones, and 3,000 can. Catches: offsets that are 0 wherever the test
// finds nothing, or supposed wherever it does.
TEST(BiasRidge, TooFewRatingsToTellAreSupposedToDifferAsUsual) {
  int supposed = 0;
  double with = 0.0;
  double mean_alone = 0.0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Planted planted;
    planted.users = 40;
    planted.items = 30;
    planted.ratings = 200;
    planted.user_deviation = 0.4;
    planted.item_deviation = 0.5;
    planted.seed = seed;
    RatingTable table = draw(planted);
    RatingTable test;
    for (auto [from, to] : {std::pair(&table.users, &test.users), std::pair(&table.items, &test.items)}) {
      to->assign(from->begin() + 100, from->end());
      from->resize(100);
    }
    test.ratings.assign(table.ratings.begin() + 100, table.ratings.end());
    table.ratings.resize(100);
    const BiasFit got = fit(table, planted);
    supposed += got.variances.user == 0.1 || got.variances.item == 0.2 ? 1 : 0;
    const double mean = std::accumulate(table.ratings.begin(), table.ratings.end(), 0.0) / 100.0;
    for (std::size_t n = 0; n < test.ratings.size(); ++n) {
      const double rating = static_cast<double>(test.ratings[n]);
      with += std::pow(got.mean + got.user[static_cast<std::size_t>(test.users[n])] +
                           got.item[static_cast<std::size_t>(test.items[n])] - rating,
                       2.0);
      mean_alone += std::pow(mean - rating, 2.0);
    }
  }
  EXPECT_GT(supposed, 20);
  EXPECT_LT(with, 0.97 * mean_alone);
}

// Of 1.3 ratings a user the model of the items explains much.
TEST(BiasRidge, FewRatingsOfManyUsersSayThatTheyDiffer) {
  Planted planted;
  planted.users = 3000;
  planted.items = 2000;
  planted.ratings = 3900;
  planted.user_deviation = 0.6;
  planted.item_deviation = 1.0;
  const BiasFit got = fit(draw(planted), planted);
  EXPECT_NEAR(got.variances.user, 0.36, 0.2);
  EXPECT_NEAR(got.variances.item, 1.0, 0.4);
}

TEST(BiasRidge, OneSideMayVaryAlone) {
  Planted planted;
  planted.users = 1000;
  planted.items = 400;
  planted.ratings = 3000;
  planted.user_deviation = 0.0;
  planted.item_deviation = 1.0;
  const BiasFit items = fit(draw(planted), planted);
  EXPECT_EQ(items.variances.user, 0.0);
  EXPECT_NEAR(items.variances.item, 1.0, 0.25);
  std::swap(planted.user_deviation, planted.item_deviation);
  const BiasFit users = fit(draw(planted), planted);
  EXPECT_NEAR(users.variances.user, 1.0, 0.25);
  EXPECT_EQ(users.variances.item, 0.0);
}

// The items hide that users differ from a model of users alone: every user has rated every item.
TEST(BiasRidge, ASideThatTheOtherHidesIsFound) {
  Planted planted;
  planted.users = 300;
  planted.items = 5;
  planted.ratings = 1500;
  planted.user_deviation = 0.5;
  planted.item_deviation = 4.0;
  const BiasFit got = fit(draw(planted), planted);
  EXPECT_NEAR(got.variances.user, 0.25, 0.08);
  EXPECT_GT(got.variances.item, 2.0);
}

TEST(BiasRidge, RatingsWithoutErrorAndWithoutSpread) {
  Planted planted;
  planted.error = 0.0;
  const RatingTable table = draw(planted);
  const BiasFit exact = fit(table, planted);
  for (std::size_t r = 0; r < table.ratings.size(); ++r) {
    EXPECT_NEAR(exact.mean + exact.user[static_cast<std::size_t>(table.users[r])] +
                    exact.item[static_cast<std::size_t>(table.items[r])],
                table.ratings[r], 0.01);
  }
  RatingTable whole = table;  // without rounding
  for (std::size_t r = 0; r < whole.ratings.size(); ++r) {
    whole.ratings[r] = static_cast<float>(1 + whole.users[r] % 3 + whole.items[r] % 2);
  }
  const BiasFit stars = fit(whole, planted);
  EXPECT_NEAR(stars.mean + stars.user[1] + stars.item[1], 3.0, 0.01);
  EXPECT_EQ(stars.variances.user, 1e3) << "the smallest ridge";
  RatingTable same = table;
  std::fill(same.ratings.begin(), same.ratings.end(), 4.0F);
  const BiasFit flat = fit(same, planted);
  EXPECT_EQ(flat.mean, 4.0);
  EXPECT_EQ(flat.user, std::vector<double>(30));
}

// Its offset is the mean's.
TEST(BiasRidge, ASideOfOneDoesNotVary) {
  Planted planted;
  planted.users = 1;
  planted.items = 50;
  planted.ratings = 40;
  const BiasFit user = fit(draw(planted), planted);
  EXPECT_EQ(user.variances.user, 0.0);
  EXPECT_TRUE(std::isfinite(user.mean + user.item[0]));
  std::swap(planted.users, planted.items);
  const BiasFit item = fit(draw(planted), planted);
  EXPECT_EQ(item.variances.item, 0.0);
  EXPECT_TRUE(std::isfinite(item.mean + item.user[0]));
}

TEST(BiasRidge, OneRatingAndNone) {
  RatingTable one;
  one.users = {2};
  one.items = {0};
  one.ratings = {3.5F};
  const BiasFit got = fit_biases(one, 3, 2, 2);
  EXPECT_EQ(got.mean, 3.5);
  EXPECT_EQ(got.user, std::vector<double>(3));
  EXPECT_EQ(got.user_counts, (std::vector<std::int64_t>{0, 0, 1}));
  const BiasFit none = fit_biases({}, 3, 2, 2);
  EXPECT_EQ(none.mean, 0.0);
  EXPECT_EQ(none.item, std::vector<double>(2));
}

}  // namespace
}  // namespace curate
