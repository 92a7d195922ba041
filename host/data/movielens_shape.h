#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace curate {

/// What a data set like a release of MovieLens has in common with it.
struct MovielensShape {
  std::string_view name;
  std::string_view layout;  ///< of write_layout, whose file names and separators it has
  std::int32_t users;
  std::int32_t items;
  std::int64_t ratings;
  std::int32_t most_active;  ///< ratings of the most active user
  std::int32_t most_rated;   ///< ratings of the most rated item
  double mean;
  std::int64_t last_item;  ///< largest raw id of an item
  bool whole_stars;
  bool user_file;
  std::int64_t first_time;
  std::int64_t last_time;
  std::int32_t last_year;  ///< of a film
  double noise;            ///< standard deviation, for a best RMSE near 0.78 (whole stars: 0.83)
};

/// Ratings that every user has at least.
inline constexpr std::int32_t kLeastActive = 20;

/// Names for --like.
const std::vector<std::string_view>& movielens_shape_names();

/// The shape of a release at a scale (see MovielensLikeOptions). Throws InputError.
MovielensShape movielens_shape(const std::string& name, double scale);

/// Ratings per user, the most active first: exactly `ratings` in all, from kLeastActive to `most_active`, log-normal.
std::vector<std::int32_t> activity_by_rank(const MovielensShape& shape);

/// Ratings wanted per item, the most rated first: `ratings` in all, from about 1 to `most_rated`, a stretched
/// exponential of the rank.
std::vector<double> popularity_by_rank(const MovielensShape& shape);

/// Weights by rank, with this expectation: if every user in turn draws `share` of its count of items without
/// replacement, the item of a rank is drawn as often as `wanted` says. `wanted` and `counts` are in descending order;
/// the weights sum to about 1.
std::vector<double> draw_weights(const std::vector<double>& wanted, const std::vector<std::int32_t>& counts,
                                 double share);

/// Raw ids of the items, ascending: dense at first, sparser and sparser later.
std::vector<std::int64_t> sparse_item_ids(const MovielensShape& shape);

}  // namespace curate
