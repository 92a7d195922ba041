#include "data/write_layouts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "curate/error.h"
#include "data/rating_scale.h"
#include "data/side_writers.h"
#include "support/ordered_file.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

struct WrittenLayout {
  std::string_view name;
  std::string_view ratings_file;
  RatingsFormat format;
  SideFormat side;
  float min;  ///< of the ratings; without bounds min > max
  float max;
  bool whole_stars;
};

constexpr std::array<std::string_view, 4> kNoHeader = {};
constexpr std::array<std::string_view, 4> kPlainHeader = {"user", "item", "rating", "timestamp"};
constexpr std::array<std::string_view, 4> kMovielensHeader = {"userId", "movieId", "rating", "timestamp"};
constexpr RatingsFormat kMovielensCsv = {",", kMovielensHeader, true};

constexpr std::array<WrittenLayout, 5> kWrittenLayouts = {{
    {"ml-csv", "ratings.csv", kMovielensCsv, SideFormat::csv, 0.5F, 5.0F, false},
    {"ml-1m", "ratings.dat", {"::", kNoHeader, false}, SideFormat::dat, 1.0F, 5.0F, true},
    {"ml-100k", "u.data", {"\t", kNoHeader, false}, SideFormat::u, 1.0F, 5.0F, true},
    {"csv", "ratings.csv", {",", kPlainHeader, false}, SideFormat::csv, 1.0F, 0.0F, false},
    {"tsv", "ratings.tsv", {"\t", kPlainHeader, false}, SideFormat::u, 1.0F, 0.0F, false},
}};

constexpr std::array<std::string_view, 8> kSideNames = {"movies.csv", "users.csv", "movies.dat", "users.dat",
                                                        "u.item",     "u.genre",   "u.user",     "u.occupation"};

const WrittenLayout& find_layout(const std::string& name) {
  const auto* const found = std::find_if(kWrittenLayouts.begin(), kWrittenLayouts.end(),
                                         [&](const WrittenLayout& layout) { return layout.name == name; });
  if (found == kWrittenLayouts.end()) {
    throw InputError("layout", name, fmt::format("not one of {}", fmt::join(layout_names(), ", ")));
  }
  return *found;
}

/// Pieces of lines are made on all threads and written in their order.
void write_ratings(OutputFolder& folder, std::string_view name, const Dataset& ids, const RatingTable& table,
                   const RatingsFormat& format) {
  constexpr std::int64_t kPiece = 1 << 16;
  const bool timed = table.has_timestamps();
  const RatingTexts texts(format, timed, ids.users, ids.items);
  // At least one, for the header.
  const std::int64_t pieces = std::max<std::int64_t>(1, (table.size() + kPiece - 1) / kPiece);
  const int threads = static_cast<int>(std::min<std::int64_t>(pieces, hardware_threads()));
  write_in_pieces(folder, std::string(name), pieces, threads, [&](std::int64_t piece, OrderedFile& file) {
    RatingLines lines(texts);
    lines.reserve(static_cast<std::size_t>(kPiece) * 32);
    if (piece == 0) {
      lines.append(texts.header());
    }
    const auto end = static_cast<std::size_t>(std::min((piece + 1) * kPiece, table.size()));
    for (auto k = static_cast<std::size_t>(piece * kPiece); k < end; ++k) {
      lines.append_rating(table.users[k], table.items[k], table.ratings[k], timed ? table.timestamps[k] : 0);
    }
    file.write(piece, lines.text());
  });
}

void check_ratings_fit(const Dataset& dataset, const WrittenLayout& layout) {
  if (layout.min > layout.max) {
    return;
  }
  if (!dataset.users.numbers() || !dataset.items.numbers()) {
    throw InputError(fmt::format("{}: has ids that are text, but {} holds whole numbers; use `layout` csv",
                                 dataset.source, layout.name));
  }
  const RatingTable& table = dataset.ratings;
  for (std::size_t k = 0; k < table.ratings.size(); ++k) {
    const float rating = table.ratings[k];
    const bool whole = is_whole_star(rating);
    if (rating >= layout.min && rating <= layout.max && (whole || !layout.whole_stars)) {
      continue;
    }
    const std::string which =
        fmt::format("{}: user {} rated item {} with {}", dataset.source, dataset.users.text(table.users[k]),
                    dataset.items.text(table.items[k]), rating);
    if (layout.whole_stars) {
      throw InputError(fmt::format("{}, but {} holds whole stars from {:g} to {:g} only{}; use `layout` {}", which,
                                   layout.name, layout.min, layout.max,
                                   is_half_star(rating) && !whole ? ", no half stars" : "",
                                   dataset.scale.min >= 0.5F && dataset.scale.max <= 5.0F ? "ml-csv" : "csv"));
    }
    throw InputError(fmt::format("{}, but {} holds ratings from {:g} to {:g} only; use `layout` csv", which,
                                 layout.name, layout.min, layout.max));
  }
}

}  // namespace

const std::vector<std::string_view>& layout_names() {
  static const std::vector<std::string_view> kNames = [] {
    std::vector<std::string_view> names;
    for (const WrittenLayout& layout : kWrittenLayouts) {
      names.push_back(layout.name);
    }
    return names;
  }();
  return kNames;
}

bool is_layout_file(std::string_view name) {
  return std::find(kSideNames.begin(), kSideNames.end(), name) != kSideNames.end() ||
         std::any_of(kWrittenLayouts.begin(), kWrittenLayouts.end(),
                     [&](const WrittenLayout& layout) { return layout.ratings_file == name; });
}

void check_layout(const std::string& layout) {
  find_layout(layout);
}

RatingsFile ratings_file_of(const std::string& layout) {
  const WrittenLayout& of = find_layout(layout);
  return {of.ratings_file, of.format};
}

LayoutLosses write_layout(const Dataset& dataset, const UserTable& users, const std::string& layout,
                          OutputFolder& folder) {
  const WrittenLayout& to = find_layout(layout);
  check_ratings_fit(dataset, to);
  const LayoutLosses losses = write_side_files(dataset, users, layout, ListedItems::known, folder);
  // The ratings last: they are what makes the folder a data set.
  write_ratings(folder, to.ratings_file, dataset, dataset.ratings, to.format);
  return losses;
}

LayoutLosses write_side_files(const Dataset& dataset, const UserTable& users, const std::string& layout,
                              ListedItems listed, OutputFolder& folder) {
  const SideFormat format = find_layout(layout).side;
  LayoutLosses losses;
  write_item_files(dataset, listed, format, folder, losses);
  write_user_files(dataset, users, format, folder, losses);
  return losses;
}

void write_part(const Dataset& dataset, const RatingTable& part, const std::string& name, OutputFolder& folder) {
  write_ratings(folder, name, dataset, part, kMovielensCsv);
}

}  // namespace curate
