#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "curate/dataset.h"
#include "curate/error.h"
#include "data/movielens_like.h"
#include "data/write_dataset.h"
#include "data/write_layouts.h"
#include "data/write_movielens_like.h"
#include "report/progress.h"
#include "support/json_text.h"
#include "support/output_folder.h"

namespace curate::cli {
namespace {

struct GenerateArguments {
  SyntheticOptions options;
  std::string out;
  std::string like;
  double scale = 1.0;
  std::int32_t threads = 0;
  bool overwrite = false;
  bool json = false;
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Throws InputError for flags that do not go together: --like has sizes of its own, and some flags are for --like
/// alone.
void check_combination(const CLI::App& app, bool like) {
  for (const char* name : {"--users", "--items", "--ratings"}) {
    if (like && app.get_option(name)->count() > 0) {
      throw InputError(fmt::format(
          "{} does not go with --like, which has sizes of its own; remove one of them, or use --scale", name));
    }
  }
  for (const char* name : {"--scale", "--threads", "--overwrite"}) {
    if (!like && app.get_option(name)->count() > 0) {
      throw InputError(fmt::format("{} goes with --like only; add --like, or remove it", name));
    }
  }
}

void print_result(const GenerateArguments& arguments, std::int64_t ratings, std::int64_t items, std::int64_t users,
                  double best_rmse) {
  fmt::print("{} ratings of {} items by {} users written to {}\n", grouped(ratings), grouped(items), grouped(users),
             arguments.out);
  fmt::print("best reachable RMSE (of the planted model itself): {:.4f}\n", best_rmse);
}

void run_plain(const GenerateArguments& arguments) {
  const Clock::time_point start = Clock::now();
  const SyntheticDataset synthetic = generate_dataset(arguments.options);
  const Dataset& dataset = synthetic.dataset;
  write_movielens(dataset, arguments.out);
  if (!arguments.json) {
    print_result(arguments, dataset.ratings.size(), dataset.items.size(), dataset.users.size(), synthetic.best_rmse);
    return;
  }
  nlohmann::ordered_json json;
  json["out"] = arguments.out;
  json["files"] = {"movies.csv", "ratings.csv"};
  json["seed"] = arguments.options.seed;
  json["ratings"] = dataset.ratings.size();
  json["users"] = dataset.users.size();
  json["items"] = dataset.items.size();
  json["best_rmse"] = synthetic.best_rmse;
  json["seconds"] = seconds_since(start);
  fmt::print("{}", json_text(json));
}

nlohmann::ordered_json to_json(const GenerateArguments& arguments, const MovielensLike& like,
                               const MovielensLikeReport& report, double seconds) {
  nlohmann::ordered_json json;
  json["out"] = arguments.out;
  json["files"] = report.files;
  json["like"] = arguments.like;
  json["scale"] = arguments.scale;
  json["seed"] = arguments.options.seed;
  json["rank"] = like.rank();
  json["noise"] = like.noise();
  json["ratings"] = report.ratings;
  json["users"] = like.shape().users;
  json["items"] = like.shape().items;
  json["mean"] = report.mean;
  nlohmann::ordered_json histogram = nlohmann::ordered_json::array();
  for (std::size_t k = 0; k < report.histogram.size(); ++k) {
    histogram.push_back({{"rating", like.grid().values()[k]}, {"count", report.histogram[k]}});
  }
  json["histogram"] = std::move(histogram);
  json["most_active_user"] = report.most_active;
  json["most_rated_item"] = report.most_rated;
  json["best_rmse"] = report.best_rmse;
  json["ratings_bytes"] = report.bytes;
  json["seconds"] = seconds;
  return json;
}

void run_like(const GenerateArguments& arguments, const MovielensLikeOptions& options) {
  if (arguments.threads < 0) {
    throw InputError(fmt::format("--threads {}: give 0 (all cores) or more", arguments.threads));
  }
  const Clock::time_point start = Clock::now();
  movielens_shape(options.like, options.scale);  // so that a wrong name is said first
  check_layout_folder(arguments.out, arguments.overwrite);
  OutputFolder folder(arguments.out, arguments.overwrite, is_layout_file);
  LiveLine line;
  line.show("planting the model");
  const MovielensLike like(options);
  line.clear();
  const Clock::time_point drawing = Clock::now();
  const MovielensLikeReport report =
      write_movielens_like(like, folder, arguments.threads, [&](std::int64_t done, std::int64_t total) {
        if (done == total) {
          line.clear();
          line.show("waiting for the disk");
          return;
        }
        const double fraction = static_cast<double>(done) / static_cast<double>(total);
        line.show(fmt::format("ratings {} {:3.0f} % of {}  {}/s", progress_bar(fraction, 30), 100.0 * fraction,
                              grouped(total), short_count(static_cast<double>(done) / seconds_since(drawing))));
      });
  folder.commit();
  line.clear();
  const double seconds = seconds_since(start);
  if (arguments.json) {
    fmt::print("{}", json_text(to_json(arguments, like, report, seconds)));
    return;
  }
  fmt::print(stderr, "{}: {} MB of ratings in {}, {} ratings/s\n", fmt::join(report.files, ", "),
             report.bytes / 1000000, short_seconds(seconds),
             short_count(static_cast<double>(report.ratings) / seconds));
  print_result(arguments, report.ratings, like.shape().items, like.shape().users, report.best_rmse);
}

}  // namespace

Command add_data_generate(CLI::App& data) {
  CLI::App* app = data.add_subcommand("generate", "make up ratings from a planted model, in a layout of MovieLens");
  const auto arguments = std::make_shared<GenerateArguments>();
  SyntheticOptions& options = arguments->options;
  app->add_option("--out", arguments->out, "folder to write into")->required();
  app->add_option("--like", arguments->like,
                  fmt::format("the shape and the files of a release: {}", fmt::join(movielens_shape_names(), ", ")));
  app->add_option("--scale", arguments->scale, "with --like, part of its users and ratings, 0.01 to 1")
      ->capture_default_str();
  app->add_option("--users", options.users, "users")->transform(whole_number<std::int32_t>)->capture_default_str();
  app->add_option("--items", options.items, "items")->transform(whole_number<std::int32_t>)->capture_default_str();
  app->add_option("--ratings", options.ratings, "ratings, each of another pair")
      ->transform(whole_number<std::int64_t>)
      ->capture_default_str();
  CLI::Option* const rank = app->add_option("--rank", options.rank, "factors of the planted model (with --like 8)")
                                ->transform(whole_number<std::int32_t>)
                                ->capture_default_str();
  CLI::Option* const noise =
      app->add_option("--noise", options.noise, "standard deviation of the noise, in stars (with --like its own)")
          ->capture_default_str();
  app->add_option("--seed", options.seed, "seed")->transform(whole_number<std::uint64_t>)->capture_default_str();
  app->add_option("--threads", arguments->threads, "with --like, CPU threads; 0: all cores")
      ->transform(whole_number<std::int32_t>)
      ->capture_default_str();
  app->add_flag("--overwrite", arguments->overwrite, "with --like, replace a data set in --out");
  app->add_flag("--json", arguments->json, "the result as JSON");
  CLI::Option* const like = app->get_option("--like");
  return {app, [=](const Reparse& /*reparse*/) {
            check_combination(*app, like->count() > 0);
            if (like->count() == 0) {
              run_plain(*arguments);
              return;
            }
            MovielensLikeOptions of_like;
            of_like.like = arguments->like;
            of_like.scale = arguments->scale;
            of_like.seed = arguments->options.seed;
            if (rank->count() > 0) {
              of_like.rank = arguments->options.rank;
            }
            if (noise->count() > 0) {
              of_like.noise = arguments->options.noise;
            }
            run_like(*arguments, of_like);
          }};
}

}  // namespace curate::cli
