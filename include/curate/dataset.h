#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "curate/column.h"
#include "curate/export.h"
#include "curate/feature.h"
#include "curate/id_map.h"

namespace curate {

/// Ratings as parallel arrays of one length. `users` and `items` are dense ids (see IdMap). `timestamps` (seconds since
/// 1970) is empty if the source has none.
struct CURATE_API RatingTable {
  Column<std::int32_t> users;
  Column<std::int32_t> items;
  Column<float> ratings;
  Column<std::int64_t> timestamps;

  std::int64_t size() const { return static_cast<std::int64_t>(ratings.size()); }
  bool has_timestamps() const { return !timestamps.empty(); }
};

/// What is known of an item beyond its ratings; strings are UTF-8, empty if unknown.
struct CURATE_API ItemInfo {
  std::string title;
  std::string genres;     ///< separated by |
  std::int32_t year = 0;  ///< of release, from the title or u.item's release date; 0 if unknown
};

/// The values that ratings may take. `min` and `max` are ReadOptions::rating_range if the caller gave one, else the
/// smallest and the largest rating read.
struct CURATE_API RatingScale {
  float min = 0.0F;
  float max = 0.0F;
  float step = 0.0F;  ///< 1 or 0.5, the coarser if every rating lies on that grid (from 0), else 0
};

/// Ratings with all that is known of their users and items. The ids in `ratings` lie in [0, users.size()) and
/// [0, items.size()).
struct CURATE_API Dataset {
  RatingTable ratings;
  IdMap users;
  IdMap items;
  std::vector<ItemInfo> item_info;  ///< by dense item id; may be shorter than items.size()
  /// Features that models use, see add_features; their rows are the dense ids here.
  std::vector<Feature> features;
  RatingScale scale;
  std::string source;           ///< absolute path of the folder or file, or "synthetic"
  std::string layout;           ///< "ml-100k", "ml-1m", "ml-csv", "delimited" or "synthetic"
  std::int64_t duplicates = 0;  ///< ratings dropped because the same user rated the item again
  bool from_cache = false;      ///< see ReadOptions::cache

  /// Title of a dense item id, or empty.
  const std::string& title(std::int32_t item) const;
};

/// What is being done, how much of it so far and in all (0: unknown).
using ReadProgress = std::function<void(const char* phase, std::int64_t done, std::int64_t total)>;

struct CURATE_API ReadOptions {
  /// Ratings outside [first, second] are an error. MovieLens folders know theirs (100k: 1 to 5; others: 0.5 to 5); for
  /// a delimited file without it any finite rating is taken.
  std::optional<std::pair<float, float>> rating_range;
  ReadProgress progress;     ///< called now and then while reading; may be empty
  std::int32_t threads = 0;  ///< 0: all cores
  /// Whether timestamps are kept. If not, they are read only to decide between repeated ratings, and
  /// RatingTable::timestamps stays empty.
  bool timestamps = true;
  /// Ids are text even if the first row has numbers. If not set, an id column of a delimited file is text if the first
  /// row has no whole number of 64 bits there; ids of MovieLens folders are numbers. Text keeps its spelling ("007" is
  /// not "7") and reads more slowly.
  bool text_ids = false;
  /// Whether read_dataset may use a cache beside a file of ratings of `cache_from` bytes or more: .NAME.curate-cache.
  /// It makes the cache if there is none or an outdated one. The result is the same. The cache takes 3 bytes a rating
  /// (4 for more than 65,536 items, 3 more for more than 256 different ratings), 4 more if timestamps are kept, 8
  /// wherever the next line is another user's, and 8 a user and item. Of a ratings.csv in order of users, at 24 to 27
  /// bytes a line, that is about an eighth, with timestamps up to 30 %; in random order half, with timestamps 60 %.
  bool cache = false;
  std::int64_t cache_from = std::int64_t{16} << 20U;
};

/// Reads a MovieLens folder (100k: u.data and u.item; 1M, 10M: ratings.dat and movies.dat; 20M, 25M, 32M, latest:
/// ratings.csv and movies.csv) or a delimited file of user, item, rating and, if there, timestamp: separated by tab,
/// `::`, comma, semicolon, `|` or space, told from the first line; with a header the columns are found by name. Titles
/// come from the item file of the same layout beside it (tab: u.item; `::`: movies.dat; comma: movies.csv). Items that
/// only the item file knows get no id.
///
/// If the same user and item come more than once, the rating with the latest timestamp stays; at equal timestamps or
/// without them, the one that comes last in the file. Throws InputError naming file, line and remedy.
CURATE_API Dataset read_dataset(const std::string& path, const ReadOptions& options = {});

/// Reads further ratings (a test file, or a folder) with the ids of `dataset`, to which unseen ids are added, with
/// titles from the item file beside them. `dataset.ratings` and `dataset.scale` stay. Duplicates are resolved within
/// the file.
CURATE_API RatingTable read_more_ratings(Dataset& dataset, const std::string& path, const ReadOptions& options = {});

/// Makes dataset.features for its users and items as they are now. `wanted` is a list with commas: names of what the
/// data set's own files say (users: sex, age, age_group, occupation; items: genres, year, tags) or FILE:COLUMN[:KIND],
/// a column of a CSV file whose first column, called userId, itemId or movieId, has raw ids. KIND is category, multi
/// (values separated by |) or number. Without KIND a column is number if all values are numbers and more than ten
/// differ, multi if a value has a |, else category. Numbers go into at most ten buckets of about equally many rows
/// each. "Not known" is a value of its own. Throws InputError for unknown names (and says which there are) and
/// malformed files.
CURATE_API void add_features(Dataset& dataset, const std::string& wanted);

/// One raw pair of ids.
struct CURATE_API RawPair {
  RawId user;
  RawId item;
};

/// Reads pairs user, item (further columns are ignored), delimited as in read_dataset, in file order, repeated ones
/// included. `text_ids` as in ReadOptions. Throws InputError.
CURATE_API std::vector<RawPair> read_pairs(const std::string& path, bool text_ids = false);

/// Ratings of `table` at `positions`, in that order. Throws std::out_of_range for a position outside the table.
CURATE_API RatingTable select(const RatingTable& table, const std::vector<std::int64_t>& positions);

/// Two parts of one table, with its dense ids.
struct CURATE_API Split {
  RatingTable train;
  RatingTable test;
};

/// A random `fraction` of the ratings, drawn without replacement, as test; both parts keep the order of the table and
/// are the same for any number of threads (0: all cores).
/// At least one rating on either side; throws InputError for fractions outside (0, 1) or a table of one rating.
CURATE_API Split split_random(const RatingTable& table, double fraction, std::uint64_t seed, std::int32_t threads = 0);

/// The latest `fraction` of the ratings as test (of ties, those later in the table); both parts keep the order of the
/// table. Throws InputError as split_random does, without timestamps, and if all timestamps are equal.
CURATE_API Split split_by_time(const RatingTable& table, double fraction, std::int32_t threads = 0);

/// Fold (0..folds-1) of every rating: a seeded random assignment whose sizes differ by one at most. Throws InputError
/// for fewer than two folds or more folds than ratings.
CURATE_API std::vector<std::int32_t> assign_folds(std::int64_t num_ratings, std::int32_t folds, std::uint64_t seed);

/// The given fold as test, all others as train. Throws std::invalid_argument if `fold_of` has not one entry per
/// rating.
CURATE_API Split split_fold(const RatingTable& table, const std::vector<std::int32_t>& fold_of, std::int32_t fold,
                            std::int32_t threads = 0);

/// Ratings of users and items drawn with power-law popularity and activity, from a planted low-rank model, on the
/// half-star grid 0.5..5.
struct CURATE_API SyntheticOptions {
  std::int32_t users = 1000;
  std::int32_t items = 500;
  std::int64_t ratings = 50000;
  std::int32_t rank = 4;
  double noise = 0.8;  ///< standard deviation of the Gaussian noise added before rounding to half-stars
  std::uint64_t seed = 1;
};

struct CURATE_API SyntheticDataset {
  Dataset dataset;
  double best_rmse = 0.0;  ///< RMSE of the expectation of each rating given the planted model: no predictor beats it
};

/// Distinct pairs, sorted by raw user id, then raw item id; every user and every item has at least one rating if
/// ratings >= users + items; a user or item without ratings has no dense id. Raw ids are 1..users and 1..items. Ratings
/// have a mean near 3.5 and, unless the noise is loud, a standard deviation near 1. Throws InputError for sizes that
/// cannot be met.
CURATE_API SyntheticDataset generate_dataset(const SyntheticOptions& options);

/// Ratings that a release of MovieLens has the shape of: numbers of users, items and ratings, the ratings of the most
/// active user and of the most rated item, mean, grid, sparse item ids, years.
struct CURATE_API MovielensLikeOptions {
  std::string like = "ml-20m";  ///< ml-1m, ml-10m, ml-20m, ml-25m or ml-32m
  /// Scale of users and ratings, 0.01 to 1. Items and the ratings of the most active user scale with its cube root, as
  /// they do from the large releases to the small ones.
  double scale = 1.0;
  std::int32_t rank = 8;
  std::optional<double> noise;  ///< as in SyntheticOptions; by default the best RMSE is near 0.78 (ml-1m: 0.83)
  std::uint64_t seed = 1;
};

/// As above, and every user has 20 ratings at least, the most active one exactly as many as in the release, the most
/// rated item about as many; every item has one. The factors of an item are half a mixture of those of its genres, its
/// title is made of words of its genres. Throws InputError for other names and for values that cannot be met.
CURATE_API SyntheticDataset generate_dataset(const MovielensLikeOptions& options);

}  // namespace curate
