#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string_view>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/planted_rank.h"
#include "support/philox.h"

namespace curate {
namespace {

constexpr double kMean = 3.5;
constexpr double kLowest = 0.5;
constexpr double kHighest = 5.0;
constexpr double kStep = 0.5;

// Weights of rank k are (k + 1 + shift)^-exponent (Zipf and Mandelbrot). Exponents and shift put the ratio of the most
// active user (item) to the median one near that of MovieLens 1M.
constexpr double kActivityExponent = 0.8;
constexpr double kPopularityExponent = 1.0;
constexpr double kShiftShare = 0.01;  // of the number of users (items)

constexpr std::array<std::string_view, 18> kGenres = {
    "Action",    "Adventure", "Animation", "Children", "Comedy",  "Crime",   "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror",    "IMAX",      "Musical",  "Mystery", "Romance", "Sci-Fi",      "War",   "Western"};

// Steps of RandomPurpose::synthetic_popularity; the purpose covers all that is drawn once per item.
constexpr std::uint32_t kStepOrder = 0;
constexpr std::uint32_t kStepTitle = 1;
constexpr std::uint32_t kStepPromise = 2;
// Steps of synthetic_factors and synthetic_bias.
constexpr std::uint32_t kStepUser = 0;
constexpr std::uint32_t kStepItem = 1;
// Steps of synthetic_time: once per user, once per rating.
constexpr std::uint32_t kStepJoined = 0;
constexpr std::uint32_t kStepRated = 1;

std::uint64_t pair_element(std::int32_t user, std::int32_t item) {
  return (static_cast<std::uint64_t>(user) + 1) << 32U | static_cast<std::uint64_t>(item);
}

void check(const SyntheticOptions& options) {
  const auto at_least_one = [](std::int64_t value, std::string_view name) {
    if (value < 1) {
      throw InputError(fmt::format("cannot generate {} {}; give at least 1", value, name));
    }
  };
  at_least_one(options.users, "users");
  at_least_one(options.items, "items");
  at_least_one(options.ratings, "ratings");
  if (options.ratings > std::int64_t{options.users} * options.items) {
    throw InputError(
        fmt::format("{} ratings do not fit: {} users and {} items make {} pairs, and a pair is rated once; "
                    "give fewer ratings",
                    options.ratings, options.users, options.items, std::int64_t{options.users} * options.items));
  }
  checked_rank(options.rank);
  if (!(options.noise >= 0.0) || !std::isfinite(options.noise)) {
    throw InputError(fmt::format("noise {} is no standard deviation; give 0 or more", options.noise));
  }
}

/// 0..count-1 in random order.
std::vector<std::int32_t> shuffled(std::int32_t count, std::uint64_t seed, std::uint32_t step, RandomPurpose purpose) {
  std::vector<std::uint64_t> keys(static_cast<std::size_t>(count));
  for (std::size_t k = 0; k < keys.size(); ++k) {
    keys[k] = philox(seed, k, step, purpose).low64();
  }
  std::vector<std::int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
  return order;
}

/// weight[k] for an id k, whose rank is its place in `order`.
std::vector<double> zipf_weights(const std::vector<std::int32_t>& order, double exponent) {
  const double shift = kShiftShare * static_cast<double>(order.size());
  std::vector<double> weights(order.size());
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    weights[static_cast<std::size_t>(order[rank])] = std::pow(static_cast<double>(rank) + 1.0 + shift, -exponent);
  }
  return weights;
}

/// Ratings per user: in proportion to the weights, `items` at most, one at least if there are enough.
std::vector<std::int32_t> share_out(std::int64_t ratings, std::int32_t items, const std::vector<std::int32_t>& order,
                                    const std::vector<double>& weights) {
  std::vector<std::int32_t> counts(weights.size(), 0);
  std::int64_t left = ratings;
  if (left >= static_cast<std::int64_t>(counts.size())) {
    counts.assign(counts.size(), 1);
    left -= static_cast<std::int64_t>(counts.size());
  }
  while (left > 0) {
    double total = 0.0;
    for (std::size_t user = 0; user < counts.size(); ++user) {
      total += counts[user] < items ? weights[user] : 0.0;
    }
    const double each = static_cast<double>(left) / total;
    bool gave = false;
    for (const std::int32_t user : order) {
      std::int32_t& count = counts[static_cast<std::size_t>(user)];
      const double share = std::floor(each * weights[static_cast<std::size_t>(user)]);
      const auto more = std::min(
          {left, std::int64_t{items} - count, static_cast<std::int64_t>(std::min(share, static_cast<double>(items)))});
      count += static_cast<std::int32_t>(more);
      left -= more;
      gave = gave || more > 0;
    }
    if (!gave) {
      // Every share is below one, so fewer are left than users that have room.
      for (const std::int32_t user : order) {
        std::int32_t& count = counts[static_cast<std::size_t>(user)];
        if (left > 0 && count < items) {
          ++count;
          --left;
        }
      }
    }
  }
  return counts;
}

/// Draws the items of one user after another.
class ItemPicker {
 public:
  ItemPicker(const std::vector<double>& weights, std::uint64_t seed)
      : weights_(weights), seed_(seed), cumulative_(weights.size()), taken_by_(weights.size(), -1) {
    std::partial_sum(weights.begin(), weights.end(), cumulative_.begin());
  }

  /// Adds `count` distinct items to `picked` (which holds some that `user` has already): weighted, without replacement.
  void pick(std::int32_t user, std::int32_t count, std::vector<std::int32_t>& picked) {
    for (const std::int32_t item : picked) {
      taken_by_[static_cast<std::size_t>(item)] = user;
    }
    // Drawing again if an item is taken gives the same distribution as keys (Efraimidis and Spirakis 2006) and costs
    // less while most of the weight is free.
    const std::size_t wanted = picked.size() + static_cast<std::size_t>(count);
    if (wanted > weights_.size() / 8) {
      pick_by_keys(user, count, picked);
    } else {
      pick_by_redrawing(user, wanted, picked);
    }
    std::sort(picked.begin(), picked.end());
  }

 private:
  void pick_by_redrawing(std::int32_t user, std::size_t wanted, std::vector<std::int32_t>& picked) {
    for (std::uint32_t draw = 0; picked.size() < wanted; ++draw) {
      const PhiloxWords words = philox(seed_, static_cast<std::uint64_t>(user), draw, RandomPurpose::synthetic_pairs);
      const double at = uniform_double(words.low64()) * cumulative_.back();
      const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, at);
      const auto item = static_cast<std::int32_t>(found - cumulative_.begin());
      std::int32_t& taken_by = taken_by_[static_cast<std::size_t>(item)];
      if (taken_by != user) {
        taken_by = user;
        picked.push_back(item);
      }
    }
  }

  void pick_by_keys(std::int32_t user, std::int32_t count, std::vector<std::int32_t>& picked) {
    keys_.clear();
    for (std::size_t item = 0; item < weights_.size(); ++item) {
      if (taken_by_[item] != user) {
        const PhiloxWords words =
            philox(seed_, pair_element(user, static_cast<std::int32_t>(item)), 0, RandomPurpose::synthetic_pairs);
        keys_.emplace_back(-std::log1p(-uniform_double(words.low64())) / weights_[item], item);
      }
    }
    std::nth_element(keys_.begin(), keys_.begin() + count, keys_.end());
    for (std::int32_t k = 0; k < count; ++k) {
      picked.push_back(static_cast<std::int32_t>(keys_[static_cast<std::size_t>(k)].second));
    }
  }

  const std::vector<double>& weights_;
  std::uint64_t seed_;
  std::vector<double> cumulative_;
  std::vector<std::int32_t> taken_by_;
  std::vector<std::pair<double, std::size_t>> keys_;
};

/// mean + user bias + item bias + dot product of the factors.
class PlantedModel {
 public:
  explicit PlantedModel(const SyntheticOptions& options) : rank_(static_cast<std::size_t>(options.rank)) {
    // With the noise a standard deviation near 1; a loud noise leaves the model at least a quarter of that variance.
    const double variance = std::max(1.0 - options.noise * options.noise, 0.25);
    // A quarter of it in each bias, half in the dot product, whose variance is rank * (sd of a factor)^4.
    const double bias_sd = std::sqrt(0.25 * variance);
    const double factor_sd = std::pow(0.5 * variance / static_cast<double>(options.rank), 0.25);
    const auto draw = [&](std::size_t count, RandomPurpose purpose, std::uint32_t step, double sd) {
      std::vector<double> values(count);
      for (std::size_t k = 0; k < count; ++k) {
        values[k] = sd * normal_double(philox(options.seed, k, step, purpose));
      }
      return values;
    };
    const auto users = static_cast<std::size_t>(options.users);
    const auto items = static_cast<std::size_t>(options.items);
    user_bias_ = draw(users, RandomPurpose::synthetic_bias, kStepUser, bias_sd);
    item_bias_ = draw(items, RandomPurpose::synthetic_bias, kStepItem, bias_sd);
    user_factors_ = draw(users * rank_, RandomPurpose::synthetic_factors, kStepUser, factor_sd);
    item_factors_ = draw(items * rank_, RandomPurpose::synthetic_factors, kStepItem, factor_sd);
  }

  double score(std::int32_t user, std::int32_t item) const {
    const auto u = static_cast<std::size_t>(user);
    const auto i = static_cast<std::size_t>(item);
    const double* const p = &user_factors_[u * rank_];
    return std::inner_product(p, p + rank_, &item_factors_[i * rank_], kMean + user_bias_[u] + item_bias_[i]);
  }

 private:
  std::size_t rank_;
  std::vector<double> user_bias_;
  std::vector<double> item_bias_;
  std::vector<double> user_factors_;
  std::vector<double> item_factors_;
};

double to_half_stars(double value) {
  return std::clamp(std::floor(value / kStep + 0.5) * kStep, kLowest, kHighest);
}

/// Expectation of to_half_stars(score + noise * z) for standard normal z: the lowest rating and a step for every
/// threshold that is passed, times the probability that it is.
double expected_rating(double score, double noise) {
  if (noise == 0.0) {
    return to_half_stars(score);
  }
  double expected = kLowest;
  for (double threshold = kLowest + kStep / 2; threshold < kHighest; threshold += kStep) {
    expected += kStep * 0.5 * std::erfc((threshold - score) / (noise * std::numbers::sqrt2));
  }
  return expected;
}

ItemInfo make_item_info(std::int32_t item, std::uint64_t seed) {
  const PhiloxWords words =
      philox(seed, static_cast<std::uint64_t>(item), kStepTitle, RandomPurpose::synthetic_popularity);
  ItemInfo info;
  info.title = fmt::format("Synthetic film {} ({})", item + 1, 1940 + words.word[0] % 80);
  // One to three different genres: a start and two strides that never wrap to the start.
  const std::uint32_t count = 1 + words.word[1] % 3;
  std::vector<std::size_t> picked = {words.word[2] % kGenres.size()};
  for (std::uint32_t k = 1; k < count; ++k) {
    picked.push_back((picked.back() + 1 + (words.word[3] >> (8 * k)) % 8) % kGenres.size());
  }
  std::sort(picked.begin(), picked.end());
  for (const std::size_t genre : picked) {
    info.genres += info.genres.empty() ? "" : "|";
    info.genres += kGenres[genre];
  }
  return info;
}

/// Items that are rated whatever is drawn. If there are enough ratings, item number k of a random order is promised the
/// rating number floor(k * ratings / items): these differ, so that no user is promised more items than it rates, nor
/// one twice.
class Promises {
 public:
  explicit Promises(const SyntheticOptions& options)
      : order_(shuffled(options.items, options.seed, kStepPromise, RandomPurpose::synthetic_popularity)),
        items_(options.items),
        stride_(options.ratings / options.items),
        stride_remainder_(options.ratings % options.items),
        taken_(stride_ > 0 ? 0 : options.items) {}

  /// Appends those whose rating has a number below `rating`, and were not taken yet.
  void take_before(std::int64_t rating, std::vector<std::int32_t>& items) {
    while (taken_ < items_ && next_ < rating) {
      items.push_back(order_[static_cast<std::size_t>(taken_++)]);
      next_ += stride_;
      remainder_ += stride_remainder_;
      if (remainder_ >= items_) {
        remainder_ -= items_;
        ++next_;
      }
    }
  }

 private:
  std::vector<std::int32_t> order_;
  std::int64_t items_;
  std::int64_t stride_;
  std::int64_t stride_remainder_;
  std::int64_t taken_;
  std::int64_t next_ = 0;  ///< rating of the item that is taken next
  std::int64_t remainder_ = 0;
};

}  // namespace

SyntheticDataset generate_dataset(const SyntheticOptions& options) {
  check(options);
  const std::uint64_t seed = options.seed;
  const std::vector<std::int32_t> user_order =
      shuffled(options.users, seed, kStepOrder, RandomPurpose::synthetic_activity);
  const std::vector<std::int32_t> item_order =
      shuffled(options.items, seed, kStepOrder, RandomPurpose::synthetic_popularity);
  const std::vector<std::int32_t> counts =
      share_out(options.ratings, options.items, user_order, zipf_weights(user_order, kActivityExponent));
  const std::vector<double> popularity = zipf_weights(item_order, kPopularityExponent);
  const PlantedModel model(options);
  ItemPicker picker(popularity, seed);

  SyntheticDataset result;
  Dataset& dataset = result.dataset;
  RatingTable& table = dataset.ratings;
  const auto total = static_cast<std::size_t>(options.ratings);
  table.users.reserve(total);
  table.items.reserve(total);
  table.ratings.reserve(total);
  table.timestamps.reserve(total);

  Promises promises(options);
  std::int64_t done = 0;
  double squared_error = 0.0;
  std::vector<std::int32_t> picked;
  for (std::int32_t user = 0; user < options.users; ++user) {
    const std::int32_t count = counts[static_cast<std::size_t>(user)];
    picked.clear();
    done += count;
    promises.take_before(done, picked);
    picker.pick(user, count - static_cast<std::int32_t>(picked.size()), picked);

    const PhiloxWords joined =
        philox(seed, static_cast<std::uint64_t>(user), kStepJoined, RandomPurpose::synthetic_time);
    const double first_time = 820454400.0 + uniform_double(joined.low64()) * 6.3e8;  // 1996 to 2015
    for (const std::int32_t item : picked) {
      const std::uint64_t element = pair_element(user, item);
      const double score = model.score(user, item);
      const double noise = options.noise * normal_double(philox(seed, element, 0, RandomPurpose::synthetic_noise));
      const double rating = to_half_stars(score + noise);
      const double error = rating - expected_rating(score, options.noise);
      squared_error += error * error;
      // About half a minute per rating, with a tail of later visits.
      const PhiloxWords rated = philox(seed, element, kStepRated, RandomPurpose::synthetic_time);
      const double later = -std::log1p(-uniform_double(rated.low64())) * 30.0 * count;
      table.users.push_back(dataset.users.find_or_add(user + 1));
      const std::int32_t dense_item = dataset.items.find_or_add(item + 1);
      if (dense_item == static_cast<std::int32_t>(dataset.item_info.size())) {
        dataset.item_info.push_back(make_item_info(item, seed));
      }
      table.items.push_back(dense_item);
      table.ratings.push_back(static_cast<float>(rating));
      table.timestamps.push_back(static_cast<std::int64_t>(first_time + later));
    }
  }

  dataset.scale = {static_cast<float>(kLowest), static_cast<float>(kHighest), static_cast<float>(kStep)};
  dataset.source = "synthetic";
  dataset.layout = "synthetic";
  result.best_rmse = std::sqrt(squared_error / static_cast<double>(options.ratings));
  return result;
}

}  // namespace curate
