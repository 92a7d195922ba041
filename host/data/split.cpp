#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <system_error>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/rating_table.h"
#include "data/split_request.h"
#include "support/philox.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

/// A random key beside the position it was drawn for; the position breaks ties, so that the order is one and the same
/// with every sort.
struct KeyedPosition {
  std::uint64_t key;
  std::int64_t position;

  auto operator<=>(const KeyedPosition&) const = default;
};

constexpr std::int64_t kPiece = std::int64_t{1} << 18U;  // of ratings, a thread's task

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

/// Both parts in the order of the table. `is_test` [ratings] is 0 or 1.
Split split_where(const RatingTable& table, const std::vector<std::uint8_t>& is_test, ThreadPool& pool) {
  const std::int64_t pieces = (table.size() + kPiece - 1) / kPiece;
  std::vector<std::size_t> first_test(static_cast<std::size_t>(pieces) + 1, 0);
  const auto begin_of = [&](std::int64_t piece) {
    return static_cast<std::size_t>(std::min(piece * kPiece, table.size()));
  };
  pool.run(pieces, [&](std::int64_t piece) {
    std::size_t count = 0;
    for (std::size_t k = begin_of(piece); k < begin_of(piece + 1); ++k) {
      count += is_test[k];
    }
    first_test[static_cast<std::size_t>(piece) + 1] = count;
  });
  std::partial_sum(first_test.begin(), first_test.end(), first_test.begin());
  const std::size_t tests = first_test.back();
  const std::size_t trains = is_test.size() - tests;
  const auto make = [&](std::size_t rows) {
    RatingTable part;
    resize_rows(part, rows, table.has_timestamps());
    return part;
  };
  Split split{make(trains), make(tests)};
  pool.run(pieces, [&](std::int64_t piece) {
    constexpr std::size_t kBlock = 4096;
    std::array<std::uint32_t, kBlock> train;
    std::array<std::uint32_t, kBlock> test;
    std::size_t to_test = first_test[static_cast<std::size_t>(piece)];
    for (std::size_t begin = begin_of(piece); begin < begin_of(piece + 1); begin += kBlock) {
      const std::size_t end = std::min(begin + kBlock, begin_of(piece + 1));
      // Where the rows of either part are, found without branches, then column by column.
      std::size_t trains_here = 0;
      std::size_t tests_here = 0;
      for (std::size_t k = begin; k < end; ++k) {
        train[trains_here] = static_cast<std::uint32_t>(k - begin);
        test[tests_here] = static_cast<std::uint32_t>(k - begin);
        tests_here += is_test[k];
        trains_here += 1U - is_test[k];
      }
      const std::size_t to_train = begin - to_test;
      const auto copy = [&](const auto& from, auto& train_column, auto& test_column) {
        if (from.empty()) {
          return;
        }
        for (std::size_t n = 0; n < trains_here; ++n) {
          train_column[to_train + n] = from[begin + train[n]];
        }
        for (std::size_t n = 0; n < tests_here; ++n) {
          test_column[to_test + n] = from[begin + test[n]];
        }
      };
      copy(table.users, split.train.users, split.test.users);
      copy(table.items, split.train.items, split.test.items);
      copy(table.ratings, split.train.ratings, split.test.ratings);
      copy(table.timestamps, split.train.timestamps, split.test.timestamps);
      to_test += tests_here;
    }
  });
  return split;
}

ThreadPool pool_for(const RatingTable& table, std::int32_t threads) {
  const int all = threads > 0 ? threads : hardware_threads();
  return ThreadPool(table.size() <= kPiece ? 1 : all);
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

Split split_random(const RatingTable& table, double fraction, std::uint64_t seed, std::int32_t threads) {
  const std::int64_t count = test_size(table, fraction);
  // The test part has the `count` smallest keys. Counting keys by their first bits tells the first bits of the last of
  // them; only the keys with these are compared.
  constexpr std::uint32_t kStartBits = 12;
  const auto key_of = [&](std::int64_t k) {
    return philox(seed, static_cast<std::uint64_t>(k), 0, RandomPurpose::split).low64();
  };
  ThreadPool pool = pool_for(table, threads);
  std::mutex mutex;
  std::vector<std::int64_t> keys_by_start(std::size_t{1} << kStartBits, 0);
  pool.parallel_for(table.size(), kPiece, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> here(keys_by_start.size(), 0);
    for (std::int64_t k = begin; k < end; ++k) {
      ++here[key_of(k) >> (64U - kStartBits)];
    }
    const std::lock_guard lock(mutex);
    std::transform(here.begin(), here.end(), keys_by_start.begin(), keys_by_start.begin(), std::plus<>());
  });
  std::uint64_t last_start = 0;
  std::int64_t left = count;
  while (left > keys_by_start[last_start]) {
    left -= keys_by_start[last_start++];
  }
  std::vector<std::uint8_t> is_test(static_cast<std::size_t>(table.size()));
  std::vector<KeyedPosition> undecided;
  pool.parallel_for(table.size(), kPiece, [&](std::int64_t begin, std::int64_t end) {
    std::vector<KeyedPosition> here;
    for (std::int64_t k = begin; k < end; ++k) {
      const std::uint64_t key = key_of(k);
      const std::uint64_t start = key >> (64U - kStartBits);
      is_test[static_cast<std::size_t>(k)] = start < last_start ? 1 : 0;
      if (start == last_start) {
        here.push_back({key, k});
      }
    }
    const std::lock_guard lock(mutex);
    undecided.insert(undecided.end(), here.begin(), here.end());
  });
  std::nth_element(undecided.begin(), undecided.begin() + (left - 1), undecided.end());
  for (std::int64_t n = 0; n < left; ++n) {
    is_test[static_cast<std::size_t>(undecided[static_cast<std::size_t>(n)].position)] = 1;
  }
  return split_where(table, is_test, pool);
}

Split split_by_time(const RatingTable& table, double fraction, std::int32_t threads) {
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
  std::vector<std::uint8_t> is_test(order.size(), 0);
  for (auto position = first_test; position != order.end(); ++position) {
    is_test[static_cast<std::size_t>(*position)] = 1;
  }
  ThreadPool pool = pool_for(table, threads);
  return split_where(table, is_test, pool);
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

Split split_fold(const RatingTable& table, const std::vector<std::int32_t>& fold_of, std::int32_t fold,
                 std::int32_t threads) {
  if (static_cast<std::int64_t>(fold_of.size()) != table.size()) {
    throw std::invalid_argument(fmt::format("{} folds for {} ratings", fold_of.size(), table.size()));
  }
  std::vector<std::uint8_t> is_test(fold_of.size());
  std::transform(fold_of.begin(), fold_of.end(), is_test.begin(),
                 [&](std::int32_t of) { return static_cast<std::uint8_t>(of == fold ? 1 : 0); });
  ThreadPool pool = pool_for(table, threads);
  return split_where(table, is_test, pool);
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

Split split_as_asked(const RatingTable& ratings, const SplitRequest& request, std::uint64_t seed,
                     std::int32_t threads) {
  switch (request.kind) {
    case SplitRequest::Kind::random:
      return split_random(ratings, request.fraction, seed, threads);
    case SplitRequest::Kind::time:
      return split_by_time(ratings, request.fraction, threads);
    case SplitRequest::Kind::folds:
      break;
  }
  throw std::invalid_argument("folds are more than one split");
}

}  // namespace curate
