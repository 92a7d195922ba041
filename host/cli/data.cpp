#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/inspect_sections.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "cli/tails.h"
#include "curate/dataset.h"
#include "data/statistics.h"
#include "report/progress.h"
#include "support/json_text.h"

namespace curate::cli {
namespace {

std::string date(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm utc{};
  if (gmtime_r(&time, &utc) == nullptr) {
    return fmt::format("{} s", seconds);
  }
  return fmt::format("{:%Y-%m-%d}", utc);
}

nlohmann::ordered_json to_json(const TailStatistics& tail) {
  nlohmann::ordered_json json;
  for (std::size_t q = 0; q < tail.ratings.size(); ++q) {
    json[fmt::format("q{:g}", 100.0 * TailStatistics::kQuantiles[q])] = tail.ratings[q];
  }
  json["mean"] = tail.mean;
  json["share_of_top_tenth"] = tail.top_share;
  return json;
}

nlohmann::ordered_json to_json(const Dataset& dataset, const DatasetStatistics& statistics) {
  nlohmann::ordered_json json;
  json["source"] = dataset.source;
  json["layout"] = dataset.layout;
  json["ratings"] = statistics.ratings;
  json["users"] = statistics.users;
  json["items"] = statistics.items;
  json["density"] = statistics.density;
  json["duplicates"] = dataset.duplicates;
  json["scale"] = {{"min", dataset.scale.min}, {"max", dataset.scale.max}, {"step", dataset.scale.step}};
  json["mean"] = statistics.mean;
  json["standard_deviation"] = statistics.standard_deviation;
  nlohmann::ordered_json histogram = nlohmann::ordered_json::array();
  for (const auto& [value, count] : statistics.histogram) {
    histogram.push_back({{"rating", value}, {"count", count}});
  }
  json["histogram"] = std::move(histogram);
  json["ratings_per_user"] = to_json(statistics.per_user);
  json["ratings_per_item"] = to_json(statistics.per_item);
  if (dataset.ratings.has_timestamps()) {
    json["first_time"] = statistics.first_time;
    json["last_time"] = statistics.last_time;
  }
  return json;
}

void print_tail(const char* name, const TailStatistics& tail) {
  fmt::print("{:<17}", name);
  for (const std::int64_t ratings : tail.ratings) {
    fmt::print("{:>9}", grouped(ratings));
  }
  fmt::print("{:>10.1f}{:>9.1f} %\n", tail.mean, 100.0 * tail.top_share);
}

void print_statistics(const Dataset& dataset, const DatasetStatistics& statistics) {
  fmt::print("source            {} ({})\n", dataset.source, dataset.layout);
  fmt::print("ratings           {}\n", grouped(statistics.ratings));
  fmt::print("users             {}\n", grouped(statistics.users));
  fmt::print("items             {}\n", grouped(statistics.items));
  fmt::print("density           {:.3g} %\n", 100.0 * statistics.density);
  fmt::print("repeated pairs    {}{}\n", grouped(dataset.duplicates),
             dataset.duplicates > 0 ? " (dropped, the latest rating kept)" : "");
  if (dataset.ratings.has_timestamps() && statistics.last_time > 0) {
    fmt::print("time              {} to {}\n", date(statistics.first_time), date(statistics.last_time));
  } else {
    fmt::print("time              no timestamps\n");
  }
  fmt::print("mean, deviation   {:.4f}, {:.4f}\n\n", statistics.mean, statistics.standard_deviation);
  std::int64_t most = 1;
  for (const auto& [value, count] : statistics.histogram) {
    most = std::max(most, count);
  }
  for (const auto& [value, count] : statistics.histogram) {
    constexpr double kWidth = 50.0;
    const auto cells = static_cast<std::size_t>(kWidth * static_cast<double>(count) / static_cast<double>(most));
    fmt::print("{:>6.3g} {:>11}  {}\n", value, grouped(count), std::string(cells, '#'));
  }
  fmt::print(
      "\nratings per          min      25 %   median      75 %      90 %      99 %      max      mean  top 10 % "
      "have\n");
  print_tail("user", statistics.per_user);
  print_tail("item", statistics.per_item);
}

}  // namespace

Command add_data_inspect(CLI::App& data) {
  struct Arguments {
    std::string path;
    ReadingArguments reading;
    bool json = false;
  };
  CLI::App* app = data.add_subcommand(
      "inspect", "counts, histogram and long tail of a data set, what is known beside the ratings, memory to train");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("data", arguments->path, "MovieLens folder, or a file of user, item, rating[, timestamp]")
      ->required();
  app->add_flag("--json", arguments->json, "as JSON");
  add_reading_options(*app, arguments->reading);
  return {app, [arguments](const Reparse& /*reparse*/) {
            PhaseLine line;
            const Dataset dataset = read_dataset(arguments->path, read_options(arguments->reading, line));
            line.clear();
            const DatasetStatistics statistics = compute_statistics(dataset);
            const std::optional<HeavyTails> tails = find_heavy_tails(dataset.ratings, dataset.scale);
            const std::optional<RatingPlace> place = tails ? place_of(dataset, *tails) : std::nullopt;
            if (tails) {
              fmt::print(stderr, "{}\n", warning_of(*tails, place));
            }
            const std::vector<SideCoverage> coverage = side_coverage(dataset);
            const std::vector<ModelMemory> memory = training_memory(dataset);
            if (arguments->json) {
              nlohmann::ordered_json json = to_json(dataset, statistics);
              json["heavy_tails"] = tails ? to_json(dataset, *tails, place) : nlohmann::ordered_json(nullptr);
              json["side_information"] = to_json(coverage);
              json["memory"] = to_json(memory);
              fmt::print("{}", json_text(json));
            } else {
              print_statistics(dataset, statistics);
              fmt::print("\n{}\n{}", to_text(coverage), to_text(memory));
            }
          }};
}

}  // namespace curate::cli
