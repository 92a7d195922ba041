#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/reading.h"
#include "curate/error.h"
#include "data/side_files.h"
#include "data/user_info.h"
#include "data/write_layouts.h"
#include "report/progress.h"
#include "support/json_text.h"
#include "support/output_folder.h"

namespace curate::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertArguments {
  std::string data;
  std::string out;
  std::string layout;
  bool overwrite = false;
  bool json = false;
  ReadingArguments reading;
};

void check_folder(const ConvertArguments& arguments) {
  std::error_code error;
  const fs::path data = arguments.data;
  const fs::path folder = fs::is_directory(data, error) ? data : fs::absolute(data).parent_path();
  if (fs::equivalent(folder, arguments.out, error)) {
    throw InputError(fmt::format("--out {}: the data to convert are there; give another folder", arguments.out));
  }
  check_layout_folder(arguments.out, arguments.overwrite);
}

void print_losses(const LayoutLosses& losses, const std::string& layout) {
  const auto note = [](std::int64_t count, const std::string& what) {
    if (count > 0) {
      fmt::print(stderr, "{}: {}\n", what, grouped(count));
    }
  };
  note(losses.texts, fmt::format("texts in which characters were replaced that {} cannot hold", layout));
  note(losses.years, fmt::format("years left out, as only the release date told them and {} has none", layout));
  note(losses.ages, layout == "ml-1m" ? "ages that became groups of ages" : "groups of ages that became their code");
  note(losses.occupations, fmt::format("occupations that became the nearest that {} has", layout));
}

void run_convert(const ConvertArguments& arguments) {
  check_layout(arguments.layout);
  check_folder(arguments);
  OutputFolder folder(arguments.out, arguments.overwrite, is_layout_file);
  PhaseLine line;
  const Dataset dataset = read_dataset(arguments.data, read_options(arguments.reading, line));
  line.clear();
  const std::unique_ptr<SideFiles> files = files_beside(dataset.source);
  const UserTable users = dataset.users.numbers() ? read_user_file(*files, dataset.layout) : UserTable();
  line.show("writing");
  const LayoutLosses losses = write_layout(dataset, users, arguments.layout, folder);
  const std::vector<std::string> written = folder.staged();
  folder.commit();
  line.clear();
  std::vector<std::string> left;
  for (const char* name : {"tags.csv", "tags.dat", "genome-scores.csv"}) {
    if (files->has(name)) {
      left.push_back(files->path(name));
    }
  }
  if (arguments.json) {
    nlohmann::ordered_json json;
    json["out"] = arguments.out;
    json["layout"] = arguments.layout;
    json["ratings"] = dataset.ratings.size();
    json["users"] = dataset.users.size();
    json["items"] = dataset.items.size();
    json["files"] = written;
    json["losses"] = {
        {"texts", losses.texts}, {"years", losses.years}, {"ages", losses.ages}, {"occupations", losses.occupations}};
    json["not_converted"] = left;
    fmt::print("{}", json_text(json));
    return;
  }
  print_losses(losses, arguments.layout);
  for (const std::string& path : left) {
    fmt::print(stderr, "not converted: {}\n", path);
  }
  fmt::print("{} ratings of {} items by {} users written to {} ({})\n", grouped(dataset.ratings.size()),
             grouped(dataset.items.size()), grouped(dataset.users.size()), arguments.out, arguments.layout);
}

}  // namespace

Command add_data_convert(CLI::App& data) {
  CLI::App* app = data.add_subcommand("convert", "write a data set in another layout: ratings, titles, users");
  const auto arguments = std::make_shared<ConvertArguments>();
  app->add_option("data", arguments->data, "MovieLens folder, or a file of user, item, rating[, timestamp]")
      ->required();
  app->add_option("--out", arguments->out, "folder to write into")->required();
  app->add_option("--layout", arguments->layout, fmt::format("{}", fmt::join(layout_names(), ", ")))->required();
  app->add_flag("--overwrite", arguments->overwrite, "replace a data set in --out");
  app->add_flag("--json", arguments->json, "what was written, as JSON");
  add_reading_options(*app, arguments->reading);
  return {app, [arguments](const Reparse& /*reparse*/) { run_convert(*arguments); }};
}

}  // namespace curate::cli
