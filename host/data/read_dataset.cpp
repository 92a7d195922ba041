#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <system_error>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/delimited_reader.h"
#include "data/delimited_text.h"
#include "data/movielens.h"
#include "data/rating_cache.h"
#include "data/rating_place.h"
#include "data/rating_reader.h"
#include "data/rating_scale.h"
#include "data/side_files.h"
#include "support/file_set.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// A file, folder or archive that was looked into.
struct Source {
  PathKind kind = PathKind::file;
  const MovielensLayout* release = nullptr;  ///< of a folder or archive
  std::string file;                          ///< that the ratings are read from
  std::optional<RatingText> text;
  DelimitedFormat format;

  /// `options`, with the range of the release if they have none.
  ReadOptions with_range(ReadOptions options) const {
    if (release != nullptr && !options.rating_range) {
      options.rating_range = release->rating_range;
    }
    return options;
  }
};

Source open_source(const std::string& path, bool user_texts, bool item_texts) {
  Source source;
  source.kind = path_kind(path);
  settle_set(source.kind == PathKind::folder ? path : fs::absolute(path).parent_path().string());
  source.file = path;
  if (source.kind == PathKind::folder) {
    source.release = &find_movielens_layout(path);
    source.file = (fs::path(path) / source.release->ratings_file).string();
    source.text.emplace(source.file);
  } else if (source.kind == PathKind::zip) {
    const std::unique_ptr<FileTree> archive = open_tree(path);
    source.release = &find_movielens_layout(*archive);
    source.text.emplace(*archive, std::string(source.release->ratings_file));
  } else {
    source.text.emplace(path);
  }
  DelimitedFormat& format = source.format;
  format = source.text->detect(DelimitedContent::ratings);
  format.release = source.release != nullptr;
  format.user_text = !format.release && (format.user_text || user_texts);
  format.item_text = !format.release && (format.item_text || item_texts);
  if (format.release && format.separator != source.release->separator) {
    throw_input_error(source.text->name(), 1,
                      fmt::format("the file separates its fields by {}, but MovieLens separates those of {} by {}",
                                  separator_name(format.separator), source.release->ratings_file,
                                  separator_name(source.release->separator)),
                      source.kind == PathKind::zip ? "unpack the archive and name the file itself"
                                                   : "name the file itself instead of its folder");
  }
  return source;
}

/// Titles and genres from beside `path`, if its layout has a file of them.
ItemTable read_items(const std::string& path, const Source& source, const IdMap& items) {
  const MovielensLayout* layout = movielens_layout_of(source.format.separator);
  return layout != nullptr && source.kind != PathKind::pipe && items.numbers()
             ? read_item_file(*files_beside(path), *layout)
             : ItemTable();
}

/// The same from beside the source of `dataset`: other ratings, wherever they lie, may have items that its item file
/// describes. A plain file is taken to have the layout that the other ratings look like.
ItemTable read_items_of(const Dataset& dataset, const Source& other, const IdMap& items) {
  const MovielensLayout* named = movielens_layout_named(dataset.layout);
  const MovielensLayout* layout = named != nullptr ? named : movielens_layout_of(other.format.separator);
  std::error_code error;
  const bool there = fs::is_regular_file(dataset.source, error) || fs::is_directory(dataset.source, error);
  const bool any_new = items.size() > dataset.items.size();
  return any_new && there && layout != nullptr && items.numbers() && dataset.layout != "synthetic"
             ? read_item_file(*files_beside(dataset.source), *layout)
             : ItemTable();
}

template <typename T>
void erase_marked(Column<T>& values, const std::vector<bool>& dropped) {
  if (values.empty()) {
    return;
  }
  std::size_t kept = 0;
  for (std::size_t k = 0; k < values.size(); ++k) {
    if (!dropped[k]) {
      values[kept++] = values[k];
    }
  }
  values.resize(kept);
}

/// Whether one pass can tell that no pair occurs twice: the ratings are grouped by user, so that dense ids never fall,
/// and no item comes twice from the same user. False says nothing.
bool surely_distinct(const RatingTable& table, std::int32_t num_items, ThreadPool& pool) {
  const std::size_t rows = table.users.size();
  const auto pieces = static_cast<std::size_t>(pool.threads());
  std::vector<std::size_t> begins;
  for (std::size_t piece = 0; piece <= pieces; ++piece) {
    // At a change of user.
    std::size_t begin = rows / pieces * piece;
    while (begin > 0 && begin < rows && table.users[begin] == table.users[begin - 1]) {
      ++begin;
    }
    begins.push_back(piece == pieces ? rows : begin);
  }
  std::atomic<bool> distinct = true;
  pool.run(static_cast<std::int64_t>(pieces), [&](std::int64_t piece) {
    std::vector<std::int32_t> last_user(static_cast<std::size_t>(num_items), -1);
    const std::size_t begin = begins[static_cast<std::size_t>(piece)];
    std::int32_t before = begin == 0 ? 0 : table.users[begin - 1];
    for (std::size_t k = begin; k < begins[static_cast<std::size_t>(piece) + 1]; ++k) {
      const std::int32_t user = table.users[k];
      std::int32_t& last = last_user[static_cast<std::size_t>(table.items[k])];
      if (user < before || last == user) {
        distinct = false;
        return;
      }
      before = user;
      last = user;
    }
  });
  return distinct;
}

/// Keeps one rating per pair: the latest; among equally late ones the last in the table. Returns how many it drops.
std::int64_t drop_duplicates(RatingTable& table, std::int32_t num_users, std::int32_t num_items, ThreadPool& pool) {
  if (surely_distinct(table, num_items, pool)) {
    return 0;
  }
  const std::size_t count = table.ratings.size();
  // Positions by user, in table order within one (counting sort).
  std::vector<std::size_t> start(static_cast<std::size_t>(num_users) + 1, 0);
  for (const std::int32_t user : table.users) {
    ++start[static_cast<std::size_t>(user) + 1];
  }
  std::partial_sum(start.begin(), start.end(), start.begin());
  std::vector<std::size_t> order(count);
  for (std::size_t k = 0; k < count; ++k) {
    order[start[static_cast<std::size_t>(table.users[k])]++] = k;
  }

  // Per item, the user that was seen with it last and where the rating that counts is.
  std::vector<std::int32_t> last_user(static_cast<std::size_t>(num_items), -1);
  std::vector<std::size_t> kept(static_cast<std::size_t>(num_items));
  std::vector<bool> dropped(count, false);
  std::int64_t duplicates = 0;
  for (const std::size_t k : order) {
    const auto item = static_cast<std::size_t>(table.items[k]);
    if (last_user[item] != table.users[k]) {
      last_user[item] = table.users[k];
      kept[item] = k;
      continue;
    }
    ++duplicates;
    if (!table.has_timestamps() || table.timestamps[k] >= table.timestamps[kept[item]]) {
      dropped[kept[item]] = true;
      kept[item] = k;
    } else {
      dropped[k] = true;
    }
  }
  if (duplicates > 0) {
    erase_marked(table.users, dropped);
    erase_marked(table.items, dropped);
    erase_marked(table.ratings, dropped);
    erase_marked(table.timestamps, dropped);
  }
  return duplicates;
}

/// Fills in items from `first_item` on; strings are moved out of `known`.
void take_item_info(Dataset& dataset, std::int32_t first_item, ItemTable& known) {
  if (known.empty() || !dataset.items.numbers()) {
    return;
  }
  dataset.item_info.resize(static_cast<std::size_t>(dataset.items.size()));
  for (std::int32_t item = first_item; item < dataset.items.size(); ++item) {
    const auto found = known.find(dataset.items.raw(item));
    if (found != known.end()) {
      dataset.item_info[static_cast<std::size_t>(item)] = std::move(found->second);
    }
  }
}

std::string absolute_path(const std::string& path) {
  std::string result = fs::absolute(path).lexically_normal().string();
  while (result.size() > 1 && result.back() == '/') {
    result.pop_back();
  }
  return result;
}

}  // namespace

const std::string& Dataset::title(std::int32_t item) const {
  static const std::string kUnknown;
  const auto index = static_cast<std::size_t>(item);
  return item >= 0 && index < item_info.size() ? item_info[index].title : kUnknown;
}

namespace {

/// Reads the text; of repeated ratings one stays. The bounds of the scale are those of the ratings.
CachedRatings read_distinct(const std::string& path, Source source, const ReadOptions& options, ThreadPool& pool) {
  CachedRatings read;
  read.ratings = source.text->read(source.format, source.with_range(options), read.users, read.items, pool);
  if (options.progress) {
    options.progress("looking for repeated ratings", 0, 0);
  }
  read.duplicates = drop_duplicates(read.ratings, read.users.size(), read.items.size(), pool);
  if (read.duplicates > 0 && !options.timestamps && source.format.timestamp != kNoColumn) {
    // Timestamps decide which of the repeated ratings counts: reads once more, with them.
    ReadOptions with = options;
    with.timestamps = true;
    read = read_distinct(path, open_source(path, options.text_ids, options.text_ids), with, pool);
    read.ratings.timestamps = {};
    return read;
  }
  read.scale = detect_scale(read.ratings.ratings, pool);
  return read;
}

bool is_within(const RatingScale& scale, const std::optional<std::pair<float, float>>& range) {
  return !range || (scale.min >= range->first && scale.max <= range->second);
}

}  // namespace

Dataset read_dataset(const std::string& path, const ReadOptions& options) {
  ThreadPool pool(options.threads > 0 ? options.threads : hardware_threads());
  Source source = open_source(path, options.text_ids, options.text_ids);
  const std::optional<std::pair<float, float>> range = source.with_range(options).rating_range;
  const bool text_ids = options.text_ids && source.release == nullptr;
  const bool timestamps = options.timestamps && source.format.timestamp != kNoColumn;
  const std::optional<FileStamp> stamp = options.cache ? stamp_of(source.file) : std::nullopt;
  const bool caching = stamp && stamp->size >= options.cache_from;
  std::optional<CachedRatings> read;
  if (caching) {
    if (options.progress) {
      options.progress("reading the cache", 0, 0);
    }
    read = load_cache(source.file, text_ids, timestamps, pool);
    // The reader of the text refuses what a release may not have, and names the line.
    if (read && (!is_within(read->scale, range) ||
                 (source.release != nullptr && !(read->users.numbers() && read->items.numbers())))) {
      read.reset();
    }
  }
  Dataset dataset;
  dataset.source = absolute_path(path);
  dataset.layout = source.release != nullptr ? source.release->name : "delimited";
  dataset.from_cache = read.has_value();
  ItemTable items;
  if (read) {
    items = read_items(path, source, read->items);
  } else {
    const Source closed{source.kind, source.release, source.file, std::nullopt, source.format};
    read = read_distinct(path, std::move(source), options, pool);
    items = read_items(path, closed, read->items);
    if (caching) {
      if (options.progress) {
        options.progress("writing the cache", 0, 0);
      }
      store_cache(closed.file, *stamp, text_ids, *read, pool);
    }
  }
  dataset.users = std::move(read->users);
  dataset.items = std::move(read->items);
  dataset.ratings = std::move(read->ratings);
  dataset.duplicates = read->duplicates;
  dataset.scale = read->scale;
  if (options.rating_range) {
    dataset.scale.min = options.rating_range->first;
    dataset.scale.max = options.rating_range->second;
  }
  take_item_info(dataset, 0, items);
  return dataset;
}

RatingTable read_more_ratings(Dataset& dataset, const std::string& path, const ReadOptions& options) {
  ThreadPool pool(options.threads > 0 ? options.threads : hardware_threads());
  const std::int32_t first_new_item = dataset.items.size();
  // Always with timestamps: reading again would find its ids known already.
  ReadOptions with = options;
  with.timestamps = true;
  // Ids that are text already keep their spelling.
  Source source =
      open_source(path, options.text_ids || !dataset.users.numbers(), options.text_ids || !dataset.items.numbers());
  // A failure leaves the data set as it was.
  IdMap users = dataset.users;
  IdMap items = dataset.items;
  RatingTable table = source.text->read(source.format, source.with_range(with), users, items, pool);
  ItemTable known_before = read_items_of(dataset, source, items);
  ItemTable known = read_items(path, source, items);
  dataset.users = std::move(users);
  dataset.items = std::move(items);
  drop_duplicates(table, dataset.users.size(), dataset.items.size(), pool);
  if (!options.timestamps) {
    table.timestamps = {};
  }
  take_item_info(dataset, first_new_item, known_before);
  take_item_info(dataset, first_new_item, known);
  return table;
}

namespace {

/// The row that counts among those of one pair and rating, in blocks of lines.
class PlaceSearch {
 public:
  PlaceSearch(const DelimitedFormat& format, RawId user, RawId item, float rating)
      : format_(format), user_(std::move(user)), item_(std::move(item)), rating_(rating) {}

  /// The line, 0: no row was the one. Throws RowError.
  std::int64_t line() const { return line_; }

  /// Lines of the text, the first of which has that number.
  void look_in(std::string_view lines, std::int64_t first) {
    RawRatings rows;
    RowParser(lines, format_, kAnyRating, false, rows).parse(0, lines.size());
    std::int64_t latest = std::numeric_limits<std::int64_t>::min();
    for (std::size_t k = 0; k < rows.users.size(); ++k) {
      if (is_wanted(lines, rows, k)) {
        latest = std::max(latest, time_of(rows, k));
      }
    }
    // Rows know their lines only where there is one of each.
    if (latest == std::numeric_limits<std::int64_t>::min() || (line_ != 0 && latest < latest_)) {
      return;
    }
    latest_ = latest;
    std::int64_t number = first;
    for (std::size_t begin = 0; begin < lines.size(); ++number) {
      const std::size_t from = begin;
      next_line(lines, begin);
      RawRatings row;
      RowParser(lines, format_, kAnyRating, false, row).parse(from, begin);
      if (!row.users.empty() && is_wanted(lines, row, 0) && time_of(row, 0) == latest) {
        line_ = number;
      }
    }
  }

 private:
  static constexpr std::optional<std::pair<float, float>> kAnyRating = std::nullopt;

  bool is_wanted(std::string_view text, const RawRatings& rows, std::size_t k) const {
    return rows.ratings[k] == rating_ && is_id(text, format_.user_text, rows.users[k], user_) &&
           is_id(text, format_.item_text, rows.items[k], item_);
  }
  static bool is_id(std::string_view text, bool is_text, std::int64_t value, const RawId& id) {
    std::string unquoted;
    return is_text ? field_text(text, value, unquoted) == id.text() : RawId(value) == id;
  }
  static std::int64_t time_of(const RawRatings& rows, std::size_t k) {
    return rows.timestamps.empty() ? 0 : rows.timestamps[k];
  }

  const DelimitedFormat& format_;
  RawId user_;
  RawId item_;
  float rating_;
  std::int64_t latest_ = 0;
  std::int64_t line_ = 0;
};

}  // namespace

std::optional<RatingPlace> find_rating_place(const Dataset& dataset, std::int32_t user, std::int32_t item,
                                             float rating) {
  try {
    if (dataset.layout == "synthetic" || path_kind(dataset.source) == PathKind::pipe) {
      return std::nullopt;
    }
    Source source = open_source(dataset.source, !dataset.users.numbers(), !dataset.items.numbers());
    PlaceSearch search(source.format, dataset.users.id(user), dataset.items.id(item), rating);
    source.text->for_each_block(source.format,
                                [&](std::string_view lines, std::int64_t first) { search.look_in(lines, first); });
    return search.line() == 0 ? std::nullopt : std::optional(RatingPlace{source.text->name(), search.line()});
  } catch (const RowError&) {
    return std::nullopt;
  } catch (const InputError&) {
    return std::nullopt;
  }
}

std::vector<RawPair> read_pairs(const std::string& path, bool text_ids) {
  const std::string text = read_text(path);
  DelimitedFormat format = detect_format(text, path, DelimitedContent::pairs);
  format.user_text = format.user_text || text_ids;
  format.item_text = format.item_text || text_ids;
  const RawRatings rows = parse_delimited(text, path, format, {});
  std::vector<RawPair> pairs(rows.users.size());
  std::string unquoted;
  const auto id = [&](bool is_text, std::int64_t value) {
    return is_text ? RawId(field_text(text, value, unquoted)) : RawId(value);
  };
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    pairs[k] = {id(format.user_text, rows.users[k]), id(format.item_text, rows.items[k])};
  }
  return pairs;
}

}  // namespace curate
