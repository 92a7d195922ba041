#include "data/movielens_like.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <numbers>
#include <numeric>
#include <unordered_set>

#include "curate/error.h"
#include "data/film_names.h"
#include "data/planted_rank.h"
#include "data/rating_table.h"
#include "support/philox.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

// Variances, in stars: of a user's bias, of an item's, of the dot product of the factors.
constexpr double kUserVariance = 0.16;
constexpr double kItemVariance = 0.18;
constexpr double kTasteVariance = 0.24;
// The share that its genres have in the factors of an item, the share that sex, age and occupation have in those of a
// user, and the correlation of an item's bias with its popularity.
constexpr double kGenreShare = 0.5;
constexpr double kGroupShare = 0.2;
constexpr double kPopularityCorrelation = 0.4;
constexpr std::int32_t kPilotRatings = 65536;

// Steps of like_items and like_users: one for each number that an item or a user draws. Factors follow from
// kLikeStepFactors on.
constexpr std::uint32_t kLikeStepOrder = 0;
constexpr std::uint32_t kLikeStepBias = 1;
constexpr std::uint32_t kLikeStepPromise = 2;
constexpr std::uint32_t kLikeStepGenres = 3;
constexpr std::uint32_t kLikeStepTitle = 4;
constexpr std::uint32_t kLikeStepYear = 5;
constexpr std::uint32_t kLikeStepPerson = 6;
constexpr std::uint32_t kLikeStepFactors = 16;
// Steps of like_time: of a user, of the sessions, of the ratings (four at a time).
constexpr std::uint32_t kLikeStepJoined = 0;
constexpr std::uint32_t kLikeStepSessions = 1;
constexpr std::uint32_t kLikeStepRated = 64;
constexpr std::int32_t kMostSessions = 32;

constexpr std::size_t kSexes = 2;
// Of the users of MovieLens 1M, by group of kAgeGroups.
constexpr std::array<double, kAgeGroups.size()> kAgeShares = {0.037, 0.183, 0.347, 0.198, 0.091, 0.082, 0.062};
constexpr double kFemaleShare = 0.283;

float factor_sd(std::int32_t rank) {
  return static_cast<float>(std::pow(kTasteVariance / static_cast<double>(rank), 0.25));
}

/// 0..keys.size()-1 by ascending key.
std::vector<std::int32_t> order_by(const std::vector<double>& keys) {
  std::vector<std::int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
  return order;
}

double checked_noise(const MovielensLikeOptions& options, double usual) {
  const double noise = options.noise.value_or(usual);
  if (!(noise >= 0.0) || !std::isfinite(noise)) {
    throw InputError(fmt::format("noise {} is no standard deviation; give 0 or more", noise));
  }
  return noise;
}

}  // namespace

RatingGrid::RatingGrid(bool whole_stars) {
  if (whole_stars) {
    values_ = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F};
    thresholds_ = {1.5, 2.5, 3.5, 4.5};
    return;
  }
  constexpr double kHalfWidth = 0.16;  // of the cell of a half star
  for (int halves = 1; halves <= 10; ++halves) {
    values_.push_back(0.5F * static_cast<float>(halves));
    if (halves < 10) {
      const bool half = halves % 2 == 1;
      thresholds_.push_back(0.5 * (half ? halves : halves + 1) + (half ? kHalfWidth : -kHalfWidth));
    }
  }
}

double RatingGrid::expected(double score, double noise) const {
  if (noise == 0.0) {
    return static_cast<double>(values_[index(score)]);
  }
  double sum = static_cast<double>(values_[0]);
  for (std::size_t k = 0; k < thresholds_.size(); ++k) {
    const double passed = 0.5 * std::erfc((thresholds_[k] - score) / (noise * std::numbers::sqrt2));
    sum += static_cast<double>(values_[k + 1] - values_[k]) * passed;
  }
  return sum;
}

ExpectedRating::ExpectedRating(const RatingGrid& grid, double noise) : grid_(grid), noise_(noise) {
  constexpr double kLeastNoise = 0.1;
  if (noise < kLeastNoise) {
    return;
  }
  table_.resize(static_cast<std::size_t>((kHigh - kLow) * kPerStar) + 1);
  for (std::size_t cell = 0; cell < table_.size(); ++cell) {
    table_[cell] = grid.expected(kLow + static_cast<double>(cell) / kPerStar, noise);
  }
}

MovielensLike::MovielensLike(const MovielensLikeOptions& options)
    : shape_(movielens_shape(options.like, options.scale)),
      seed_(options.seed),
      rank_(checked_rank(options.rank)),
      noise_(checked_noise(options, shape_.noise)),
      grid_(shape_.whole_stars),
      expected_(grid_, noise_),
      draw_item_({1.0}) {
  plan_users();
  const std::vector<double> wanted = plan_items();
  mean_ = calibrated_mean(wanted);
}

void MovielensLike::plan_users() {
  const auto users = static_cast<std::size_t>(shape_.users);
  std::vector<double> keys(users);
  for (std::size_t user = 0; user < users; ++user) {
    keys[user] = uniform_double(philox(seed_, user, kLikeStepOrder, RandomPurpose::like_users).low64());
  }
  const std::vector<std::int32_t> order = order_by(keys);
  counts_by_rank_ = activity_by_rank(shape_);
  first_.resize(users + 1);
  for (std::size_t rank = 0; rank < users; ++rank) {
    first_[static_cast<std::size_t>(order[rank]) + 1] = counts_by_rank_[rank];
  }
  std::partial_sum(first_.begin(), first_.end(), first_.begin());

  const auto rank = static_cast<std::size_t>(rank_);
  if (shape_.user_file) {
    group_factors_.resize((kSexes + kAgeGroups.size() + kOccupations.size()) * rank);
    for (std::size_t k = 0; k < group_factors_.size(); ++k) {
      group_factors_[k] = static_cast<float>(normal_double(philox(seed_, k, 1, RandomPurpose::like_centroids)));
    }
  }
}

std::vector<double> MovielensLike::plan_items() {
  const auto items = static_cast<std::size_t>(shape_.items);
  raw_items_ = sparse_item_ids(shape_);
  // Popular items have rather low ids, as in MovieLens.
  std::vector<double> popularity_keys(items);
  std::vector<double> promise_keys(items);
  for (std::size_t item = 0; item < items; ++item) {
    popularity_keys[item] = uniform_double(philox(seed_, item, kLikeStepOrder, RandomPurpose::like_items).low64()) +
                            static_cast<double>(item) / static_cast<double>(items);
    promise_keys[item] = uniform_double(philox(seed_, item, kLikeStepPromise, RandomPurpose::like_items).low64());
  }
  promise_order_ = order_by(promise_keys);
  const std::vector<std::int32_t> order = order_by(popularity_keys);
  std::vector<double> wanted_by_rank = popularity_by_rank(shape_);
  // One rating of each item is promised, not drawn.
  std::vector<double> drawn_by_rank(items);
  for (std::size_t rank = 0; rank < items; ++rank) {
    drawn_by_rank[rank] = wanted_by_rank[rank] - 1.0;
  }
  const double share = 1.0 - static_cast<double>(shape_.items) / static_cast<double>(shape_.ratings);
  const std::vector<double> weights_by_rank = draw_weights(drawn_by_rank, counts_by_rank_, share);
  std::vector<double> wanted(items);
  std::vector<double> weights(items);
  std::vector<double> normal_popularity(items);
  for (std::size_t rank = 0; rank < items; ++rank) {
    const auto item = static_cast<std::size_t>(order[rank]);
    wanted[item] = wanted_by_rank[rank];
    weights[item] = weights_by_rank[rank];
    normal_popularity[item] = -normal_quantile((static_cast<double>(rank) + 0.5) / static_cast<double>(items));
  }
  draw_item_ = AliasTable(weights);
  weights_.assign(weights.begin(), weights.end());
  plant_items(normal_popularity);
  return wanted;
}

void MovielensLike::plant_items(const std::vector<double>& normal_popularity) {
  const auto items = static_cast<std::size_t>(shape_.items);
  const auto rank = static_cast<std::size_t>(rank_);
  // Centroids of one length, so that no genre is divisive and none without character.
  std::vector<float> centroids(kFilmGenres * rank);
  for (std::size_t genre = 0; genre < kFilmGenres; ++genre) {
    float* const centroid = &centroids[genre * rank];
    float squares = 0.0F;
    for (std::size_t k = 0; k < rank; ++k) {
      centroid[k] =
          static_cast<float>(normal_double(philox(seed_, genre * rank + k, 0, RandomPurpose::like_centroids)));
      squares += centroid[k] * centroid[k];
    }
    const float scale = std::sqrt(static_cast<float>(rank_) / std::max(squares, 1e-12F));
    std::transform(centroid, centroid + rank, centroid, [&](float value) { return scale * value; });
  }

  item_bias_.resize(items);
  item_info_.resize(items);
  item_factors_.resize(items * rank);
  std::unordered_set<std::string> titles;
  const float sd = factor_sd(rank_);
  const float own_part = sd * std::sqrt(static_cast<float>(1.0 - kGenreShare));
  for (std::size_t item = 0; item < items; ++item) {
    const auto words = [&](std::uint32_t step) { return philox(seed_, item, step, RandomPurpose::like_items); };
    const double own = std::sqrt(1.0 - kPopularityCorrelation * kPopularityCorrelation);
    item_bias_[item] = static_cast<float>(std::sqrt(kItemVariance) * (kPopularityCorrelation * normal_popularity[item] +
                                                                      own * normal_double(words(kLikeStepBias))));
    const std::vector<std::size_t> genres = draw_genres(words(kLikeStepGenres));
    float* const factors = &item_factors_[item * rank];
    const float genre_part = sd * std::sqrt(static_cast<float>(kGenreShare) / static_cast<float>(genres.size()));
    for (std::size_t k = 0; k < rank; ++k) {
      factors[k] =
          own_part * static_cast<float>(normal_double(words(kLikeStepFactors + static_cast<std::uint32_t>(k))));
      for (const std::size_t genre : genres) {
        factors[k] += genre_part * centroids[genre * rank + k];
      }
    }

    ItemInfo& info = item_info_[item];
    for (const std::size_t genre : genres) {
      info.genres += info.genres.empty() ? "" : "|";
      info.genres += film_genres()[genre].name;
    }
    // The share of films falls by half every 15 years back.
    const double age = std::min(80.0, -21.6 * std::log1p(-uniform_double(words(kLikeStepYear).low64())));
    info.year = shape_.last_year - static_cast<std::int32_t>(age);
    const std::string name = film_title(genres, words(kLikeStepTitle));
    std::string title = fmt::format("{} ({})", name, info.year);
    for (int part = 2; !titles.insert(title).second; ++part) {
      title = fmt::format("{} {} ({})", name, part, info.year);
    }
    info.title = title;
  }
}

double MovielensLike::calibrated_mean(const std::vector<double>& wanted) const {
  const AliasTable draw(wanted);
  std::vector<float> scores(kPilotRatings);
  std::vector<float> factors;
  for (std::int32_t k = 0; k < kPilotRatings; ++k) {
    const PhiloxWords words = philox(seed_, static_cast<std::uint64_t>(k), 0, RandomPurpose::like_pilot);
    const auto number = static_cast<std::int64_t>(uniform_double(words.low64()) * static_cast<double>(shape_.ratings));
    const auto after = std::upper_bound(first_.begin(), first_.end(), number);
    const auto user = static_cast<std::int32_t>(after - first_.begin()) - 1;
    user_factors(user, factors);
    scores[static_cast<std::size_t>(k)] = score(factors.data(), user_bias(user), draw(words.word[2]));
  }
  // The mean rating rises with the mean score.
  double low = 0.0;
  double high = 6.0;
  for (int round = 0; round < 30; ++round) {
    const double middle = 0.5 * (low + high);
    double sum = 0.0;
    for (const float one : scores) {
      sum += expected_(middle + static_cast<double>(one));
    }
    (sum < shape_.mean * kPilotRatings ? low : high) = middle;
  }
  return low;
}

float MovielensLike::user_bias(std::int32_t user) const {
  return static_cast<float>(std::sqrt(kUserVariance) * normal_double(philox(seed_, static_cast<std::uint64_t>(user),
                                                                            kLikeStepBias, RandomPurpose::like_users)));
}

struct MovielensLike::Person {
  bool female;
  std::size_t age;  ///< index into kAgeGroups
  std::size_t occupation;
};

MovielensLike::Person MovielensLike::person(std::int32_t user) const {
  const PhiloxWords words = philox(seed_, static_cast<std::uint64_t>(user), kLikeStepPerson, RandomPurpose::like_users);
  Person person{};
  person.female = uniform_float(words.word[0]) < kFemaleShare;
  double left = static_cast<double>(uniform_float(words.word[1]));
  while (person.age + 1 < kAgeShares.size() && left >= kAgeShares[person.age]) {
    left -= kAgeShares[person.age++];
  }
  const auto numbered = [](std::string_view name) {
    return static_cast<std::size_t>(std::find(kOccupations.begin(), kOccupations.end(), name) - kOccupations.begin());
  };
  const std::size_t school = numbered("K-12 student");
  const std::size_t college = numbered("college/grad student");
  const std::size_t retired = numbered("retired");
  const float usual = uniform_float(words.word[2]);
  if (person.age == 0) {
    person.occupation = usual < 0.8F ? school : numbered("unemployed");
  } else if (person.age == 1 && usual < 0.45F) {
    person.occupation = college;
  } else if (person.age + 1 == kAgeGroups.size() && usual < 0.4F) {
    person.occupation = retired;
  } else {
    person.occupation = words.word[3] % kOccupations.size();
    if (person.occupation == school || person.occupation == retired) {
      person.occupation = 0;
    }
  }
  return person;
}

UserTable MovielensLike::user_table() const {
  UserTable table;
  if (!shape_.user_file) {
    return table;
  }
  for (std::int32_t user = 0; user < shape_.users; ++user) {
    const Person who = person(user);
    UserInfo info;
    info.sex = who.female ? "F" : "M";
    info.age = kAgeGroups[who.age].code;
    info.age_is_group = true;
    info.occupation = kOccupations[who.occupation];
    const PhiloxWords words =
        philox(seed_, static_cast<std::uint64_t>(user), kLikeStepPerson + 1, RandomPurpose::like_users);
    info.zip = fmt::format("{:05}", words.word[0] % 99951);
    table.emplace(user + 1, std::move(info));
  }
  return table;
}

void MovielensLike::user_factors(std::int32_t user, std::vector<float>& factors) const {
  const auto rank = static_cast<std::size_t>(rank_);
  factors.resize(rank);
  const float sd = factor_sd(rank_);
  for (std::size_t k = 0; k < rank; ++k) {
    factors[k] = sd * static_cast<float>(normal_double(philox(seed_, static_cast<std::uint64_t>(user),
                                                              kLikeStepFactors + static_cast<std::uint32_t>(k),
                                                              RandomPurpose::like_users)));
  }
  if (!group_factors_.empty()) {
    const Person who = person(user);
    const float own_part = std::sqrt(static_cast<float>(1.0 - kGroupShare));
    const float group_part = sd * std::sqrt(static_cast<float>(kGroupShare) / 3.0F);
    const std::array<std::size_t, 3> groups = {who.female ? 0U : 1U, kSexes + who.age,
                                               kSexes + kAgeGroups.size() + who.occupation};
    for (std::size_t k = 0; k < rank; ++k) {
      factors[k] *= own_part;
      for (const std::size_t group : groups) {
        factors[k] += group_part * group_factors_[group * rank + k];
      }
    }
  }
}

float MovielensLike::score(const float* factors, float base, std::int32_t item) const {
  const float* const of_item = item_factors(item);
  const auto rank = static_cast<std::size_t>(rank_);
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t k = 0; k < rank; ++k) {
    sum += factors[k] * of_item[k];
  }
  return base + item_bias(item) + sum;
}

void MovielensLike::draw_user(std::int32_t user, UserRatings& ratings) const {
  pick_items(user, ratings);
  const std::size_t count = ratings.items.size();
  ratings.stars.resize(count);
  ratings.squared_error = 0.0;
  user_factors(user, ratings.factors);
  const float base = static_cast<float>(mean_) + user_bias(user);
  for (std::size_t first = 0; first < count; first += 4) {
    const PhiloxWords words = philox(seed_, static_cast<std::uint64_t>(user), static_cast<std::uint32_t>(first / 4),
                                     RandomPurpose::like_noise);
    for (std::size_t k = first; k < std::min(first + 4, count); ++k) {
      const double planted = static_cast<double>(score(ratings.factors.data(), base, ratings.items[k]));
      const double noise = noise_ * static_cast<double>(normal_(words.word[k - first]));
      ratings.stars[k] = grid_.index(planted + noise);
      const double error = static_cast<double>(grid_.values()[ratings.stars[k]]) - expected_(planted);
      ratings.squared_error += error * error;
    }
  }
  place_in_time(user, ratings);
}

void MovielensLike::pick_items(std::int32_t user, UserRatings& ratings) const {
  std::vector<std::uint64_t>& taken = ratings.taken;
  taken.resize((static_cast<std::size_t>(shape_.items) + 63) / 64);
  // Item k of a random order is promised the rating number floor(k * ratings / items): these differ, so that every
  // item is rated, and no user is promised more items than it rates, nor one twice.
  const std::int64_t begin = first_rating(user);
  const std::int64_t end = first_rating(user + 1);
  const auto promised_before = [&](std::int64_t number) {
    return (number * shape_.items + shape_.ratings - 1) / shape_.ratings;
  };
  const std::int64_t first_promise = promised_before(begin);
  const std::int64_t last_promise = promised_before(end);
  for (std::int64_t k = first_promise; k < last_promise; ++k) {
    const auto item = static_cast<std::size_t>(promise_order_[static_cast<std::size_t>(k)]);
    taken[item / 64] |= std::uint64_t{1} << (item % 64);
  }
  const auto count = static_cast<std::int32_t>(end - begin);
  const auto drawn = count - static_cast<std::int32_t>(last_promise - first_promise);
  // Drawing again if an item is taken gives the same distribution as keys (Efraimidis and Spirakis 2006) and costs less
  // while most of the weight is free.
  if (count > shape_.items / 8) {
    pick_by_keys(user, drawn, ratings);
  } else {
    pick_by_redrawing(user, drawn, taken);
  }
  ratings.items.resize(static_cast<std::size_t>(count));
  std::int32_t* out = ratings.items.data();
  for (std::size_t word = 0; word < taken.size(); ++word) {
    for (std::uint64_t bits = taken[word]; bits != 0; bits &= bits - 1) {
      *out++ = static_cast<std::int32_t>(word * 64) + std::countr_zero(bits);
    }
    taken[word] = 0;
  }
}

void MovielensLike::pick_by_redrawing(std::int32_t user, std::int32_t count, std::vector<std::uint64_t>& taken) const {
  for (std::uint32_t step = 0; count > 0; ++step) {
    const PhiloxWords words = philox(seed_, static_cast<std::uint64_t>(user), step, RandomPurpose::like_pairs);
    for (const std::uint32_t word : words.word) {
      const auto item = static_cast<std::size_t>(draw_item_(word));
      const std::uint64_t bit = std::uint64_t{1} << (item % 64);
      if ((taken[item / 64] & bit) == 0) {
        taken[item / 64] |= bit;
        if (--count == 0) {
          break;
        }
      }
    }
  }
}

void MovielensLike::pick_by_keys(std::int32_t user, std::int32_t count, UserRatings& ratings) const {
  std::vector<std::uint64_t>& taken = ratings.taken;
  ratings.keys.clear();
  for (std::int32_t first = 0; first < shape_.items; first += 4) {
    const PhiloxWords words = philox(seed_, static_cast<std::uint64_t>(user), static_cast<std::uint32_t>(first / 4),
                                     RandomPurpose::like_pairs);
    for (std::int32_t item = first; item < std::min(first + 4, shape_.items); ++item) {
      const auto index = static_cast<std::size_t>(item);
      if ((taken[index / 64] >> (index % 64) & 1U) == 0) {
        const float uniform = (static_cast<float>(words.word[item - first]) + 0.5F) * 0x1.0p-32F;
        ratings.keys.emplace_back(-std::log(uniform) / weights_[index], item);
      }
    }
  }
  std::nth_element(ratings.keys.begin(), ratings.keys.begin() + count, ratings.keys.end());
  for (std::int32_t k = 0; k < count; ++k) {
    const auto item = static_cast<std::size_t>(ratings.keys[static_cast<std::size_t>(k)].second);
    taken[item / 64] |= std::uint64_t{1} << (item % 64);
  }
}

void MovielensLike::place_in_time(std::int32_t user, UserRatings& ratings) const {
  constexpr std::int32_t kPerSession = 50;
  constexpr std::int64_t kSecondsPerRating = 25;
  constexpr double kDaysOfLife = 300.0;
  const auto count = static_cast<std::int32_t>(ratings.items.size());
  const std::int32_t sessions = std::min(kMostSessions, 1 + count / kPerSession);
  const std::int64_t length = 1 + kSecondsPerRating * count / sessions;
  const auto words = [&](std::uint32_t step) {
    return philox(seed_, static_cast<std::uint64_t>(user), step, RandomPurpose::like_time);
  };
  const PhiloxWords joined = words(kLikeStepJoined);
  const double latest = static_cast<double>(shape_.last_time - length);
  const double start = static_cast<double>(shape_.first_time) +
                       uniform_double(joined.low64()) * (latest - static_cast<double>(shape_.first_time));
  const double life = -86400.0 * kDaysOfLife * std::log1p(-uniform_double(joined.high64()));
  ratings.sessions.resize(static_cast<std::size_t>(sessions));
  for (std::int32_t k = 0; k < sessions; ++k) {
    const double later =
        k == 0 ? 0.0 : uniform_double(words(kLikeStepSessions + static_cast<std::uint32_t>(k)).low64());
    ratings.sessions[static_cast<std::size_t>(k)] = static_cast<std::int64_t>(std::min(latest, start + life * later));
  }
  ratings.times.resize(ratings.items.size());
  for (std::size_t first = 0; first < ratings.times.size(); first += 4) {
    const PhiloxWords rated = words(kLikeStepRated + static_cast<std::uint32_t>(first / 4));
    for (std::size_t k = first; k < std::min(first + 4, ratings.times.size()); ++k) {
      const std::uint32_t word = rated.word[k - first];
      const std::size_t session = (std::uint64_t{word >> 16U} * static_cast<std::uint64_t>(sessions)) >> 16U;
      const auto within =
          static_cast<std::int64_t>((std::uint64_t{word & 0xFFFFU} * static_cast<std::uint64_t>(length)) >> 16U);
      ratings.times[k] = ratings.sessions[session] + within;
    }
  }
}

namespace {

/// Draws all ratings into `table`, with the items' numbers in `like`. Returns the sum of the squared errors.
double draw_ratings(const MovielensLike& like, bool timestamps, ThreadPool& pool, const GenerateProgress& progress,
                    RatingTable& table) {
  const std::int32_t users = like.shape().users;
  const std::int64_t total = like.shape().ratings;
  resize_rows(table, static_cast<std::size_t>(total), timestamps);
  const std::vector<float>& values = like.grid().values();
  std::vector<double> squared_errors(static_cast<std::size_t>(users));
  std::mutex mutex;
  std::int64_t done = 0;
  constexpr std::int64_t kUsers = 256;
  pool.parallel_for(users, kUsers, [&](std::int64_t begin, std::int64_t end) {
    UserRatings drawn;
    for (auto user = static_cast<std::int32_t>(begin); user < end; ++user) {
      like.draw_user(user, drawn);
      auto at = static_cast<std::size_t>(like.first_rating(user));
      for (std::size_t k = 0; k < drawn.items.size(); ++k, ++at) {
        table.users[at] = user;
        table.items[at] = drawn.items[k];
        table.ratings[at] = values[drawn.stars[k]];
        if (timestamps) {
          table.timestamps[at] = drawn.times[k];
        }
      }
      squared_errors[static_cast<std::size_t>(user)] = drawn.squared_error;
    }
    if (progress) {
      const std::lock_guard lock(mutex);
      done += like.first_rating(static_cast<std::int32_t>(end)) - like.first_rating(static_cast<std::int32_t>(begin));
      progress(done, total);
    }
  });
  return std::accumulate(squared_errors.begin(), squared_errors.end(), 0.0);
}

}  // namespace

SyntheticDataset generate_movielens_like(const MovielensLikeOptions& options, int threads, bool timestamps,
                                         const GenerateProgress& progress) {
  const MovielensLike like(options);
  SyntheticDataset result;
  Dataset& dataset = result.dataset;
  RatingTable& table = dataset.ratings;
  ThreadPool pool(threads > 0 ? threads : hardware_threads());
  const double squared_error = draw_ratings(like, timestamps, pool, progress, table);
  for (std::int32_t user = 0; user < like.shape().users; ++user) {
    dataset.users.find_or_add(user + 1);
  }
  // Dense ids in order of first appearance, as a reader gives them.
  std::vector<std::int32_t> dense(static_cast<std::size_t>(like.shape().items), -1);
  for (const std::int32_t item : table.items) {
    std::int32_t& id = dense[static_cast<std::size_t>(item)];
    if (id < 0) {
      id = dataset.items.find_or_add(like.raw_item(item));
      dataset.item_info.push_back(like.item_info(item));
    }
  }
  pool.parallel_for(like.shape().ratings, std::int64_t{1} << 16U, [&](std::int64_t begin, std::int64_t end) {
    for (auto k = static_cast<std::size_t>(begin); k < static_cast<std::size_t>(end); ++k) {
      table.items[k] = dense[static_cast<std::size_t>(table.items[k])];
    }
  });
  const std::vector<float>& values = like.grid().values();
  dataset.scale = {values.front(), values.back(), values[1] - values[0]};
  dataset.source = "synthetic";
  dataset.layout = "synthetic";
  result.best_rmse = std::sqrt(squared_error / static_cast<double>(like.shape().ratings));
  return result;
}

SyntheticDataset generate_dataset(const MovielensLikeOptions& options) {
  return generate_movielens_like(options, 0, true, {});
}

}  // namespace curate
