#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <system_error>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/split_request.h"
#include "support/philox.h"

namespace curate {
namespace {

/// A random key beside the position it was drawn for; the position breaks ties, so that the order is one and the same
/// with every sort.
struct KeyedPosition {
  std::uint64_t key;
  std::int64_t position;

  auto operator<=>(const KeyedPosition&) const = default;
};

std::vector<KeyedPosition> random_keys(std::int64_t count, std::uint64_t seed, RandomPurpose purpose) {
  std::vector<KeyedPosition> keys(static_cast<std::size_t>(count));
  for (std::int64_t k = 0; k < count; ++k) {
    keys[static_cast<std::size_t>(k)] = {philox(seed, static_cast<std::uint64_t>(k), 0, purpose).low64(), k};
  }
  return keys;
}

std::int64_t test_size(const RatingTable& table, double fraction) {
  if (!(fraction > 0.0 && fraction < 1.0)) {
    throw InputError(
        fmt::format("the fraction of test ratings is {}; give one between 0 and 1, such as 0.1", fraction));
  }
  if (table.size() < 2) {
    throw InputError(fmt::format("{} cannot be split into train and test; give at least two ratings",
                                 table.size() == 1 ? "one rating" : "no ratings"));
  }
  const auto wanted = static_cast<std::int64_t>(std::llround(fraction * static_cast<double>(table.size())));
  return std::clamp<std::int64_t>(wanted, 1, table.size() - 1);
}

Split split_where(const RatingTable& table, const std::vector<bool>& is_test) {
  std::vector<std::int64_t> train;
  std::vector<std::int64_t> test;
  for (std::int64_t k = 0; k < table.size(); ++k) {
    (is_test[static_cast<std::size_t>(k)] ? test : train).push_back(k);
  }
  return {select(table, train), select(table, test)};
}

}  // namespace

RatingTable select(const RatingTable& table, const std::vector<std::int64_t>& positions) {
  const auto pick = [&](const auto& from) {
    std::remove_cvref_t<decltype(from)> to;
    to.reserve(positions.size());
    for (const std::int64_t position : positions) {
      to.push_back(from.at(static_cast<std::size_t>(position)));
    }
    return to;
  };
  RatingTable result;
  result.users = pick(table.users);
  result.items = pick(table.items);
  result.ratings = pick(table.ratings);
  if (table.has_timestamps()) {
    result.timestamps = pick(table.timestamps);
  }
  return result;
}

Split split_random(const RatingTable& table, double fraction, std::uint64_t seed) {
  const std::int64_t count = test_size(table, fraction);
  std::vector<KeyedPosition> keys = random_keys(table.size(), seed, RandomPurpose::split);
  std::nth_element(keys.begin(), keys.begin() + count, keys.end());
  std::vector<bool> is_test(keys.size(), false);
  for (std::int64_t k = 0; k < count; ++k) {
    is_test[static_cast<std::size_t>(keys[static_cast<std::size_t>(k)].position)] = true;
  }
  return split_where(table, is_test);
}

Split split_by_time(const RatingTable& table, double fraction) {
  const std::int64_t count = test_size(table, fraction);
  if (!table.has_timestamps()) {
    throw InputError("the ratings have no timestamps to split by; use a random split");
  }
  const auto [earliest, latest] = std::minmax_element(table.timestamps.begin(), table.timestamps.end());
  if (*earliest == *latest) {
    throw InputError(
        fmt::format("all ratings have the same timestamp, {}, so none is later; use a random split", *earliest));
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(table.size()));
  std::iota(order.begin(), order.end(), 0);
  const auto first_test = order.end() - count;
  std::nth_element(order.begin(), first_test, order.end(), [&](std::int64_t a, std::int64_t b) {
    const std::int64_t time_a = table.timestamps[static_cast<std::size_t>(a)];
    const std::int64_t time_b = table.timestamps[static_cast<std::size_t>(b)];
    return time_a != time_b ? time_a < time_b : a < b;
  });
  std::vector<bool> is_test(order.size(), false);
  for (auto position = first_test; position != order.end(); ++position) {
    is_test[static_cast<std::size_t>(*position)] = true;
  }
  return split_where(table, is_test);
}

std::vector<std::int32_t> assign_folds(std::int64_t num_ratings, std::int32_t folds, std::uint64_t seed) {
  if (folds < 2) {
    throw InputError(fmt::format("{} fold{} cannot be cross-validated; give at least 2", folds, folds == 1 ? "" : "s"));
  }
  if (folds > num_ratings) {
    throw InputError(
        fmt::format("{} folds of {} ratings would leave some empty; give fewer folds", folds, num_ratings));
  }
  std::vector<KeyedPosition> keys = random_keys(num_ratings, seed, RandomPurpose::folds);
  std::sort(keys.begin(), keys.end());
  std::vector<std::int32_t> fold_of(keys.size());
  for (std::size_t rank = 0; rank < keys.size(); ++rank) {
    fold_of[static_cast<std::size_t>(keys[rank].position)] =
        static_cast<std::int32_t>(rank % static_cast<std::size_t>(folds));
  }
  return fold_of;
}

Split split_fold(const RatingTable& table, const std::vector<std::int32_t>& fold_of, std::int32_t fold) {
  if (static_cast<std::int64_t>(fold_of.size()) != table.size()) {
    throw std::invalid_argument(fmt::format("{} folds for {} ratings", fold_of.size(), table.size()));
  }
  std::vector<bool> is_test(fold_of.size());
  std::transform(fold_of.begin(), fold_of.end(), is_test.begin(), [&](std::int32_t of) { return of == fold; });
  return split_where(table, is_test);
}

std::optional<SplitRequest> parse_split(const std::string& text) {
  const auto whole = [&](std::size_t from, auto& value) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + from, end, value);
    return error == std::errc() && stop == end;
  };
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) {
    return std::nullopt;
  }
  const std::string kind = text.substr(0, colon);
  SplitRequest request;
  if (kind == "folds") {
    request.kind = SplitRequest::Kind::folds;
    return whole(colon + 1, request.folds) ? std::optional(request) : std::nullopt;
  }
  if (kind != "random" && kind != "time") {
    return std::nullopt;
  }
  request.kind = kind == "random" ? SplitRequest::Kind::random : SplitRequest::Kind::time;
  const bool fits = whole(colon + 1, request.fraction) && request.fraction > 0.0 && request.fraction < 1.0;
  return fits ? std::optional(request) : std::nullopt;
}

Split split_as_asked(const RatingTable& ratings, const SplitRequest& request, std::uint64_t seed) {
  switch (request.kind) {
    case SplitRequest::Kind::random:
      return split_random(ratings, request.fraction, seed);
    case SplitRequest::Kind::time:
      return split_by_time(ratings, request.fraction);
    case SplitRequest::Kind::folds:
      break;
  }
  throw std::invalid_argument("folds are more than one split");
}

}  // namespace curate
