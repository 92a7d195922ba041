#include "data/write_dataset.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "curate/error.h"
#include "data/write_layouts.h"
#include "support/output_folder.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

}  // namespace

void write_movielens(const Dataset& dataset, const std::string& folder) {
  if (dataset.ratings.size() == 0) {
    throw InputError(fmt::format("{}: there are no ratings to write; give a data set that has some", folder));
  }
  const fs::path ratings = fs::path(folder) / "ratings.csv";
  const fs::path movies = fs::path(folder) / "movies.csv";
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    throw InputError(fmt::format("{}: this is not a folder; name another", folder));
  }
  for (const fs::path& path : {ratings, movies}) {
    if (fs::exists(path, error)) {
      throw InputError(fmt::format("{}: this file exists already; remove it or name another folder", path.string()));
    }
  }
  OutputFolder output(
      folder, false, [](std::string_view name) { return name == "movies.csv" || name == "ratings.csv"; }, "");
  // The ratings last: they are what makes the folder a data set.
  write_side_files(dataset, {}, "ml-csv", ListedItems::all, output);
  write_part(dataset, dataset.ratings, "ratings.csv", output);
  output.commit();
}

}  // namespace curate
