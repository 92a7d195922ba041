#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <memory>
#include <mutex>
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
RawDataset read_raw(const std::string& path, ReadOptions options, IdMap& users, IdMap& items, ThreadPool& pool) {
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
  DelimitedFormat format = text->detect(DelimitedContent::ratings);
  format.release = is_release;
  // Ids that are text already keep their spelling.
  format.user_text = !is_release && (format.user_text || options.text_ids || !users.numbers());
  format.item_text = !is_release && (format.item_text || options.text_ids || !items.numbers());
  if (is_release && format.separator != layout->separator) {
    throw_input_error(text->name(), 1,
                      fmt::format("the fields are separated by {} where MovieLens has {}",
                                  separator_name(format.separator), separator_name(layout->separator)),
                      "name the file itself instead of its folder");
  }
  RawDataset raw;
  raw.ratings = text->read(format, options, users, items, pool);
  raw.layout = is_release ? layout->name : "delimited";
  layout = movielens_layout_of(format.separator);
  if (layout != nullptr && kind != PathKind::pipe && items.numbers()) {
    raw.items = read_item_file(*files_beside(path), *layout);
  }
  return raw;
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

/// Whether no pair occurs twice, where that is seen at a glance: ratings that are grouped by user, whose dense ids never
/// fall then. The last user of every item, one pass.
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

/// Keeps one rating per pair: the latest, of equals the last in the table. Returns how many went.
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

RatingScale detect_scale(const Column<float>& ratings, const std::optional<std::pair<float, float>>& range,
                         ThreadPool& pool) {
  RatingScale scale{ratings.front(), ratings.front(), 0.0F};
  std::size_t odd = 0;
  std::size_t odd_halves = 0;
  std::mutex mutex;
  constexpr std::int64_t kGrain = std::int64_t{1} << 20U;
  pool.parallel_for(static_cast<std::int64_t>(ratings.size()), kGrain, [&](std::int64_t begin, std::int64_t end) {
    RatingScale here = {ratings[static_cast<std::size_t>(begin)], ratings[static_cast<std::size_t>(begin)], 0.0F};
    std::size_t here_odd = 0;
    std::size_t here_odd_halves = 0;
    // Counted without branches: vectors of ratings at once.
    for (std::int64_t k = begin; k < end; ++k) {
      const float rating = ratings[static_cast<std::size_t>(k)];
      here.min = rating < here.min ? rating : here.min;
      here.max = rating > here.max ? rating : here.max;
      here_odd += std::trunc(rating) == rating ? 0U : 1U;
      here_odd_halves += std::trunc(2.0F * rating) == 2.0F * rating ? 0U : 1U;
    }
    const std::lock_guard lock(mutex);
    scale.min = std::min(scale.min, here.min);
    scale.max = std::max(scale.max, here.max);
    odd += here_odd;
    odd_halves += here_odd_halves;
  });
  if (range) {
    scale.min = range->first;
    scale.max = range->second;
  }
  scale.step = odd == 0 ? 1.0F : odd_halves == 0 ? 0.5F : 0.0F;
  return scale;
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

Dataset read_dataset(const std::string& path, const ReadOptions& options) {
  ThreadPool pool(options.threads > 0 ? options.threads : hardware_threads());
  Dataset dataset;
  RawDataset raw = read_raw(path, options, dataset.users, dataset.items, pool);
  dataset.source = absolute_path(path);
  dataset.layout = std::move(raw.layout);
  dataset.ratings = std::move(raw.ratings);
  dataset.duplicates = drop_duplicates(dataset.ratings, dataset.users.size(), dataset.items.size(), pool);
  if (dataset.duplicates > 0 && !options.timestamps) {
    // They decide which of the repeated ratings counts: again, with them.
    ReadOptions with = options;
    with.timestamps = true;
    dataset = read_dataset(path, with);
    dataset.ratings.timestamps = {};
    return dataset;
  }
  dataset.scale = detect_scale(dataset.ratings.ratings, options.rating_range, pool);
  take_item_info(dataset, 0, raw.items);
  return dataset;
}

RatingTable read_more_ratings(Dataset& dataset, const std::string& path, const ReadOptions& options) {
  ThreadPool pool(options.threads > 0 ? options.threads : hardware_threads());
  const std::int32_t first_new_item = dataset.items.size();
  // Always with timestamps: reading again would find its ids known already.
  ReadOptions with = options;
  with.timestamps = true;
  // A failure leaves the data set as it was.
  IdMap users = dataset.users;
  IdMap items = dataset.items;
  RawDataset raw = read_raw(path, with, users, items, pool);
  dataset.users = std::move(users);
  dataset.items = std::move(items);
  RatingTable table = std::move(raw.ratings);
  drop_duplicates(table, dataset.users.size(), dataset.items.size(), pool);
  if (!options.timestamps) {
    table.timestamps = {};
  }
  take_item_info(dataset, first_new_item, raw.items);
  return table;
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
