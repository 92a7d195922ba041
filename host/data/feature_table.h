#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "curate/feature.h"
#include "data/side_files.h"
#include "data/user_info.h"

namespace curate {

// What is known of users and items, from a file's text to a model:
//   FeatureRequest   asks for a feature by name, before any file is read
//   FeatureColumn    holds what files say: numbers as they are, nothing for rows that no file knows
//   FeatureTable     has the columns of one side, users or items; DatasetFeatures has both sides
//   Feature          (curate/feature.h) is a column as a model takes it: numbers in buckets, a value for every row

/// One thing that is known of the rows (users or items) of a FeatureTable: a value, values or none for each row.
struct FeatureColumn {
  static constexpr std::int32_t kMissing = -1;

  std::string name;
  FeatureKind kind = FeatureKind::number;
  std::int32_t width = 1;  ///< numbers per row of a vector; else 1
  /// Names: of the values of a category or multi column, of a vector's numbers.
  std::vector<std::string> vocabulary;
  /// category: index into the vocabulary by row, or kMissing. multi: the values of all rows, one row after the other.
  std::vector<std::int32_t> values;
  std::vector<std::int32_t> offsets;  ///< multi: row r has values[offsets[r] .. offsets[r + 1]); none: missing
  std::vector<std::int32_t> counts;   ///< multi: how often each of `values` was given; empty: once each
  std::vector<float> numbers;         ///< number, vector: row r from r * width on, NaN if missing

  bool has(std::int32_t row) const;
};

/// Columns over the dense ids of an IdMap. Every column has a value for at least one row.
struct FeatureTable {
  std::int32_t rows = 0;
  std::vector<FeatureColumn> columns;

  /// Or null.
  const FeatureColumn* find(std::string_view name) const;
};

/// Values by row as a column; "" is missing. multi: separated by |, repeated ones once. The vocabulary is in order of
/// name.
FeatureColumn category_column(std::string name, const std::vector<std::string>& rows);
FeatureColumn multi_column(std::string name, const std::vector<std::string>& rows);

/// Of users whose ids are numbers: sex, age (of those known in years), age_group (see kAgeGroups), occupation. Users
/// that only the table knows are left out, as are columns without any value.
FeatureTable user_features(const UserTable& table, const IdMap& users);

/// genres and year, of items by dense id; `info` may be shorter than `rows`.
FeatureTable item_features(const std::vector<ItemInfo>& info, std::int32_t rows);

/// `table` in the order of dense ids.
std::vector<ItemInfo> by_dense_id(const std::unordered_map<std::int64_t, ItemInfo>& table, const IdMap& items);

inline constexpr std::int32_t kMostTags = 100;

/// The `most` tags that were given most often to items of `items`, without regard to ASCII case; among equally frequent
/// ones the first by name. A row's values come in descending order of count. `file` is for messages. Throw InputError.
///   tags.csv (20M and later)   userId,movieId,tag,timestamp
///   tags.dat (10M)             UserID::MovieID::Tag::Timestamp
FeatureColumn parse_tags_csv(std::string_view text, const std::string& file, const IdMap& items,
                             std::int32_t most = kMostTags);
FeatureColumn parse_tags_dat(std::string_view text, const std::string& file, const IdMap& items,
                             std::int32_t most = kMostTags);

using GenomeTags = std::vector<std::pair<std::int64_t, std::string>>;

/// genome-tags.csv: tagId,tag. Throws InputError, also for an id that comes twice.
GenomeTags parse_genome_tags(std::string_view text, const std::string& file);

/// Reads genome-scores.csv (movieId,tagId,relevance) piece by piece into a vector per item. Takes memory for one piece
/// and (items with scores) * tags floats, and on finish() items * tags floats. Scores of items not in the map are left
/// out. If an item and a tag come twice, the later score counts.
class GenomeReader {
 public:
  /// Without `tags` every tag id is taken, and is the tag's name. `file` is for messages.
  GenomeReader(std::string file, const IdMap& items, GenomeTags tags = {});

  /// The next piece of the text, which may end anywhere. Throws InputError for a malformed line.
  void feed(std::string_view piece);
  /// After the last piece. Throws InputError if the text was empty.
  FeatureColumn finish();

 private:
  struct Score {
    std::int64_t item;
    std::int64_t tag;
    float relevance;
  };

  [[noreturn]] void fail(const std::string& what) const;
  void take_line(std::string_view line);
  Score parse(std::string_view line) const;
  void add(const Score& score);
  std::size_t tag_index(std::int64_t tag);

  std::string file_;
  const IdMap& items_;
  bool tags_given_;
  GenomeTags tags_;
  std::unordered_map<std::int64_t, std::size_t> tag_indices_;
  std::size_t next_tag_ = 0;
  std::vector<std::vector<float>> rows_;  ///< by dense item; empty if there are no scores
  std::int64_t last_item_ = 0;
  std::vector<float>* last_row_ = nullptr;  ///< of last_item_; null if it is not in the map
  bool any_item_ = false;
  bool header_seen_ = false;
  std::int64_t line_ = 0;
  std::string partial_;  ///< the piece's last line so far
};

/// What a data set's own files say of either side.
struct DatasetFeatures {
  FeatureTable users;
  FeatureTable items;
};

/// user_features and item_features of what `files` and dataset.item_info say. Throws InputError for malformed files.
DatasetFeatures read_plain_features(const SideFiles& files, const Dataset& dataset);

/// The tags among `files`, if there are any.
void add_tags(FeatureTable& items, const SideFiles& files, const Dataset& dataset, std::int32_t most_tags = kMostTags);

/// All that `files` and dataset.item_info say about the users and items of `dataset`: user_features, item_features,
/// tags and genome. Throws InputError for malformed files.
DatasetFeatures read_features(const SideFiles& files, const Dataset& dataset, std::int32_t most_tags = kMostTags);

/// How much of a data set a column has a value for.
struct FeatureCoverage {
  std::int64_t rows = 0;     ///< rows with a value
  std::int64_t ratings = 0;  ///< ratings of these rows
};

/// `ids` are the rows that the ratings belong to: RatingTable::users or items.
FeatureCoverage coverage_of(const FeatureColumn& column, std::int32_t rows, std::span<const std::int32_t> ids);

}  // namespace curate
