#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "curate/dataset.h"
#include "data/rating_lines.h"
#include "data/user_info.h"
#include "support/output_folder.h"

namespace curate {

/// Names of the layouts that write_layout takes:
///   ml-csv   MovieLens 20M and later: ratings.csv, movies.csv; ratings from 0.5 to 5
///   ml-1m    ratings.dat, movies.dat, users.dat; whole stars from 1 to 5
///   ml-100k  u.data, u.item, u.genre, u.user, u.occupation; whole stars from 1 to 5
///   csv      ratings.csv with user,item,rating,timestamp, movies.csv; any ratings
///   tsv      the same separated by tab as ratings.tsv, u.item, u.genre, u.user, u.occupation
/// What is known of users goes to users.csv in ml-csv and csv.
const std::vector<std::string_view>& layout_names();

/// Whether some layout has a file of that name.
bool is_layout_file(std::string_view name);

/// What a layout could not hold, by the number of items or users.
struct LayoutLosses {
  std::int64_t texts = 0;        ///< characters that separate fields there were replaced
  std::int64_t years = 0;        ///< the release date that told the year is left out
  std::int64_t ages = 0;         ///< ages became those of a group, or a group its youngest age
  std::int64_t occupations = 0;  ///< became one of MovieLens 1M's
};

/// Throws InputError for a name that is no layout's.
void check_layout(const std::string& layout);

/// The file of ratings that a layout has.
struct RatingsFile {
  std::string_view name;
  RatingsFormat format;
};
/// Throws as check_layout does.
RatingsFile ratings_file_of(const std::string& layout);

/// Which items the files of a layout list.
enum class ListedItems : std::uint8_t {
  known,  ///< those that something is known of, in order of raw id
  all,    ///< all that have a dense id, in its order
};

/// Stages the files of a data set in a layout, with raw ids and the ratings in their order; items and users that
/// something is known of are in order of raw id. No timestamp column without timestamps. Throws InputError if the
/// layout cannot hold the ratings, Error if a file cannot be written.
LayoutLosses write_layout(const Dataset& dataset, const UserTable& users, const std::string& layout,
                          OutputFolder& folder);

/// Stages only the files of items and users, as write_layout does, with the items that are to be listed.
LayoutLosses write_side_files(const Dataset& dataset, const UserTable& users, const std::string& layout,
                              ListedItems listed, OutputFolder& folder);

/// Stages one part of a data set's ratings as csv with the header and the digits of ml-csv; any ratings.
void write_part(const Dataset& dataset, const RatingTable& part, const std::string& name, OutputFolder& folder);

}  // namespace curate
