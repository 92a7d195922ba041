#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "data/movielens_shape.h"
#include "data/user_info.h"
#include "support/alias_table.h"
#include "support/normal_quantile.h"

namespace curate {

/// The ratings of one user, in ascending order of item.
struct UserRatings {
  std::vector<std::int32_t> items;
  std::vector<std::uint8_t> stars;  ///< index into RatingGrid::values
  std::vector<std::int64_t> times;
  double squared_error = 0.0;  ///< of the expectations given the planted model

  // Room to work in.
  std::vector<std::uint64_t> taken;  ///< a bit per item, all zero between users
  std::vector<float> factors;
  std::vector<std::int64_t> sessions;
  std::vector<std::pair<float, std::int32_t>> keys;
};

/// The values that ratings take, and what a score becomes: the highest value whose threshold it passes.
class RatingGrid {
 public:
  /// Half-star cells are narrower than those of whole stars, so that these are more frequent as in MovieLens.
  explicit RatingGrid(bool whole_stars);

  const std::vector<float>& values() const { return values_; }
  /// thresholds()[k] lies between values k and k + 1.
  const std::vector<double>& thresholds() const { return thresholds_; }

  std::uint8_t index(double score) const {
    unsigned passed = 0;
    for (const double threshold : thresholds_) {
      passed += score >= threshold ? 1U : 0U;
    }
    return static_cast<std::uint8_t>(passed);
  }

  /// Expectation of the value for score + noise * z, z standard normal.
  double expected(double score, double noise) const;

 private:
  std::vector<float> values_;
  std::vector<double> thresholds_;
};

/// RatingGrid::expected for one noise, by a table where that is exact to 3e-5.
class ExpectedRating {
 public:
  ExpectedRating(const RatingGrid& grid, double noise);
  double operator()(double score) const {
    const double at = (score - kLow) * kPerStar;
    if (!(at >= 0.0 && at < static_cast<double>(table_.size()) - 1.0)) {
      return grid_.expected(score, noise_);
    }
    const auto cell = static_cast<std::size_t>(at);
    return table_[cell] + (at - static_cast<double>(cell)) * (table_[cell + 1] - table_[cell]);
  }

 private:
  static constexpr double kLow = -4.0;
  static constexpr double kHigh = 11.0;
  static constexpr double kPerStar = 256.0;

  const RatingGrid& grid_;
  double noise_;
  std::vector<double> table_;  ///< empty: always computed
};

/// A data set like a release of MovieLens. It is planned as a whole and drawn user by user: every number depends on the
/// options and its place alone. Users are 0..users-1 with raw ids 1..users, items 0..items-1 in order of raw id.
class MovielensLike {
 public:
  /// Throws InputError.
  explicit MovielensLike(const MovielensLikeOptions& options);
  MovielensLike(const MovielensLike&) = delete;
  MovielensLike& operator=(const MovielensLike&) = delete;

  const MovielensShape& shape() const { return shape_; }
  const RatingGrid& grid() const { return grid_; }
  double noise() const { return noise_; }

  /// Number of a user's first rating, with all ratings in order of user; for user == users the number of ratings.
  std::int64_t first_rating(std::int32_t user) const { return first_[static_cast<std::size_t>(user)]; }
  /// The ratings of a user; thread-safe with an object of its own for each thread.
  void draw_user(std::int32_t user, UserRatings& ratings) const;

  std::int64_t raw_item(std::int32_t item) const { return raw_items_[static_cast<std::size_t>(item)]; }
  const ItemInfo& item_info(std::int32_t item) const { return item_info_[static_cast<std::size_t>(item)]; }
  /// By raw id; empty for releases without a user file.
  UserTable user_table() const;

  // The planted model: a score is mean + user bias + item bias + the dot product of the factors.
  std::int32_t rank() const { return rank_; }
  double mean() const { return mean_; }
  float user_bias(std::int32_t user) const;
  float item_bias(std::int32_t item) const { return item_bias_[static_cast<std::size_t>(item)]; }
  void user_factors(std::int32_t user, std::vector<float>& factors) const;
  const float* item_factors(std::int32_t item) const {
    return &item_factors_[static_cast<std::size_t>(item) * static_cast<std::size_t>(rank_)];
  }

 private:
  struct Person;

  void plan_users();
  std::vector<double> plan_items();
  void plant_items(const std::vector<double>& normal_popularity);
  double calibrated_mean(const std::vector<double>& wanted) const;
  Person person(std::int32_t user) const;
  float score(const float* factors, float base, std::int32_t item) const;
  void pick_items(std::int32_t user, UserRatings& ratings) const;
  void pick_by_redrawing(std::int32_t user, std::int32_t count, std::vector<std::uint64_t>& taken) const;
  void pick_by_keys(std::int32_t user, std::int32_t count, UserRatings& ratings) const;
  void place_in_time(std::int32_t user, UserRatings& ratings) const;

  MovielensShape shape_;
  std::uint64_t seed_;
  std::int32_t rank_;
  double noise_;
  double mean_ = 0.0;
  RatingGrid grid_;
  ExpectedRating expected_;
  NormalTable normal_;

  std::vector<std::int64_t> first_;
  std::vector<std::int32_t> counts_by_rank_;
  std::vector<std::int64_t> raw_items_;
  std::vector<ItemInfo> item_info_;
  std::vector<std::int32_t> promise_order_;
  std::vector<float> weights_;
  std::vector<float> item_bias_;
  std::vector<float> item_factors_;
  std::vector<float> group_factors_;  ///< of sexes, ages, occupations
  AliasTable draw_item_;
};

/// Ratings done and in all; from any thread, one at a time.
using GenerateProgress = std::function<void(std::int64_t, std::int64_t)>;

/// generate_dataset on `threads` threads (0: all cores; the result is the same), with or without timestamps.
SyntheticDataset generate_movielens_like(const MovielensLikeOptions& options, int threads, bool timestamps,
                                         const GenerateProgress& progress);

}  // namespace curate
