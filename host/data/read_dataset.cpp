#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <system_error>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/delimited_reader.h"
#include "data/movielens.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// A file or folder as read, before ids are mapped.
struct RawDataset {
  RawRatings rows;
  ItemTable items;
  std::string layout;
};

RawDataset read_raw(const std::string& path, ReadOptions options) {
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  const MovielensLayout* layout = nullptr;
  std::string file = path;
  std::string folder = fs::path(path).parent_path().string();
  if (is_folder) {
    layout = &find_movielens_layout(path);
    folder = path;
    file = (fs::path(path) / layout->ratings_file).string();
    if (!options.rating_range) {
      options.rating_range = layout->rating_range;
    }
  }

  RawDataset raw;
  {
    const std::string text = read_text(file);
    const DelimitedFormat format = detect_format(text, file, DelimitedContent::ratings);
    if (is_folder && format.separator != layout->separator) {
      throw_input_error(file, line_number(text, format.body == 0 ? 0 : format.body - 1),
                        fmt::format("the fields are separated by {} where MovieLens has {}",
                                    separator_name(format.separator), separator_name(layout->separator)),
                        "name the file itself instead of its folder");
    }
    raw.rows = parse_delimited(text, file, format, options);
    raw.layout = is_folder ? layout->name : "delimited";
    layout = movielens_layout_of(format.separator);
  }
  if (layout != nullptr) {
    raw.items = read_item_file(folder, *layout);
  }
  return raw;
}

RatingTable map_ids(RawRatings rows, IdMap& users, IdMap& items) {
  const auto map = [](std::vector<std::int64_t>& raw, IdMap& ids) {
    std::vector<std::int32_t> dense(raw.size());
    for (std::size_t k = 0; k < raw.size(); ++k) {
      // Files are mostly sorted by user.
      dense[k] = k > 0 && raw[k] == raw[k - 1] ? dense[k - 1] : ids.find_or_add(raw[k]);
    }
    raw = {};
    return dense;
  };
  RatingTable table;
  table.users = map(rows.users, users);
  table.items = map(rows.items, items);
  table.ratings = std::move(rows.ratings);
  table.timestamps = std::move(rows.timestamps);
  return table;
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

/// Keeps one rating per pair: the latest, of equals the last in the table. Returns how many went.
std::int64_t drop_duplicates(RatingTable& table, std::int32_t num_users, std::int32_t num_items) {
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
  const auto [min, max] = std::minmax_element(ratings.begin(), ratings.end());
  RatingScale scale{*min, *max, 0.0F};
  if (range) {
    scale.min = range->first;
    scale.max = range->second;
  }
  bool whole = true;
  bool half = true;
  for (const float rating : ratings) {
    whole = whole && std::trunc(rating) == rating;
    half = half && std::trunc(2.0F * rating) == 2.0F * rating;
  }
  scale.step = whole ? 1.0F : half ? 0.5F : 0.0F;
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
  RawDataset raw = read_raw(path, options);
  Dataset dataset;
  dataset.source = absolute_path(path);
  dataset.layout = std::move(raw.layout);
  dataset.ratings = map_ids(std::move(raw.rows), dataset.users, dataset.items);
  dataset.duplicates = drop_duplicates(dataset.ratings, dataset.users.size(), dataset.items.size());
  dataset.scale = detect_scale(dataset.ratings.ratings, options.rating_range);
  take_item_info(dataset, 0, raw.items);
  return dataset;
}

RatingTable read_more_ratings(Dataset& dataset, const std::string& path, const ReadOptions& options) {
  RawDataset raw = read_raw(path, options);
  const std::int32_t first_new_item = dataset.items.size();
  RatingTable table = map_ids(std::move(raw.rows), dataset.users, dataset.items);
  drop_duplicates(table, dataset.users.size(), dataset.items.size());
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
