#include "data/movielens_shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "curate/error.h"
#include "support/normal_quantile.h"

namespace curate {
namespace {

constexpr double kLeastScale = 0.01;

// As the files of the releases and their READMEs say.
constexpr std::array<MovielensShape, 5> kShapes = {{
    {"ml-1m", "ml-1m", 6040, 3706, 1000209, 2314, 3428, 3.58, 3952, true, true, 956703932, 1046454590, 2000, 0.86},
    {"ml-10m", "ml-1m", 69878, 10677, 10000054, 7359, 34864, 3.51, 65133, false, false, 789652009, 1231131736, 2008,
     0.82},
    {"ml-20m", "ml-csv", 138493, 26744, 20000263, 9254, 67310, 3.53, 131262, false, false, 789652004, 1427784002, 2015,
     0.82},
    {"ml-25m", "ml-csv", 162541, 59047, 25000095, 32202, 81491, 3.53, 209171, false, false, 789652009, 1574327703, 2019,
     0.82},
    {"ml-32m", "ml-csv", 200948, 84432, 32000204, 33332, 102929, 3.54, 292757, false, false, 789652004, 1697164147,
     2023, 0.82},
}};

/// The zero of `f`, which has different signs at `low` and `high` and goes up or down between them (regula falsi after
/// Dowell and Jarratt 1971, "Illinois").
double find_root(const std::function<double(double)>& f, double low, double high) {
  constexpr int kRounds = 60;
  constexpr double kPrecision = 1e-10;
  double at_low = f(low);
  double at_high = f(high);
  for (int round = 0; round < kRounds && std::fabs(high - low) > kPrecision * std::fabs(high); ++round) {
    const double middle = (low * at_high - high * at_low) / (at_high - at_low);
    const double at_middle = f(middle);
    if (at_middle == 0.0) {
      return middle;
    }
    if ((at_middle > 0.0) == (at_high > 0.0)) {
      at_low *= 0.5;
    } else {
      low = high;
      at_low = at_high;
    }
    high = middle;
    at_high = at_middle;
    if (std::fabs(at_middle) < kPrecision) {
      break;
    }
  }
  return high;
}

/// Ranks that are computed as one, since quantities vary smoothly with the rank; farther down groups are larger.
struct RankGroup {
  double center;
  double ranks;
};

std::vector<RankGroup> rank_groups(std::size_t ranks) {
  std::vector<RankGroup> groups;
  for (std::size_t start = 0; start < ranks;) {
    const std::size_t count = std::min(ranks - start, std::max<std::size_t>(1, start / 8));
    groups.push_back({static_cast<double>(start) + 0.5 * static_cast<double>(count - 1), static_cast<double>(count)});
    start += count;
  }
  return groups;
}

/// Mean of the values of the group's ranks.
template <typename T>
double group_mean(const std::vector<T>& values, const RankGroup& group) {
  const auto first = static_cast<std::ptrdiff_t>(group.center - 0.5 * (group.ranks - 1.0));
  const auto begin = values.begin() + first;
  return std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(group.ranks), 0.0) / group.ranks;
}

/// The y for which the expected number of successes, sum of ranks * (1 - exp(-rate * y)), is `wanted`.
double solve_exposure(const std::vector<double>& rates, const std::vector<RankGroup>& groups, double wanted) {
  double slope = 0.0;
  double ranks = 0.0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    slope += groups[g].ranks * rates[g];
    ranks += groups[g].ranks;
  }
  wanted = std::min(wanted, 0.999 * ranks);
  // Newton's steps on a concave function, from the left of the root: they never pass it.
  double y = wanted / slope;
  for (int round = 0; round < 100; ++round) {
    double sum = 0.0;
    slope = 0.0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const double missed = std::exp(-rates[g] * y);
      sum += groups[g].ranks * (1.0 - missed);
      slope += groups[g].ranks * rates[g] * missed;
    }
    const double step = (wanted - sum) / slope;
    y += step;
    if (std::fabs(step) < 1e-6 * y) {
      break;
    }
  }
  return y;
}

}  // namespace

const std::vector<std::string_view>& movielens_shape_names() {
  static const std::vector<std::string_view> kNames = [] {
    std::vector<std::string_view> names;
    for (const MovielensShape& shape : kShapes) {
      names.push_back(shape.name);
    }
    return names;
  }();
  return kNames;
}

MovielensShape movielens_shape(const std::string& name, double scale) {
  const auto* const found =
      std::find_if(kShapes.begin(), kShapes.end(), [&](const MovielensShape& shape) { return shape.name == name; });
  if (found == kShapes.end()) {
    throw InputError("like", name, fmt::format("not one of {}", fmt::join(movielens_shape_names(), ", ")));
  }
  if (!(scale >= kLeastScale && scale <= 1.0)) {
    throw InputError("scale", fmt::format("{}", scale), fmt::format("give {} to 1", kLeastScale));
  }
  MovielensShape shape = *found;
  const auto times = [](auto value, double factor) {
    return static_cast<decltype(value)>(std::llround(static_cast<double>(value) * factor));
  };
  const double item_scale = std::cbrt(scale);
  shape.users = times(shape.users, scale);
  shape.ratings = times(shape.ratings, scale);
  shape.most_rated = times(shape.most_rated, scale);
  shape.items = times(shape.items, item_scale);
  shape.most_active = times(shape.most_active, item_scale);
  shape.last_item = times(shape.last_item, item_scale);
  return shape;
}

std::vector<std::int32_t> activity_by_rank(const MovielensShape& shape) {
  const auto users = static_cast<std::size_t>(shape.users);
  std::vector<double> normal(users);
  for (std::size_t rank = 0; rank < users; ++rank) {
    normal[rank] = -normal_quantile((static_cast<double>(rank) + 0.5) / static_cast<double>(users));
  }
  // The least, plus a log-normal distribution minus its own least: both ends are met.
  const double wanted = static_cast<double>(shape.ratings - std::int64_t{kLeastActive} * shape.users);
  const double most = static_cast<double>(shape.most_active - kLeastActive);
  const auto excess = [&](double sigma, std::size_t rank) {
    const double least = std::exp(sigma * (normal.back() - normal.front()));
    return most * (std::exp(sigma * (normal[rank] - normal.front())) - least) / (1.0 - least);
  };
  const double sigma = find_root(
      [&](double trial) {
        double sum = 0.0;
        for (std::size_t rank = 0; rank < users; ++rank) {
          sum += excess(trial, rank);
        }
        return std::log(sum / wanted);
      },
      0.01, normal.front());

  // Whole numbers, each next to its real one, whose sums are those of the shape.
  std::vector<std::int32_t> counts(users);
  double sum = 0.0;
  std::int64_t given = 0;
  for (std::size_t rank = 0; rank < users; ++rank) {
    sum += rank == 0 ? most : excess(sigma, rank);
    const auto upto = static_cast<std::int64_t>(std::floor(sum));
    counts[rank] = kLeastActive + static_cast<std::int32_t>(upto - given);
    given = upto;
  }
  // What rounding errors left, one at a time, in the middle.
  std::int64_t left = shape.ratings - std::int64_t{kLeastActive} * shape.users - given;
  for (std::size_t rank = users / 2; left != 0; rank = rank > 1 ? rank - 1 : users / 2) {
    const std::int32_t step = left > 0 ? 1 : -1;
    if (counts[rank] + step >= kLeastActive && counts[rank] + step <= shape.most_active) {
      counts[rank] += step;
      left -= step;
    }
  }
  return counts;
}

std::vector<double> popularity_by_rank(const MovielensShape& shape) {
  // Every item gets one rating anyway; this is how many more the least popular one gets.
  constexpr double kLeast = 0.3;
  const auto items = static_cast<std::size_t>(shape.items);
  const double most = static_cast<double>(shape.most_rated) - 1.0;
  const double fall = std::log(most / kLeast);
  std::vector<double> log_place(items);
  for (std::size_t rank = 1; rank < items; ++rank) {
    log_place[rank] = std::log(static_cast<double>(rank) / static_cast<double>(items - 1));
  }
  const auto excess = [&](double exponent, std::size_t rank) {
    return rank == 0 ? most : most * std::exp(-fall * std::exp(exponent * log_place[rank]));
  };
  const double exponent = find_root(
      [&](double trial) {
        double sum = 0.0;
        for (std::size_t rank = 0; rank < items; ++rank) {
          sum += excess(trial, rank);
        }
        return std::log(sum / static_cast<double>(shape.ratings - shape.items));
      },
      0.05, 20.0);
  std::vector<double> wanted(items);
  for (std::size_t rank = 0; rank < items; ++rank) {
    wanted[rank] = 1.0 + excess(exponent, rank);
  }
  return wanted;
}

std::vector<double> draw_weights(const std::vector<double>& wanted, const std::vector<std::int32_t>& counts,
                                 double share) {
  constexpr int kRounds = 20;
  const std::vector<RankGroup> items = rank_groups(wanted.size());
  const std::vector<RankGroup> users = rank_groups(counts.size());
  std::vector<double> target(items.size());
  std::vector<double> weight(items.size());
  for (std::size_t g = 0; g < items.size(); ++g) {
    target[g] = group_mean(wanted, items[g]);
    weight[g] = target[g];
  }
  std::vector<double> drawn(users.size());
  std::vector<double> exposure(users.size());
  for (std::size_t g = 0; g < users.size(); ++g) {
    drawn[g] = share * group_mean(counts, users[g]);
  }
  // An item of weight w is among those of a user of exposure t with probability 1 - exp(-w t). In turns: the
  // exposures that give the users their counts, the weights that give the items theirs.
  for (int round = 0; round < kRounds; ++round) {
    double total = 0.0;
    for (std::size_t g = 0; g < items.size(); ++g) {
      total += items[g].ranks * weight[g];
    }
    for (double& w : weight) {
      w /= total;
    }
    for (std::size_t g = 0; g < users.size(); ++g) {
      exposure[g] = solve_exposure(weight, items, drawn[g]);
    }
    for (std::size_t g = 0; g < items.size(); ++g) {
      weight[g] = solve_exposure(exposure, users, target[g]);
    }
  }
  // Between groups the weight goes with a power of the number wanted.
  std::vector<double> weights(wanted.size());
  std::size_t g = 0;
  for (std::size_t rank = 0; rank < wanted.size(); ++rank) {
    while (g + 2 < items.size() && items[g + 1].center <= static_cast<double>(rank)) {
      ++g;
    }
    if (items.size() == 1 || target[g] == target[g + 1]) {
      weights[rank] = weight[g];
      continue;
    }
    const double at = std::log(wanted[rank] / target[g]) / std::log(target[g + 1] / target[g]);
    weights[rank] = weight[g] * std::pow(weight[g + 1] / weight[g], at);
  }
  return weights;
}

std::vector<std::int64_t> sparse_item_ids(const MovielensShape& shape) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(shape.items));
  const double last = static_cast<double>(std::max(1, shape.items - 1));
  for (std::size_t item = 0; item < ids.size(); ++item) {
    const double place = static_cast<double>(item) / last;
    ids[item] = 1 + static_cast<std::int64_t>(item) +
                static_cast<std::int64_t>(static_cast<double>(shape.last_item - shape.items) * place * place * place);
  }
  return ids;
}

}  // namespace curate
