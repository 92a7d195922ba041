#include "data/movielens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "curate/error.h"
#include "data/delimited_text.h"
#include "data/text_table.h"
#include "support/printable.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

constexpr std::array<MovielensLayout, 3> kLayouts = {{
    {"ml-100k", "u.data", "u.item", Separator::tab, {1.0F, 5.0F}},
    {"ml-1m", "ratings.dat", "movies.dat", Separator::double_colon, {0.5F, 5.0F}},
    {"ml-csv", "ratings.csv", "movies.csv", Separator::comma, {0.5F, 5.0F}},
}};

constexpr std::size_t kItemFieldsBeforeGenres = 5;  // id, title, release date, video release date, address
constexpr std::string_view kItemRemedy = "correct it, or move the item file away to go without titles";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

const MovielensLayout* layout_in(const fs::path& folder) {
  for (const MovielensLayout& layout : kLayouts) {
    std::error_code error;
    if (fs::exists(folder / layout.ratings_file, error)) {
      return &layout;
    }
  }
  return nullptr;
}

std::int64_t parse_item_id(std::string_view field, const std::string& file, std::int64_t line) {
  return parse_id(field, "item id", file, line, kItemRemedy);
}

/// A year of four digits at the start that can be a film's, 0 if there is none.
std::int32_t leading_year(std::string_view text) {
  constexpr std::size_t kDigits = 4;
  if (text.size() < kDigits || (text.size() > kDigits && is_digit(text[kDigits]))) {
    return 0;
  }
  std::int32_t year = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + kDigits, year);
  return end == text.data() + kDigits && error == std::errc{} && year >= 1870 && year <= 2100 ? year : 0;
}

/// From u.item's release date, "01-Jan-1995".
std::int32_t year_of_date(std::string_view date) {
  const std::size_t dash = date.rfind('-');
  return dash == std::string_view::npos ? 0 : leading_year(date.substr(dash + 1));
}

ItemInfo make_item(std::string title, std::string genres) {
  const std::int32_t year = year_of_title(title);
  return {std::move(title), std::move(genres), year};
}

}  // namespace

const MovielensLayout& find_movielens_layout(const std::string& folder) {
  if (const MovielensLayout* layout = layout_in(folder)) {
    return *layout;
  }
  std::vector<std::string> candidates;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code not_a_folder;
    if (entry->is_directory(not_a_folder) && layout_in(entry->path()) != nullptr) {
      candidates.push_back(entry->path().string());
    }
  }
  if (error) {
    throw InputError(fmt::format("{}: cannot list this folder: {}; check its permissions", folder, error.message()));
  }
  throw InputError(fmt::format(
      "{}: no MovieLens ratings in this folder (looked for u.data, ratings.dat and ratings.csv); {}", folder,
      candidates.size() == 1 ? fmt::format("did you mean {}?", candidates.front())
                             : "name the folder that holds one of them, or a file of ratings"));
}

const MovielensLayout* movielens_layout_of(Separator separator) {
  const auto* const found = std::find_if(kLayouts.begin(), kLayouts.end(),
                                         [&](const MovielensLayout& layout) { return layout.separator == separator; });
  return found == kLayouts.end() ? nullptr : found;
}

const MovielensLayout* movielens_layout_named(std::string_view name) {
  const auto* const found = std::find_if(kLayouts.begin(), kLayouts.end(),
                                         [&](const MovielensLayout& layout) { return layout.name == name; });
  return found == kLayouts.end() ? nullptr : found;
}

const MovielensLayout& find_movielens_layout(const FileTree& archive) {
  for (const MovielensLayout& layout : kLayouts) {
    if (archive.has(std::string(layout.ratings_file))) {
      return layout;
    }
  }
  throw InputError(fmt::format(
      "{}: no MovieLens ratings in this archive (looked for u.data, ratings.dat and ratings.csv, at its top "
      "or in its one folder); unpack it and name the file of ratings",
      archive.path()));
}

ItemTable read_item_file(const SideFiles& files, const MovielensLayout& layout) {
  const std::string name(layout.items_file);
  if (!files.has(name)) {
    return {};
  }
  const std::string text = files.text(name);
  const std::string path = files.path(name);
  if (layout.separator == Separator::double_colon) {
    return parse_movies_dat(text, path);
  }
  if (layout.separator == Separator::comma) {
    return parse_movies_csv(text, path);
  }
  return parse_u_item(
      text, path,
      files.has("u.genre") ? parse_u_genre(files.text("u.genre"), files.path("u.genre")) : movielens_100k_genres());
}

std::int32_t year_of_title(std::string_view title) {
  title = trimmed(title);
  if (!title.ends_with(')')) {
    return 0;
  }
  const std::size_t open = title.rfind('(');
  if (open == std::string_view::npos) {
    return 0;
  }
  const std::string_view inside = title.substr(open + 1, title.size() - open - 2);
  const std::int32_t year = leading_year(inside);
  // The years of a series, like 1975-1979 or 2007-, count by the first; the dash may be one outside ASCII.
  const bool years_alone = inside.find_first_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == inside.npos;
  return years_alone ? year : 0;
}

ItemTable parse_u_item(std::string_view text, const std::string& file, const std::vector<std::string>& genres) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  const std::size_t expected = kItemFieldsBeforeGenres + genres.size();
  ItemTable items;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    const std::vector<std::string_view> fields = split_plainly(line, "|");
    if (fields.size() != expected) {
      throw_input_error(file, number,
                        fmt::format("{} fields separated by `|` instead of 5 and a flag for each of {} genres ({})",
                                    fields.size(), genres.size(), excerpt(line)),
                        kItemRemedy);
    }
    const std::int64_t id = parse_item_id(fields[0], file, number);
    ItemInfo info = make_item(decode(trimmed(fields[1])), {});
    if (info.year == 0) {
      info.year = year_of_date(trimmed(fields[2]));
    }
    for (std::size_t genre = 0; genre < genres.size(); ++genre) {
      const std::string_view flag = trimmed(fields[kItemFieldsBeforeGenres + genre]);
      if (flag != "0" && flag != "1") {
        throw_input_error(
            file, number,
            fmt::format("the flag of genre {} is neither 0 nor 1 ({})", printable(genres[genre]), excerpt(flag)),
            kItemRemedy);
      }
      if (flag == "1" && genres[genre] != "unknown") {
        info.genres += info.genres.empty() ? "" : "|";
        info.genres += genres[genre];
      }
    }
    items[id] = std::move(info);
  });
  return items;
}

ItemTable parse_movies_dat(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  ItemTable items;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    // Titles hold colons, ids and genres do not.
    const std::size_t first = line.find("::");
    const std::size_t last = line.rfind("::");
    if (first == std::string_view::npos || last < first + 2) {
      throw_input_error(file, number,
                        fmt::format("three fields separated by `::` are needed: id, title, genres ({})", excerpt(line)),
                        kItemRemedy);
    }
    const std::int64_t id = parse_item_id(line.substr(0, first), file, number);
    const std::string_view genres = trimmed(line.substr(last + 2));
    items[id] = make_item(decode(trimmed(line.substr(first + 2, last - first - 2))),
                          genres == kNoGenres ? std::string() : decode(genres));
  });
  return items;
}

ItemTable parse_movies_csv(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  CsvReader reader(text, file, kItemRemedy);
  reader.read_header();
  constexpr std::string_view kHeaderRemedy =
      "start the item file with movieId,title,genres, or move it away to go without titles";
  const std::size_t id_column = reader.column("movieId", kHeaderRemedy);
  const std::size_t title_column = reader.column("title", kHeaderRemedy);
  const std::size_t genres_column = reader.column("genres", kHeaderRemedy);

  ItemTable items;
  std::vector<std::string> fields;
  while (reader.next_row(fields)) {
    const std::int64_t id = parse_item_id(fields[id_column], file, reader.line());
    const std::string& genres = fields[genres_column];
    items[id] = make_item(decode(fields[title_column]), genres == kNoGenres ? std::string() : decode(genres));
  }
  return items;
}

std::vector<std::string> parse_u_genre(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  std::vector<std::string> genres;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    const std::vector<std::string_view> fields = split_plainly(line, "|");
    if (fields.size() != 2 || trimmed(fields[1]) != std::to_string(genres.size())) {
      throw_input_error(
          file, number,
          fmt::format("a genre and its number {} are needed, separated by `|` ({})", genres.size(), excerpt(line)),
          "correct it, or move u.genre away to use the usual 19 genres");
    }
    genres.push_back(decode(trimmed(fields[0])));
  });
  return genres;
}

const std::vector<std::string>& movielens_100k_genres() {
  static const std::vector<std::string> kGenres = {"unknown",   "Action",   "Adventure",   "Animation", "Children's",
                                                   "Comedy",    "Crime",    "Documentary", "Drama",     "Fantasy",
                                                   "Film-Noir", "Horror",   "Musical",     "Mystery",   "Romance",
                                                   "Sci-Fi",    "Thriller", "War",         "Western"};
  return kGenres;
}

}  // namespace curate
