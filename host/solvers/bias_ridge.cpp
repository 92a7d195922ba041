#include "solvers/bias_ridge.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "support/thread_pool.h"

namespace curate {
namespace {

/// lambda is at least its inverse. Without a ridge, nothing would say what a user of one rating of an item of one
/// rating has.
constexpr double kLargestVariance = 1e3;

/// Steps of the fixed point end when a variance moves by less than that part of it. A round of the model of both sides
/// takes sweeps over the ratings, and predictions do not change to be seen from there on.
constexpr double kToleranceOfBoth = 0.03;
constexpr double kToleranceOfOne = 1e-4;

/// What a side varies by if the ratings are too few to say: about half of what it does among film ratings.
constexpr BiasVariances kSupposed = {0.1, 0.2};

/// Of users or of items, by dense id.
struct SideSums {
  explicit SideSums(std::int32_t ids) : counts(static_cast<std::size_t>(ids)), sums(static_cast<std::size_t>(ids)) {}
  std::vector<double> counts;  ///< of ratings
  std::vector<double> sums;    ///< of ratings minus their plain mean
};

/// w of n ratings: 1 / (n + lambda). An offset is w times what is left of the ratings' sum.
double weight_of(double variance, double count) {
  return variance / (1.0 + variance * count);
}

/// MacKay's fixed point: the offsets' sum of squares over what they have of freedom, in units of the error's variance.
double next_variance(double squares, double freedom, double error_variance) {
  if (!(squares > 0.0 && freedom > 0.0)) {
    return 0.0;
  }
  const double variance = squares / (freedom * error_variance);
  return variance < kLargestVariance ? variance : kLargestVariance;  // not finite: without error
}

bool settled(double now, double before, double tolerance) {
  return std::abs(now - before) <= tolerance * before;
}

double dot(std::span<const double> a, std::span<const double> b) {
  return std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0);
}

/// Pieces that a sweep is done in, by themselves. Every piece has sums of its own for all items, so there are few of
/// them if items are many.
std::int64_t pieces_of(std::int64_t ratings, std::int64_t items) {
  return std::clamp<std::int64_t>(ratings / (32 * items + 1), 1, 32);
}

/// The ratings in the order of their users, and sweeps over them. All sums are made in an order that follows from the
/// ratings alone.
class UserOrder {
 public:
  UserOrder(const RatingTable& ratings, std::int32_t users, std::int32_t items, ThreadPool& pool)
      : pool_(&pool), items_(items), starts_(static_cast<std::size_t>(users) + 1) {
    const std::size_t count = ratings.users.size();
    for (const std::int32_t user : ratings.users) {
      ++starts_[static_cast<std::size_t>(user) + 1];
    }
    std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
    if (std::is_sorted(ratings.users.begin(), ratings.users.end())) {
      ids_ = std::span<const std::int32_t>(ratings.items.data(), count);
    } else {
      sorted_.resize(count);
      std::vector<std::int64_t> next(starts_.begin(), starts_.end() - 1);
      for (std::size_t n = 0; n < count; ++n) {
        sorted_[static_cast<std::size_t>(next[static_cast<std::size_t>(ratings.users[n])]++)] = ratings.items[n];
      }
      ids_ = sorted_;
    }
    cut_into_pieces();
  }

  /// For every user v = value_of(user, sum of x[item] over the user's ratings); out[item] = sum of v over the item's
  /// ratings. Gives the sum of v over all ratings. An empty x counts as zeros; an empty `out` is not written.
  template <typename ValueOf>
  double sweep(std::span<const double> x, std::span<double> out, const ValueOf& value_of) {
    const auto pieces = static_cast<std::int64_t>(piece_starts_.size()) - 1;
    const auto items = static_cast<std::size_t>(items_);
    sums_.resize(out.empty() ? sums_.size() : static_cast<std::size_t>(pieces) * items);
    std::vector<double> totals(static_cast<std::size_t>(pieces));
    pool_->run(pieces, [&](std::int64_t piece) {
      const auto p = static_cast<std::size_t>(piece);
      double* const sums = out.empty() ? nullptr : sums_.data() + p * items;
      if (sums != nullptr) {
        std::fill_n(sums, items, 0.0);
      }
      double total = 0.0;
      for (std::size_t user = piece_starts_[p]; user < piece_starts_[p + 1]; ++user) {
        const std::span<const std::int32_t> rated = rated_by(user);
        const double value = value_of(user, x.empty() ? 0.0 : gather(x.data(), rated));
        total += static_cast<double>(rated.size()) * value;
        if (sums != nullptr) {
          for (const std::int32_t item : rated) {
            sums[item] += value;
          }
        }
      }
      totals[p] = total;
    });
    if (!out.empty()) {
      constexpr std::int64_t kGrain = 1024;
      pool_->parallel_for(items_, kGrain, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          double sum = 0.0;
          for (std::size_t p = 0; p < static_cast<std::size_t>(pieces); ++p) {
            sum += sums_[p * items + i];
          }
          out[i] = sum;
        }
      });
    }
    ++sweeps_;
    return std::accumulate(totals.begin(), totals.end(), 0.0);
  }

  std::int32_t sweeps() const { return sweeps_; }

 private:
  std::span<const std::int32_t> rated_by(std::size_t user) const {
    return ids_.subspan(static_cast<std::size_t>(starts_[user]),
                        static_cast<std::size_t>(starts_[user + 1] - starts_[user]));
  }

  static double gather(const double* x, std::span<const std::int32_t> rated) {
    // Four sums, so that an addition does not wait for the one before.
    double sums[4] = {};
    std::size_t n = 0;
    for (; n + 4 <= rated.size(); n += 4) {
      for (std::size_t k = 0; k < 4; ++k) {
        sums[k] += x[rated[n + k]];
      }
    }
    for (; n < rated.size(); ++n) {
      sums[0] += x[rated[n]];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  /// Whole users, of about as many ratings.
  void cut_into_pieces() {
    const std::int64_t ratings = starts_.back();
    const std::int64_t pieces = pieces_of(ratings, items_);
    piece_starts_ = {0};
    for (std::int64_t p = 1; p < pieces; ++p) {
      const auto begin = std::lower_bound(starts_.begin(), starts_.end() - 1, ratings * p / pieces);
      piece_starts_.push_back(static_cast<std::size_t>(begin - starts_.begin()));
    }
    piece_starts_.push_back(starts_.size() - 1);
  }

  ThreadPool* pool_;
  std::int32_t items_;
  std::vector<std::int64_t> starts_;  ///< [users + 1] of a user's ratings
  Column<std::int32_t> sorted_;
  std::span<const std::int32_t> ids_;      ///< items of all ratings, by user
  std::vector<std::size_t> piece_starts_;  ///< users at which a piece of the work begins
  std::vector<double> sums_;               ///< [pieces, items]
  std::int32_t sweeps_ = 0;
};

/// What all ratings come to.
struct RatingSums {
  double count = 0.0;
  double mean = 0.0;
  double squares = 0.0;          ///< of ratings minus their mean
  double excess_kurtosis = 0.0;  ///< or 0 if it is less
};

/// A mean and the offsets of one side alone, which depend on each other by the mean only.
class OneSide {
 public:
  /// With the variance of greatest restricted likelihood.
  static OneSide fit(const SideSums& side, const RatingSums& all) {
    const std::vector<Group> groups = by_count(side);
    OneSide now(groups, all, 0.1);
    for (int round = 0; round < 300; ++round) {
      const double before = now.variance_;
      now = OneSide(groups, all, now.next_variance_);
      if (settled(now.variance_, before, kToleranceOfOne)) {
        break;
      }
    }
    return now;
  }

  double weight(double count) const { return weight_of(variance_, count); }
  double offset(double count, double sum) const { return weight(count) * (sum - count * mean_); }
  double mean() const { return mean_; }
  double variance() const { return variance_; }
  double error_variance() const { return error_variance_; }

 private:
  /// All ids of as many ratings.
  struct Group {
    double count = 0.0;
    double ids = 0.0;
    double sums = 0.0;     ///< added up
    double squares = 0.0;  ///< of the sums
  };

  static std::vector<Group> by_count(const SideSums& side) {
    std::vector<Group> groups(1 + static_cast<std::size_t>(*std::max_element(side.counts.begin(), side.counts.end())));
    for (std::size_t id = 0; id < side.counts.size(); ++id) {
      Group& group = groups[static_cast<std::size_t>(side.counts[id])];
      group.count = side.counts[id];
      group.ids += 1.0;
      group.sums += side.sums[id];
      group.squares += side.sums[id] * side.sums[id];
    }
    std::erase_if(groups, [](const Group& group) { return group.count == 0.0; });
    return groups;
  }

  OneSide(const std::vector<Group>& groups, const RatingSums& all, double variance) : variance_(variance) {
    double count = 0.0;
    double sum = 0.0;
    double explained = 0.0;
    for (const Group& group : groups) {
      const double rest = 1.0 / (1.0 + variance * group.count);
      count += group.ids * group.count * rest;
      sum += group.sums * rest;
      explained += group.squares * weight(group.count);
    }
    mean_ = sum / count;
    error_variance_ = std::max(0.0, all.squares - explained - sum * mean_) / std::max(1.0, all.count - 1.0);
    double squares = 0.0;
    double freedom = 0.0;
    for (const Group& group : groups) {
      const double rest = 1.0 / (1.0 + variance * group.count);
      const double of_mean = group.count * mean_;
      const double left = group.squares - 2.0 * of_mean * group.sums + group.ids * of_mean * of_mean;
      squares += weight(group.count) * weight(group.count) * std::max(0.0, left);
      // The mean takes some of it.
      freedom += group.ids * group.count * (weight(group.count) - variance * group.count * rest * rest / count);
    }
    next_variance_ = next_variance(squares, freedom, error_variance_);
  }

  double mean_ = 0.0;
  double variance_ = 0.0;
  double error_variance_ = 0.0;  ///< in the ratings' unit, squared
  double next_variance_ = 0.0;
};

/// Whether a side varies at all, by the score of its variance at 0: the squares of what the other side's model leaves
/// of the sums of ids, against what they are by chance.
class ScoreTest {
 public:
  /// The model without this side, and the variance that this side's own model has.
  ScoreTest(const OneSide& other, const OneSide& own, double excess_kurtosis)
      : error_variance_(other.error_variance()), variance_(own.variance()), excess_kurtosis_(excess_kurtosis) {}

  /// An id of `count` ratings, the sum of what is left of them, and the sum of the other side's weights over them.
  void add(double count, double left, double weights) {
    // Ids of many ratings would count for nearly all otherwise.
    const double share = 1.0 / (1.0 + variance_ * count);
    const double expected = error_variance_ * (count - weights);
    score_ += share * (left * left - expected);
    slope_ += share * expected * (count - weights);
    score_variance_ +=
        share * share * (2.0 * expected * expected + excess_kurtosis_ * count * error_variance_ * error_variance_);
  }

  bool varies() const { return score_ > 2.0 * std::sqrt(score_variance_); }
  /// Whether a variance is not too large for the score.
  bool may_vary_by(double variance) const { return score_ + 2.0 * std::sqrt(score_variance_) > slope_ * variance; }

 private:
  double error_variance_;
  double variance_;
  double excess_kurtosis_;
  double score_ = 0.0;
  double score_variance_ = 0.0;
  double slope_ = 0.0;  ///< of the expected score, by the side's variance
};

/// The mixed model equations of ratings, whose users' offsets are eliminated. They are in ratings minus their plain
/// mean; mean_ is what comes on top of it.
class BiasEquations {
 public:
  BiasEquations(const RatingTable& ratings, std::int32_t users, std::int32_t items, std::int32_t threads)
      : pool_(threads > 0 ? threads : hardware_threads()),
        order_(ratings, users, items, pool_),
        user_(users),
        item_(items),
        user_weights_(user_.counts.size()),
        inverse_diagonal_(item_.counts.size()),
        offsets_(item_.counts.size()) {
    add_up(ratings);
  }

  BiasVariances estimate_variances() {
    const OneSide by_user = OneSide::fit(user_, all_);
    const OneSide by_item = OneSide::fit(item_, all_);
    const auto [users, items] = test(by_user, by_item);
    const bool users_vary = users.varies();
    const bool items_vary = items.varies();
    // What the other side hides from a model of one is found from here.
    constexpr double kLeastStart = 0.01;
    BiasVariances variances = {users_vary ? std::max(kLeastStart, by_user.variance()) : 0.0,
                               items_vary ? std::max(kLeastStart, by_item.variance()) : 0.0};
    if (!users_vary || !items_vary) {
      return {users_vary                          ? by_user.variance()
              : users.may_vary_by(kSupposed.user) ? kSupposed.user
                                                  : 0.0,
              items_vary                          ? by_item.variance()
              : items.may_vary_by(kSupposed.item) ? kSupposed.item
                                                  : 0.0};
    }
    for (int round = 0; round < 50; ++round) {
      const BiasVariances before = variances;
      variances = improved(before);
      if (settled(variances.user, before.user, kToleranceOfBoth) &&
          settled(variances.item, before.item, kToleranceOfBoth)) {
        break;
      }
    }
    return variances;
  }

  BiasFit solve(const BiasVariances& variances) {
    set_variances(variances);
    conjugate_gradients(1e-13);
    BiasFit fit;
    fit.user = user_offsets();
    fit.item = offsets_;
    fit.mean = all_.mean + mean_;
    fit.user_counts.assign(user_.counts.begin(), user_.counts.end());
    fit.item_counts.assign(item_.counts.begin(), item_.counts.end());
    fit.variances = variances;
    fit.sweeps = order_.sweeps();
    return fit;
  }

 private:
  void add_up(const RatingTable& ratings) {
    all_.count = static_cast<double>(ratings.size());
    all_.mean = std::accumulate(ratings.ratings.begin(), ratings.ratings.end(), 0.0) / all_.count;
    double fourth_powers = 0.0;
    for (std::size_t n = 0; n < ratings.ratings.size(); ++n) {
      const double value = static_cast<double>(ratings.ratings[n]) - all_.mean;
      const auto user = static_cast<std::size_t>(ratings.users[n]);
      const auto item = static_cast<std::size_t>(ratings.items[n]);
      user_.counts[user] += 1.0;
      user_.sums[user] += value;
      item_.counts[item] += 1.0;
      item_.sums[item] += value;
      all_.squares += value * value;
      fourth_powers += value * value * value * value;
    }
    if (all_.squares > 0.0) {
      all_.excess_kurtosis = std::max(0.0, all_.count * fourth_powers / (all_.squares * all_.squares) - 3.0);
    }
  }

  /// Of users, and of items.
  std::pair<ScoreTest, ScoreTest> test(const OneSide& by_user, const OneSide& by_item) {
    const std::size_t items = item_.counts.size();
    std::vector<double> of_items(items);
    std::vector<double> at_users(user_.counts.size());
    std::vector<double> at_items(items);
    const auto exchange = [&](const auto& of_user, const auto& of_item) {
      for (std::size_t i = 0; i < items; ++i) {
        of_items[i] = of_item(i);
      }
      order_.sweep(of_items, at_items, [&](std::size_t u, double sum) {
        at_users[u] = sum;
        return of_user(u);
      });
    };
    exchange([&](std::size_t u) { return by_user.offset(user_.counts[u], user_.sums[u]); },
             [&](std::size_t i) { return by_item.offset(item_.counts[i], item_.sums[i]); });
    std::vector<double> left_at_users(user_.counts.size());
    std::vector<double> left_at_items(items);
    for (std::size_t u = 0; u < at_users.size(); ++u) {
      left_at_users[u] = user_.sums[u] - user_.counts[u] * by_item.mean() - at_users[u];
    }
    for (std::size_t i = 0; i < items; ++i) {
      left_at_items[i] = item_.sums[i] - item_.counts[i] * by_user.mean() - at_items[i];
    }
    exchange([&](std::size_t u) { return by_user.weight(user_.counts[u]); },
             [&](std::size_t i) { return by_item.weight(item_.counts[i]); });
    ScoreTest users(by_item, by_user, all_.excess_kurtosis);
    for (std::size_t u = 0; u < at_users.size(); ++u) {
      users.add(user_.counts[u], left_at_users[u], at_users[u]);
    }
    ScoreTest items_test(by_user, by_item, all_.excess_kurtosis);
    for (std::size_t i = 0; i < items; ++i) {
      items_test.add(item_.counts[i], left_at_items[i], at_items[i]);
    }
    return {users, items_test};
  }

  /// A step towards the variances of greatest restricted likelihood.
  BiasVariances improved(const BiasVariances& from) {
    set_variances(from);
    conjugate_gradients(1e-3);
    const std::vector<double> user = user_offsets();
    const double explained = dot(user, user_.sums) + dot(offsets_, item_.sums);
    const double error = std::max(0.0, all_.squares - explained) / std::max(1.0, all_.count - 1.0);
    // The mean takes one, of the sides by what they have of its variance, about.
    const auto ids = [](const SideSums& side) {
      return static_cast<double>(std::count_if(side.counts.begin(), side.counts.end(), [](double n) { return n > 0; }));
    };
    const double by_users = from.user / ids(user_);
    const double by_items = from.item / ids(item_);
    const double all = by_users + by_items + 1.0 / all_.count;
    return {next_variance(dot(user, user), user_freedom_ - by_users / all, error),
            next_variance(dot(offsets_, offsets_), item_freedom_ - by_items / all, error)};
  }

  void set_variances(const BiasVariances& variances) {
    const std::size_t items = item_.counts.size();
    lambda_item_ = variances.item > 0.0 ? 1.0 / variances.item : 0.0;
    mean_diagonal_ = 0.0;
    for (std::size_t u = 0; u < user_weights_.size(); ++u) {
      user_weights_[u] = weight_of(variances.user, user_.counts[u]);
      mean_diagonal_ += user_.counts[u] / (1.0 + variances.user * user_.counts[u]);
    }
    std::vector<double> item_weights(items);
    for (std::size_t i = 0; i < items; ++i) {
      item_weights[i] = weight_of(variances.item, item_.counts[i]);
    }
    // Of freedom an id has 1 - lambda / (its diagonal element of the Schur complement).
    std::vector<double> freedom(user_weights_.size());
    std::vector<double> sums(items);
    order_.sweep(item_weights, sums, [&](std::size_t u, double sum) {
      freedom[u] = weight_of(variances.user, user_.counts[u] - sum) * (user_.counts[u] - sum);
      return user_weights_[u];
    });
    user_freedom_ = std::accumulate(freedom.begin(), freedom.end(), 0.0);
    item_freedom_ = 0.0;
    for (std::size_t i = 0; i < items; ++i) {
      inverse_diagonal_[i] = weight_of(variances.item, item_.counts[i] - sums[i]);
      item_freedom_ += inverse_diagonal_[i] * (item_.counts[i] - sums[i]);
    }
  }

  /// out = the items' part of the Schur complement times (mean, x); gives the mean's.
  double multiply(double mean, std::span<const double> x, std::span<double> out) {
    const double moved = order_.sweep(
        x, out, [&](std::size_t u, double sum) { return user_weights_[u] * (user_.counts[u] * mean + sum); });
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = item_.counts[i] * (mean + x[i]) + lambda_item_ * x[i] - out[i];
    }
    return all_.count * mean + dot(item_.counts, x) - moved;
  }

  /// residual = the items' right side minus the complement times (mean_, offsets_); gives the mean's.
  double residual_of(std::span<double> residual) {
    const double moved = order_.sweep(offsets_, residual, [&](std::size_t u, double sum) {
      return user_weights_[u] * (user_.sums[u] - user_.counts[u] * mean_ - sum);
    });
    for (std::size_t i = 0; i < residual.size(); ++i) {
      residual[i] = item_.sums[i] - item_.counts[i] * (mean_ + offsets_[i]) - lambda_item_ * offsets_[i] - residual[i];
    }
    return -all_.count * mean_ - dot(item_.counts, offsets_) - moved;
  }

  /// Squared, in the norm of the inverse diagonal.
  double norm(double mean, std::span<const double> x) const {
    double sum = mean * mean / mean_diagonal_;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sum += x[i] * x[i] * inverse_diagonal_[i];
    }
    return sum;
  }

  /// Goes on from (mean_, offsets_) until the residual is `tolerance` of what it is without offsets (Hestenes, Stiefel
  /// 1952; preconditioned by the diagonal). Items do not take part if they do not vary: their inverse diagonal is 0.
  void conjugate_gradients(double tolerance) {
    constexpr int kMostSteps = 10000;
    const std::size_t items = offsets_.size();
    std::vector<double> residual(items);
    std::vector<double> direction(items);
    std::vector<double> product(items);
    double mean_residual = residual_of(residual);
    double mean_direction = 0.0;
    double before = 0.0;
    const double enough = tolerance * tolerance * norm(0.0, item_.sums);
    for (int step = 0; step < kMostSteps; ++step) {
      const double now = norm(mean_residual, residual);
      if (!(now > enough)) {
        break;
      }
      const double keep = step == 0 ? 0.0 : now / before;
      before = now;
      mean_direction = mean_residual / mean_diagonal_ + keep * mean_direction;
      for (std::size_t i = 0; i < items; ++i) {
        direction[i] = residual[i] * inverse_diagonal_[i] + keep * direction[i];
      }
      const double mean_product = multiply(mean_direction, direction, product);
      const double length = now / (mean_direction * mean_product + dot(direction, product));
      mean_ += length * mean_direction;
      mean_residual -= length * mean_product;
      for (std::size_t i = 0; i < items; ++i) {
        offsets_[i] += length * direction[i];
        residual[i] -= length * product[i];
      }
    }
  }

  std::vector<double> user_offsets() {
    std::vector<double> user(user_.counts.size());
    order_.sweep(offsets_, {}, [&](std::size_t u, double sum) {
      return user[u] = user_weights_[u] * (user_.sums[u] - user_.counts[u] * mean_ - sum);
    });
    return user;
  }

  ThreadPool pool_;
  UserOrder order_;
  RatingSums all_;
  SideSums user_;
  SideSums item_;
  // Of the variances that are set.
  double lambda_item_ = 0.0;
  std::vector<double> user_weights_;      ///< [users]
  std::vector<double> inverse_diagonal_;  ///< [items] of the Schur complement; 0 if items do not vary
  double mean_diagonal_ = 0.0;
  double user_freedom_ = 0.0;
  double item_freedom_ = 0.0;
  // What is solved for.
  double mean_ = 0.0;
  std::vector<double> offsets_;  ///< [items]
};

BiasFit fit_nothing(std::int32_t users, std::int32_t items) {
  BiasFit fit;
  fit.user.resize(static_cast<std::size_t>(users));
  fit.item.resize(static_cast<std::size_t>(items));
  fit.user_counts.resize(fit.user.size());
  fit.item_counts.resize(fit.item.size());
  return fit;
}

}  // namespace

BiasFit fit_biases(const RatingTable& ratings, std::int32_t users, std::int32_t items, const BiasVariances& variances,
                   std::int32_t threads) {
  return ratings.size() == 0 ? fit_nothing(users, items)
                             : BiasEquations(ratings, users, items, threads).solve(variances);
}

BiasFit fit_biases(const RatingTable& ratings, std::int32_t users, std::int32_t items, std::int32_t threads) {
  if (ratings.size() == 0) {
    return fit_nothing(users, items);
  }
  BiasEquations equations(ratings, users, items, threads);
  return equations.solve(equations.estimate_variances());
}

std::size_t bias_ridge_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items) {
  constexpr std::int64_t kDoublesOfUser = 9;  // with the test's
  constexpr std::int64_t kDoublesOfItem = 12;
  const auto doubles = kDoublesOfUser * users + (kDoublesOfItem + pieces_of(ratings, items)) * items;
  return static_cast<std::size_t>(doubles) * sizeof(double) + static_cast<std::size_t>(ratings) * sizeof(std::int32_t);
}

}  // namespace curate
