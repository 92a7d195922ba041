#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/delimited_reader.h"
#include "data/movielens.h"
#include "data/rating_reader.h"
#include "data/side_files.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// A file, folder or archive as read.
struct RawDataset {
  RatingTable ratings;
  ItemTable items;
  std::string layout;
};

/// Ids are added to `users` and `items`.
RawDataset read_raw(const std::string& path, ReadOptions options, IdMap& users, IdMap& items) {
  const PathKind kind = path_kind(path);
  const bool is_release = kind == PathKind::folder || kind == PathKind::zip;
  const MovielensLayout* layout = nullptr;
  std::optional<RatingText> text;
  if (kind == PathKind::folder) {
    layout = &find_movielens_layout(path);
    text.emplace((fs::path(path) / layout->ratings_file).string());
  } else if (kind == PathKind::zip) {
    const std::unique_ptr<FileTree> archive = open_tree(path);
    layout = &find_movielens_layout(*archive);
    text.emplace(*archive, std::string(layout->ratings_file));
  } else {
    text.emplace(path);
  }
  if (is_release && !options.rating_range) {
    options.rating_range = layout->rating_range;
  }
  const DelimitedFormat format = text->detect(DelimitedContent::ratings);
  if (is_release && format.separator != layout->separator) {
    throw_input_error(text->name(), 1,
                      fmt::format("the fields are separated by {} where MovieLens has {}",
                                  separator_name(format.separator), separator_name(layout->separator)),
                      "name the file itself instead of its folder");
  }
  ThreadPool pool(options.threads > 0 ? options.threads : hardware_threads());
  RawDataset raw;
  raw.ratings = text->read(format, options, users, items, pool);
  raw.layout = is_release ? layout->name : "delimited";
  layout = movielens_layout_of(format.separator);
  if (layout != nullptr && kind != PathKind::pipe) {
    raw.items = read_item_file(*files_beside(path), *layout);
  }
  return raw;
}

template <typename T>
void erase_marked(std::vector<T>& values, const std::vector<bool>& dropped) {
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

/// Whether no pair occurs twice, where that is seen at a glance: ratings that are grouped by user. A bitmap of the
/// last user of every item, one pass.
bool surely_distinct(const RatingTable& table, std::int32_t num_users, std::int32_t num_items) {
  std::vector<bool> seen(static_cast<std::size_t>(num_users), false);
  std::vector<std::int32_t> last_user(static_cast<std::size_t>(num_items), -1);
  std::int32_t current = -1;
  for (std::size_t k = 0; k < table.users.size(); ++k) {
    const std::int32_t user = table.users[k];
    if (user != current) {
      if (seen[static_cast<std::size_t>(user)]) {
        return false;  // not grouped
      }
      seen[static_cast<std::size_t>(user)] = true;
      current = user;
    }
    std::int32_t& last = last_user[static_cast<std::size_t>(table.items[k])];
    if (last == user) {
      return false;
    }
    last = user;
  }
  return true;
}

/// Keeps one rating per pair: the latest, of equals the last in the table. Returns how many went.
std::int64_t drop_duplicates(RatingTable& table, std::int32_t num_users, std::int32_t num_items) {
  if (surely_distinct(table, num_users, num_items)) {
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

RatingScale detect_scale(const std::vector<float>& ratings, const std::optional<std::pair<float, float>>& range) {
  RatingScale scale{ratings.front(), ratings.front(), 0.0F};
  // Counted without branches: vectors of ratings at once.
  std::size_t odd = 0;
  std::size_t odd_halves = 0;
  for (const float rating : ratings) {
    scale.min = rating < scale.min ? rating : scale.min;
    scale.max = rating > scale.max ? rating : scale.max;
    odd += std::trunc(rating) == rating ? 0U : 1U;
    odd_halves += std::trunc(2.0F * rating) == 2.0F * rating ? 0U : 1U;
  }
  if (range) {
    scale.min = range->first;
    scale.max = range->second;
  }
  scale.step = odd == 0 ? 1.0F : odd_halves == 0 ? 0.5F : 0.0F;
  return scale;
}

/// Fills in items from `first_item` on; strings are moved out of `known`.
void take_item_info(Dataset& dataset, std::int32_t first_item, ItemTable& known) {
  if (known.empty()) {
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

Dataset read_dataset(const std::string& path, const ReadOptions& options) {
  Dataset dataset;
  RawDataset raw = read_raw(path, options, dataset.users, dataset.items);
  dataset.source = absolute_path(path);
  dataset.layout = std::move(raw.layout);
  dataset.ratings = std::move(raw.ratings);
  dataset.duplicates = drop_duplicates(dataset.ratings, dataset.users.size(), dataset.items.size());
  if (dataset.duplicates > 0 && !options.timestamps) {
    // They decide which of the repeated ratings counts: again, with them.
    ReadOptions with = options;
    with.timestamps = true;
    dataset = read_dataset(path, with);
    dataset.ratings.timestamps = {};
    return dataset;
  }
  dataset.scale = detect_scale(dataset.ratings.ratings, options.rating_range);
  take_item_info(dataset, 0, raw.items);
  return dataset;
}

RatingTable read_more_ratings(Dataset& dataset, const std::string& path, const ReadOptions& options) {
  const std::int32_t first_new_item = dataset.items.size();
  // Always with timestamps: reading again would find its ids known already.
  ReadOptions with = options;
  with.timestamps = true;
  RawDataset raw = read_raw(path, with, dataset.users, dataset.items);
  RatingTable table = std::move(raw.ratings);
  drop_duplicates(table, dataset.users.size(), dataset.items.size());
  if (!options.timestamps) {
    table.timestamps = {};
  }
  take_item_info(dataset, first_new_item, raw.items);
  return table;
}

std::vector<RawPair> read_pairs(const std::string& path) {
  const std::string text = read_text(path);
  const DelimitedFormat format = detect_format(text, path, DelimitedContent::pairs);
  const RawRatings rows = parse_delimited(text, path, format, {});
  std::vector<RawPair> pairs(rows.users.size());
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    pairs[k] = {rows.users[k], rows.items[k]};
  }
  return pairs;
}

}  // namespace curate
