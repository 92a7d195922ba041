#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "curate/error.h"
#include "curate/options.h"
#include "data/split_request.h"
#include "data/write_layouts.h"
#include "report/progress.h"
#include "support/json_text.h"
#include "support/output_folder.h"

namespace curate::cli {
namespace {

namespace fs = std::filesystem;

struct SplitArguments {
  std::string data;
  std::string out;
  std::string split;
  std::uint64_t seed = TrainOptions().seed;
  bool overwrite = false;
  bool json = false;
  ReadingArguments reading;
};

/// ratings.train.csv, fold3.test.csv and the like.
bool is_part_file(std::string_view name) {
  std::string_view start = name;
  for (const char* end : {".train.csv", ".test.csv"}) {
    if (name.ends_with(end)) {
      start.remove_suffix(std::string_view(end).size());
    }
  }
  if (start == name) {
    return false;
  }
  return start == "ratings" || (start.size() > 4 && start.starts_with("fold") &&
                                start.find_first_not_of("0123456789", 4) == std::string::npos);
}

SplitRequest checked_request(const SplitArguments& arguments) {
  const std::optional<SplitRequest> request = parse_split(arguments.split);
  if (!request || (request->kind == SplitRequest::Kind::folds && request->folds < 2)) {
    throw InputError(
        fmt::format("--split {}: write random:FRACTION or time:FRACTION with a fraction between 0 and 1, "
                    "or folds:NUMBER with 2 or more",
                    arguments.split));
  }
  // Replacing parts must not take the data along.
  std::error_code error;
  const fs::path data = fs::absolute(arguments.data);
  if (is_part_file(data.filename().string()) && fs::equivalent(data.parent_path(), arguments.out, error)) {
    throw InputError(
        fmt::format("--out {}: {} is there and named like a part; give another folder", arguments.out, arguments.data));
  }
  OutputFolder::check(arguments.out, arguments.overwrite, is_part_file);
  return *request;
}

nlohmann::ordered_json write_parts(const Dataset& dataset, const Split& parts, const std::string& name,
                                   OutputFolder& folder, PhaseLine& line) {
  nlohmann::ordered_json written;
  for (const auto& [part, kind] : {std::pair{&parts.train, "train"}, {&parts.test, "test"}}) {
    const std::string file = fmt::format("{}.{}.csv", name, kind);
    line.show("writing");
    write_part(dataset, *part, file, folder);
    line.clear();
    fmt::print(stderr, "{:<22}{:>13} ratings\n", file, grouped(part->size()));
    written.push_back({{"file", file}, {"ratings", part->size()}});
  }
  return written;
}

void run_split(const SplitArguments& arguments) {
  const SplitRequest request = checked_request(arguments);
  OutputFolder folder(arguments.out, arguments.overwrite, is_part_file);
  PhaseLine line;
  const Dataset dataset = read_dataset(arguments.data, read_options(arguments.reading, line));
  line.clear();
  auto files = nlohmann::ordered_json::array();
  if (request.kind == SplitRequest::Kind::folds) {
    const std::vector<std::int32_t> fold_of = assign_folds(dataset.ratings.size(), request.folds, arguments.seed);
    for (std::int32_t fold = 0; fold < request.folds; ++fold) {
      const Split split = split_fold(dataset.ratings, fold_of, fold);
      for (auto& file : write_parts(dataset, split, fmt::format("fold{}", fold + 1), folder, line)) {
        files.push_back(std::move(file));
      }
    }
  } else {
    line.show("splitting");
    const Split split = split_as_asked(dataset.ratings, request, arguments.seed);
    files = write_parts(dataset, split, "ratings", folder, line);
  }
  folder.commit();
  if (arguments.json) {
    nlohmann::ordered_json json;
    json["out"] = arguments.out;
    json["split"] = arguments.split;
    json["seed"] = arguments.seed;
    json["files"] = std::move(files);
    fmt::print("{}", json_text(json));
    return;
  }
  fmt::print("{} ratings split by {} and written to {}\n", grouped(dataset.ratings.size()), arguments.split,
             arguments.out);
}

}  // namespace

Command add_data_split(CLI::App& data) {
  CLI::App* app = data.add_subcommand("split", "write the parts that train --split or --folds takes as files");
  const auto arguments = std::make_shared<SplitArguments>();
  app->add_option("data", arguments->data, "MovieLens folder, or a file of user, item, rating[, timestamp]")
      ->required();
  app->add_option("--out", arguments->out,
                  "folder to write ratings.train.csv and ratings.test.csv, or fold1.* ... into")
      ->required();
  app->add_option("--split", arguments->split, "random:FRACTION, time:FRACTION (the latest) or folds:NUMBER")
      ->required();
  app->add_option("--seed", arguments->seed, "seed, as of train")
      ->transform(whole_number<std::uint64_t>)
      ->capture_default_str();
  app->add_flag("--overwrite", arguments->overwrite, "replace parts in --out");
  app->add_flag("--json", arguments->json, "what was written, as JSON");
  add_reading_options(*app, arguments->reading);
  return {app, [arguments](const Reparse& /*reparse*/) { run_split(*arguments); }};
}

}  // namespace curate::cli
