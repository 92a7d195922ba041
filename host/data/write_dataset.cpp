#include "data/write_dataset.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "curate/error.h"
#include "support/atomic_file.h"
#include "support/csv_field.h"
#include "support/output_folder.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

std::string ratings_csv(const Dataset& dataset) {
  const RatingTable& table = dataset.ratings;
  std::string out = table.has_timestamps() ? "userId,movieId,rating,timestamp\n" : "userId,movieId,rating\n";
  out.reserve(static_cast<std::size_t>(table.size()) * 28);
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    const float rating = table.ratings[k];
    auto to = std::back_inserter(out);
    fmt::format_to(to, "{},{},", csv_field(dataset.users.text(table.users[k])),
                   csv_field(dataset.items.text(table.items[k])));
    if (std::fabs(rating) < 1000.0F && std::trunc(2.0F * rating) == 2.0F * rating) {
      fmt::format_to(to, "{:.1f}", rating);  // as MovieLens writes them
    } else {
      fmt::format_to(to, "{}", rating);  // the shortest that reads back the same
    }
    if (table.has_timestamps()) {
      fmt::format_to(to, ",{}", table.timestamps[k]);
    }
    out += '\n';
  }
  return out;
}

std::string movies_csv(const Dataset& dataset) {
  static const ItemInfo kUnknown;
  std::string out = "movieId,title,genres\n";
  for (std::int32_t item = 0; item < dataset.items.size(); ++item) {
    const auto index = static_cast<std::size_t>(item);
    const ItemInfo& info = index < dataset.item_info.size() ? dataset.item_info[index] : kUnknown;
    fmt::format_to(std::back_inserter(out), "{},", csv_field(dataset.items.text(item)));
    out += csv_field(info.title);
    out += ',';
    out += csv_field(info.genres.empty() ? "(no genres listed)" : info.genres);
    out += '\n';
  }
  return out;
}

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
  write_file_atomically(output.stage("movies.csv"), movies_csv(dataset));
  write_file_atomically(output.stage("ratings.csv"), ratings_csv(dataset));
  output.commit();
}

}  // namespace curate
