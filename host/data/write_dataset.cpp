#include "data/write_dataset.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "curate/error.h"
#include "data/delimited_reader.h"
#include "support/atomic_file.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

void append_csv(std::string& out, const std::string& field) {
  // Readers trim blanks that are not quoted.
  const bool keeps_blanks = trimmed(field).size() != field.size();
  if (field.find_first_of(",\"\n") == std::string::npos && !keeps_blanks) {
    out += field;
    return;
  }
  out += '"';
  for (const char c : field) {
    out += c;
    if (c == '"') {
      out += '"';
    }
  }
  out += '"';
}

std::string ratings_csv(const Dataset& dataset) {
  const RatingTable& table = dataset.ratings;
  std::string out = table.has_timestamps() ? "userId,movieId,rating,timestamp\n" : "userId,movieId,rating\n";
  out.reserve(static_cast<std::size_t>(table.size()) * 28);
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    const float rating = table.ratings[k];
    auto to = std::back_inserter(out);
    fmt::format_to(to, "{},{},", dataset.users.raw(table.users[k]), dataset.items.raw(table.items[k]));
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
    fmt::format_to(std::back_inserter(out), "{},", dataset.items.raw(item));
    append_csv(out, info.title);
    out += ',';
    append_csv(out, info.genres.empty() ? "(no genres listed)" : info.genres);
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
  fs::create_directories(folder, error);
  if (error) {
    throw Error(fmt::format("{}: cannot create this folder: {}", folder, error.message()));
  }
  // The ratings last: they are what makes the folder a data set.
  write_file_atomically(movies.string(), movies_csv(dataset));
  write_file_atomically(ratings.string(), ratings_csv(dataset));
}

}  // namespace curate
