// How long a prediction takes from C++: one pair out of caches that know it and out of caches that do not, blocks, and
// evaluation. The model is made up. See --help and bench/README.md.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "curate/error.h"
#include "curate/predictor.h"
#include "support/json_text.h"

namespace {

using namespace curate;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::int32_t users = 138000;
  std::int32_t items = 27000;
  std::int32_t dim = 64;
  std::int32_t pairs = 200000;
  std::int32_t emptied = 1000;
  std::int64_t evict_mib = 128;
  bool numbers = false;
  std::string device = "cpu";
  std::int32_t threads = 0;
  bool json = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double percentile(std::vector<double> values, double share) {
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// Ids as a shop has them: 14 capital letters and digits. Or numbers of 12 digits.
std::vector<std::string> made_ids(std::int32_t count, bool numbers, std::mt19937_64& random) {
  constexpr std::string_view kAll = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  std::vector<std::string> ids;
  for (std::int32_t n = 0; n < count; ++n) {
    std::string id = numbers ? "1" : "A";
    while (id.size() < (numbers ? 12U : 14U)) {
      id += kAll[random() % (numbers ? 10 : kAll.size())];
    }
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::shuffle(ids.begin(), ids.end(), random);
  return ids;
}

Tensor drawn(std::int64_t rows, std::int64_t cols, std::mt19937_64& random) {
  std::normal_distribution<float> normal(0.0F, 0.1F);
  Tensor tensor = {{rows}, std::vector<float>(static_cast<std::size_t>(rows * cols))};
  if (cols > 1) {
    tensor.shape.push_back(cols);
  }
  for (float& value : tensor.values) {
    value = normal(random);
  }
  return tensor;
}

Model made_model(const Arguments& arguments, std::mt19937_64& random) {
  Model::Parts parts;
  for (const std::string& id : made_ids(arguments.users, arguments.numbers, random)) {
    parts.users.find_or_add(std::string_view(id));
  }
  for (const std::string& id : made_ids(arguments.items, arguments.numbers, random)) {
    parts.items.find_or_add(std::string_view(id));
  }
  const std::int64_t users = parts.users.size();
  const std::int64_t items = parts.items.size();
  parts.tensors = {{"user.embedding", drawn(users, arguments.dim, random)},
                   {"item.embedding", drawn(items, arguments.dim, random)},
                   {"user.bias", drawn(users, 1, random)},
                   {"item.bias", drawn(items, 1, random)},
                   {"global_mean", {{1}, {3.5F}}},
                   {"fallback.user", drawn(users, 1, random)},
                   {"fallback.item", drawn(items, 1, random)},
                   {"fallback.mean", {{1}, {3.5F}}}};
  parts.user_counts.assign(static_cast<std::size_t>(users), 1);
  parts.item_counts.assign(static_cast<std::size_t>(items), 1);
  parts.scale = {0.5F, 5.0F, 0.5F};
  return Model(std::move(parts));
}

/// Pairs of known ids, drawn at random. Their texts lie one after the other, as in a request that was just read.
struct Queries {
  Queries(const Model& model, std::int32_t count, std::mt19937_64& random) {
    for (std::int32_t n = 0; n < count; ++n) {
      for (const IdMap* map : {&model.parts().users, &model.parts().items}) {
        texts += map->text(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(map->size())));
        ends.push_back(texts.size());
      }
    }
  }

  std::string_view text(std::size_t at) const {
    const std::size_t begin = at == 0 ? 0 : ends[at - 1];
    return std::string_view(texts).substr(begin, ends[at] - begin);
  }
  std::size_t size() const { return ends.size() / 2; }

  std::string texts;
  std::vector<std::size_t> ends;  ///< user, item, user, item, ...
};

/// Takes the place of everything else in the caches.
void evict(std::vector<std::uint64_t>& memory) {
  for (std::uint64_t& word : memory) {
    word += 1;
  }
}

/// What is measured needs a result that somebody uses.
volatile float used = 0.0F;

class Bench {
 public:
  explicit Bench(const Arguments& arguments)
      : arguments_(arguments), random_(1), model_(made_model(arguments, random_)) {}

  nlohmann::ordered_json run() {
    const auto start = Clock::now();
    const Predictor predictor(model_, {arguments_.device, arguments_.threads});
    nlohmann::ordered_json json;
    json["users"] = model_.parts().users.size();
    json["items"] = model_.parts().items.size();
    json["dim"] = arguments_.dim;
    json["ids"] = model_.parts().users.numbers() ? "numbers" : "texts";
    json["device"] = predictor.device();
    json["open_seconds"] = seconds_since(start);
    time_pairs(predictor, json);
    time_blocks(predictor, json);
    return json;
  }

 private:
  void add(nlohmann::ordered_json& json, const std::string& name, const std::vector<double>& seconds) {
    json["pairs"].push_back({{"name", name},
                             {"count", seconds.size()},
                             {"median_us", 1e6 * percentile(seconds, 0.5)},
                             {"p99_us", 1e6 * percentile(seconds, 0.99)}});
  }

  void time_pairs(const Predictor& predictor, nlohmann::ordered_json& json) {
    const auto timed = [&](const std::function<void()>& before, const Queries& queries, const auto& predict) {
      std::vector<double> seconds(queries.size());
      for (std::size_t n = 0; n < queries.size(); ++n) {
        before();
        const std::string_view user = queries.text(2 * n);
        const std::string_view item = queries.text(2 * n + 1);
        const auto start = Clock::now();
        used = predict(user, item);
        seconds[n] = seconds_since(start);
      }
      return seconds;
    };
    const auto pair = [&](std::string_view user, std::string_view item) {
      return predictor.predict(user, item).rating;
    };
    const auto nothing = [] {};
    const Queries many(model_, arguments_.pairs, random_);
    const Queries few(model_, arguments_.emptied, random_);
    add(json, "the clock alone", timed(nothing, many, [](std::string_view, std::string_view) { return 0.0F; }));
    add(json, "random pairs", timed(nothing, many, pair));
    std::vector<std::uint64_t> memory(static_cast<std::size_t>(arguments_.evict_mib) << 17U);
    const Queries one(model_, 1, random_);
    const auto emptied = [&] {
      evict(memory);
      used = pair(one.text(0), one.text(1));  // brings the program back
    };
    add(json, "random pairs, caches emptied", timed(emptied, few, pair));
    add(json, "the same pair",
        timed(nothing, many, [&](std::string_view, std::string_view) { return pair(one.text(0), one.text(1)); }));
    const auto convenient = [&](std::string_view user, std::string_view item) {
      const RawPair raw = {RawId(user), RawId(item)};
      return model_.predict({&raw, 1}, {arguments_.device, arguments_.threads})[0].rating;
    };
    add(json, "Model::predict of one pair", timed(nothing, few, convenient));
  }

  void time_blocks(const Predictor& predictor, nlohmann::ordered_json& json) {
    for (const std::int32_t size : {1, 100, 1000, 10000, 100000, 1000000}) {
      const Queries queries(model_, size, random_);
      std::vector<RawPair> pairs;
      for (std::size_t n = 0; n < queries.size(); ++n) {
        pairs.push_back({RawId(queries.text(2 * n)), RawId(queries.text(2 * n + 1))});
      }
      add_block(json, "predict", size, [&] { used = predictor.predict(pairs).back().rating; });
    }
    constexpr std::int32_t kRatings = 2000000;
    RatingTable ratings;
    for (std::int32_t n = 0; n < kRatings; ++n) {
      ratings.users.push_back(static_cast<std::int32_t>(random_() % static_cast<std::uint64_t>(arguments_.users)));
      ratings.items.push_back(static_cast<std::int32_t>(random_() % static_cast<std::uint64_t>(arguments_.items)));
      ratings.ratings.push_back(3.0F);
    }
    add_block(json, "evaluate", kRatings, [&] { used = static_cast<float>(predictor.evaluate(ratings).rmse); });
  }

  static void add_block(nlohmann::ordered_json& json, const std::string& name, std::int32_t size,
                        const std::function<void()>& run) {
    const std::size_t rounds = std::clamp<std::size_t>(1000000 / static_cast<std::size_t>(size), 5, 200);
    std::vector<double> seconds;
    run();
    for (std::size_t round = 0; round < rounds; ++round) {
      const auto start = Clock::now();
      run();
      seconds.push_back(seconds_since(start));
    }
    const double took = percentile(seconds, 0.5);
    json["blocks"].push_back(
        {{"name", name}, {"size", size}, {"median_us", 1e6 * took}, {"pairs_per_second", size / took}});
  }

  Arguments arguments_;
  std::mt19937_64 random_;
  Model model_;
};

void print(const nlohmann::ordered_json& json) {
  fmt::print("{} users, {} items, dim {}, ids are {}; {}, opened in {:.1f} ms\n\n", json["users"].get<int>(),
             json["items"].get<int>(), json["dim"].get<int>(), json["ids"].get<std::string>(),
             json["device"].get<std::string>(), 1e3 * json["open_seconds"].get<double>());
  fmt::print("{:<30} {:>9} {:>12} {:>12}\n", "one pair", "calls", "median us", "p99 us");
  for (const auto& row : json["pairs"]) {
    fmt::print("{:<30} {:>9} {:>12.3f} {:>12.3f}\n", row["name"].get<std::string>(), row["count"].get<int>(),
               row["median_us"].get<double>(), row["p99_us"].get<double>());
  }
  fmt::print("\n{:<30} {:>9} {:>12} {:>12}\n", "blocks", "pairs", "median us", "M pairs/s");
  for (const auto& row : json["blocks"]) {
    fmt::print("{:<30} {:>9} {:>12.1f} {:>12.3f}\n", row["name"].get<std::string>(), row["size"].get<int>(),
               row["median_us"].get<double>(), row["pairs_per_second"].get<double>() / 1e6);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Measures how long predictions take, with a made-up model of mf.");
  app.add_option("--users", arguments.users, "of the model")->check(CLI::Range(1, 100000000))->capture_default_str();
  app.add_option("--items", arguments.items, "of the model")->check(CLI::Range(1, 100000000))->capture_default_str();
  app.add_option("--dim", arguments.dim, "factors")->check(CLI::Range(2, 1024))->capture_default_str();
  app.add_option("--pairs", arguments.pairs, "single pairs that are timed")
      ->check(CLI::Range(1, 100000000))
      ->capture_default_str();
  app.add_option("--emptied", arguments.emptied, "of them with emptied caches")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--evict-mib", arguments.evict_mib, "memory that empties the caches: more than they hold")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_flag("--numbers", arguments.numbers, "ids are numbers of 12 digits; else texts of 14 characters");
  app.add_option("--device", arguments.device, "as of curate predict")->capture_default_str();
  app.add_option("--threads", arguments.threads, "CPU threads; 0: all")->capture_default_str();
  app.add_flag("--json", arguments.json, "as JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    const nlohmann::ordered_json json = Bench(arguments).run();
    if (arguments.json) {
      fmt::print("{}", json_text(json));
    } else {
      print(json);
    }
    return 0;
  } catch (const curate::InputError& error) {
    fmt::print(stderr, "predict_latency: {}\n", error.what());
    return 2;
  } catch (const curate::Error& error) {
    fmt::print(stderr, "predict_latency: {}\n", error.what());
    return 1;
  }
}
