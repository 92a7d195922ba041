#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "data/archive.h"
#include "data/delimited_format.h"
#include "data/side_files.h"

namespace curate {

/// What stands in movies.csv for an item without genres.
inline constexpr std::string_view kNoGenres = "(no genres listed)";

/// A layout that MovieLens was published in, and its files.
struct MovielensLayout {
  std::string_view name;          ///< as in Dataset::layout
  std::string_view ratings_file;  ///< u.data, ratings.dat, ratings.csv
  std::string_view items_file;    ///< u.item, movies.dat, movies.csv
  Separator separator;            ///< of the ratings
  std::pair<float, float> rating_range;
};

/// The layout of a folder. Throws InputError for a folder that holds none, naming what was looked for and a sub-folder
/// that would do.
const MovielensLayout& find_movielens_layout(const std::string& folder);

/// The same for an archive.
const MovielensLayout& find_movielens_layout(const FileTree& archive);

/// The layout whose ratings have this separator, or null.
const MovielensLayout* movielens_layout_of(Separator separator);

/// The layout of that name, or null.
const MovielensLayout* movielens_layout_named(std::string_view name);

/// What an item file says, by raw id. If it lists an item twice, the later line counts.
using ItemTable = std::unordered_map<std::int64_t, ItemInfo>;

/// The item file of `layout` among `files` (and u.genre if it is beside u.item); empty if there is none. Throws
/// InputError for a malformed one.
ItemTable read_item_file(const SideFiles& files, const MovielensLayout& layout);

/// The three item files from their text; `file` is for messages. UTF-8 if the whole text is valid UTF-8, else
/// latin-1.
ItemTable parse_u_item(std::string_view text, const std::string& file, const std::vector<std::string>& genres);
ItemTable parse_movies_dat(std::string_view text, const std::string& file);
ItemTable parse_movies_csv(std::string_view text, const std::string& file);

/// The year in parentheses that ends a title, as in "Toy Story (1995)"; the first one of a series, as in "Fawlty Towers
/// (1975-1979)"; 0 if there is none.
std::int32_t year_of_title(std::string_view title);

/// Genre names from the text of u.genre, in order.
std::vector<std::string> parse_u_genre(std::string_view text, const std::string& file);

/// The 19 genres of MovieLens 100k.
const std::vector<std::string>& movielens_100k_genres();

}  // namespace curate
