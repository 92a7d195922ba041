#include "data/feature_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <system_error>

#include "data/delimited_text.h"
#include "data/text_table.h"

namespace curate {
namespace {

constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();
constexpr std::string_view kTagRemedy = "correct it, or move the tag file away to go without tags";
constexpr std::string_view kGenomeRemedy = "correct it, or move the genome files away to go without them";
/// Bounds the memory that damaged scores may ask for; MovieLens has 1,128.
constexpr std::size_t kMostGenomeTags = 16384;
/// A longer line is no line of scores, and need not be held as a whole.
constexpr std::size_t kLongestScore = 4096;

FeatureColumn number_column(std::string name, std::vector<float> numbers) {
  FeatureColumn column;
  column.name = std::move(name);
  column.kind = FeatureKind::number;
  column.numbers = std::move(numbers);
  return column;
}

FeatureColumn genres_column(const std::vector<ItemInfo>& info, std::int32_t rows) {
  std::vector<std::string> genres(static_cast<std::size_t>(rows));
  for (std::size_t row = 0; row < std::min(genres.size(), info.size()); ++row) {
    genres[row] = info[row].genres;
  }
  return multi_column("genres", genres);
}

/// Keeps columns in which something is known.
void add_column(FeatureTable& table, FeatureColumn column) {
  bool any = false;
  for (std::int32_t row = 0; row < table.rows && !any; ++row) {
    any = column.has(row);
  }
  if (any) {
    table.columns.push_back(std::move(column));
  }
}

/// Tags given to items of a map, counted.
class TagCounter {
 public:
  explicit TagCounter(const IdMap& items) : items_(items), counts_(static_cast<std::size_t>(items.size())) {}

  void add(std::int64_t item, std::string_view tag) {
    const std::optional<std::int32_t> row = items_.find(item);
    if (!row || tag.empty()) {
      return;
    }
    const auto [entry, is_new] = indices_.emplace(lower_case(tag), static_cast<std::int32_t>(totals_.size()));
    if (is_new) {
      totals_.push_back(0);
    }
    ++totals_[static_cast<std::size_t>(entry->second)];
    ++counts_[static_cast<std::size_t>(*row)][entry->second];
  }

  FeatureColumn column(std::int32_t most) const {
    FeatureColumn column;
    column.name = "tags";
    column.kind = FeatureKind::multi;
    std::vector<std::pair<std::string_view, std::int32_t>> by_use(indices_.begin(), indices_.end());
    std::sort(by_use.begin(), by_use.end(), [&](const auto& a, const auto& b) {
      const std::int64_t uses_a = totals_[static_cast<std::size_t>(a.second)];
      const std::int64_t uses_b = totals_[static_cast<std::size_t>(b.second)];
      return uses_a != uses_b ? uses_a > uses_b : a.first < b.first;
    });
    by_use.resize(std::min(by_use.size(), static_cast<std::size_t>(std::max(0, most))));
    std::vector<std::int32_t> rank(totals_.size(), FeatureColumn::kMissing);
    for (const auto& [tag, index] : by_use) {
      rank[static_cast<std::size_t>(index)] = static_cast<std::int32_t>(column.vocabulary.size());
      column.vocabulary.emplace_back(tag);
    }
    column.offsets.push_back(0);
    std::vector<std::pair<std::int32_t, std::int32_t>> row;  // minus the count, rank
    for (const auto& counts : counts_) {
      row.clear();
      for (const auto& [tag, count] : counts) {
        if (rank[static_cast<std::size_t>(tag)] != FeatureColumn::kMissing) {
          row.emplace_back(-count, rank[static_cast<std::size_t>(tag)]);
        }
      }
      std::sort(row.begin(), row.end());
      for (const auto& [count, tag] : row) {
        column.values.push_back(tag);
        column.counts.push_back(-count);
      }
      column.offsets.push_back(static_cast<std::int32_t>(column.values.size()));
    }
    return column;
  }

 private:
  const IdMap& items_;
  std::unordered_map<std::string, std::int32_t> indices_;
  std::vector<std::int64_t> totals_;
  std::vector<std::unordered_map<std::int32_t, std::int32_t>> counts_;  ///< by row, then tag
};

}  // namespace

FeatureColumn category_column(std::string name, const std::vector<std::string>& rows) {
  FeatureColumn column;
  column.name = std::move(name);
  column.kind = FeatureKind::category;
  std::map<std::string, std::int32_t> indices;
  for (const std::string& value : rows) {
    if (!value.empty()) {
      indices.emplace(value, 0);
    }
  }
  for (auto& [value, index] : indices) {
    index = static_cast<std::int32_t>(column.vocabulary.size());
    column.vocabulary.push_back(value);
  }
  column.values.reserve(rows.size());
  for (const std::string& value : rows) {
    column.values.push_back(value.empty() ? FeatureColumn::kMissing : indices.at(value));
  }
  return column;
}

FeatureColumn multi_column(std::string name, const std::vector<std::string>& rows) {
  FeatureColumn column;
  column.name = std::move(name);
  column.kind = FeatureKind::multi;
  std::map<std::string, std::int32_t, std::less<>> indices;
  const auto for_each_value = [](const std::string& row, const auto& use) {
    for (const std::string_view value : split_plainly(row, "|")) {
      if (!trimmed(value).empty()) {
        use(trimmed(value));
      }
    }
  };
  for (const std::string& row : rows) {
    for_each_value(row, [&](std::string_view value) { indices.emplace(value, 0); });
  }
  for (auto& [value, index] : indices) {
    index = static_cast<std::int32_t>(column.vocabulary.size());
    column.vocabulary.push_back(value);
  }
  column.offsets.push_back(0);
  for (const std::string& row : rows) {
    const auto first = static_cast<std::ptrdiff_t>(column.values.size());
    for_each_value(row, [&](std::string_view value) { column.values.push_back(indices.find(value)->second); });
    std::sort(column.values.begin() + first, column.values.end());
    column.values.erase(std::unique(column.values.begin() + first, column.values.end()), column.values.end());
    column.offsets.push_back(static_cast<std::int32_t>(column.values.size()));
  }
  return column;
}

bool FeatureColumn::has(std::int32_t row) const {
  const auto index = static_cast<std::size_t>(row);
  switch (kind) {
    case FeatureKind::category:
      return values[index] != kMissing;
    case FeatureKind::multi:
      return offsets[index] < offsets[index + 1];
    case FeatureKind::number:
    case FeatureKind::vector:
      break;
  }
  const auto first = numbers.begin() + static_cast<std::ptrdiff_t>(index) * width;
  return std::any_of(first, first + width, [](float value) { return !std::isnan(value); });
}

const FeatureColumn* FeatureTable::find(std::string_view name) const {
  const auto found =
      std::find_if(columns.begin(), columns.end(), [&](const FeatureColumn& column) { return column.name == name; });
  return found == columns.end() ? nullptr : &*found;
}

FeatureTable user_features(const UserTable& table, const IdMap& users) {
  FeatureTable features;
  features.rows = users.size();
  const auto rows = static_cast<std::size_t>(users.size());
  std::vector<std::string> sex(rows);
  std::vector<std::string> occupation(rows);
  std::vector<float> age(rows, kNoNumber);
  FeatureColumn group;
  group.name = "age_group";
  group.kind = FeatureKind::category;
  group.vocabulary.reserve(kAgeGroups.size());
  for (const AgeGroup& one : kAgeGroups) {
    group.vocabulary.emplace_back(one.name);
  }
  group.values.assign(rows, FeatureColumn::kMissing);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto found = table.find(users.raw(static_cast<std::int32_t>(row)));
    if (found == table.end()) {
      continue;
    }
    const UserInfo& info = found->second;
    sex[row] = info.sex;
    occupation[row] = info.occupation;
    if (info.age != UserInfo::kUnknownAge) {
      group.values[row] = age_group(info.age);
      age[row] = info.age_is_group ? kNoNumber : static_cast<float>(info.age);
    }
  }
  add_column(features, category_column("sex", sex));
  add_column(features, number_column("age", std::move(age)));
  add_column(features, std::move(group));
  add_column(features, category_column("occupation", occupation));
  return features;
}

FeatureTable item_features(const std::vector<ItemInfo>& info, std::int32_t rows) {
  FeatureTable features;
  features.rows = rows;
  std::vector<float> year(static_cast<std::size_t>(rows), kNoNumber);
  for (std::size_t row = 0; row < std::min(year.size(), info.size()); ++row) {
    if (info[row].year != 0) {
      year[row] = static_cast<float>(info[row].year);
    }
  }
  add_column(features, genres_column(info, rows));
  add_column(features, number_column("year", std::move(year)));
  return features;
}

std::vector<ItemInfo> by_dense_id(const std::unordered_map<std::int64_t, ItemInfo>& table, const IdMap& items) {
  std::vector<ItemInfo> info(static_cast<std::size_t>(items.size()));
  for (std::int32_t item = 0; item < items.size(); ++item) {
    const auto found = table.find(items.raw(item));
    if (found != table.end()) {
      info[static_cast<std::size_t>(item)] = found->second;
    }
  }
  return info;
}

FeatureColumn parse_tags_csv(std::string_view text, const std::string& file, const IdMap& items, std::int32_t most) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  CsvReader reader(text, file, kTagRemedy);
  reader.read_header();
  constexpr std::string_view kHeaderRemedy =
      "give the tag file the header userId,movieId,tag,timestamp, or move it away to go without tags";
  const std::size_t item_column = reader.column("movieId", kHeaderRemedy);
  const std::size_t tag_column = reader.column("tag", kHeaderRemedy);
  TagCounter counter(items);
  std::vector<std::string> fields;
  while (reader.next_row(fields)) {
    counter.add(parse_id(fields[item_column], "item id", file, reader.line(), kTagRemedy),
                decode(trimmed(fields[tag_column])));
  }
  return counter.column(most);
}

FeatureColumn parse_tags_dat(std::string_view text, const std::string& file, const IdMap& items, std::int32_t most) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  TagCounter counter(items);
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    // Tags may hold colons, the other fields do not.
    const std::size_t user_end = line.find("::");
    const std::size_t item_end = user_end == std::string_view::npos ? user_end : line.find("::", user_end + 2);
    const std::size_t tag_end = line.rfind("::");
    if (item_end == std::string_view::npos || tag_end < item_end + 2) {
      throw_input_error(
          file, number,
          fmt::format("four fields separated by `::` are needed: user id, item id, tag, timestamp ({})", excerpt(line)),
          kTagRemedy);
    }
    counter.add(parse_id(line.substr(user_end + 2, item_end - user_end - 2), "item id", file, number, kTagRemedy),
                decode(trimmed(line.substr(item_end + 2, tag_end - item_end - 2))));
  });
  return counter.column(most);
}

GenomeTags parse_genome_tags(std::string_view text, const std::string& file) {
  check_is_text(text, file);
  const TextDecoder decode(text);
  CsvReader reader(text, file, kGenomeRemedy);
  reader.read_header();
  constexpr std::string_view kHeaderRemedy =
      "give the file the header tagId,tag, or move the genome files away to go without them";
  const std::size_t id_column = reader.column("tagId", kHeaderRemedy);
  const std::size_t tag_column = reader.column("tag", kHeaderRemedy);
  GenomeTags tags;
  std::unordered_map<std::int64_t, std::int64_t> lines;
  std::vector<std::string> fields;
  while (reader.next_row(fields)) {
    const std::int64_t id = parse_id(fields[id_column], "tag id", file, reader.line(), kGenomeRemedy);
    const auto [first, is_new] = lines.emplace(id, reader.line());
    if (!is_new) {
      throw_input_error(file, reader.line(), fmt::format("tag {} is named in line {} already", id, first->second),
                        kGenomeRemedy);
    }
    if (tags.size() == kMostGenomeTags) {
      throw_input_error(file, reader.line(), fmt::format("more than {} tags", kMostGenomeTags), kGenomeRemedy);
    }
    tags.emplace_back(id, decode(fields[tag_column]));
  }
  return tags;
}

GenomeReader::GenomeReader(std::string file, const IdMap& items, GenomeTags tags)
    : file_(std::move(file)),
      items_(items),
      tags_given_(!tags.empty()),
      tags_(std::move(tags)),
      rows_(static_cast<std::size_t>(items.size())) {
  for (std::size_t t = 0; t < tags_.size(); ++t) {
    tag_indices_.emplace(tags_[t].first, t);
  }
}

void GenomeReader::feed(std::string_view piece) {
  std::size_t at = 0;
  while (at < piece.size()) {
    const std::size_t end = piece.find('\n', at);
    if (end == std::string_view::npos) {
      partial_ += piece.substr(at, kLongestScore + 1);
      if (partial_.size() > kLongestScore) {
        take_line(partial_);
      }
      return;
    }
    if (partial_.empty()) {
      take_line(piece.substr(at, end - at));
    } else {
      partial_ += piece.substr(at, end - at);
      take_line(partial_);
      partial_.clear();
    }
    at = end + 1;
  }
}

FeatureColumn GenomeReader::finish() {
  if (!partial_.empty()) {
    take_line(partial_);
    partial_.clear();
  }
  if (!header_seen_) {
    line_ = 1;
    fail("the file is empty");
  }
  FeatureColumn column;
  column.name = "genome";
  column.kind = FeatureKind::vector;
  column.width = static_cast<std::int32_t>(tags_.size());
  for (auto& [id, tag] : tags_) {
    column.vocabulary.push_back(std::move(tag));
  }
  column.numbers.assign(rows_.size() * tags_.size(), kNoNumber);
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    std::copy(rows_[row].begin(), rows_[row].end(),
              column.numbers.begin() + static_cast<std::ptrdiff_t>(row * tags_.size()));
    std::vector<float>().swap(rows_[row]);
  }
  return column;
}

void GenomeReader::fail(const std::string& what) const {
  throw_input_error(file_, line_, what, kGenomeRemedy);
}

void GenomeReader::take_line(std::string_view line) {
  ++line_;
  if (line.size() > kLongestScore) {
    fail(fmt::format("a line too long for item, tag and relevance ({})", excerpt(line)));
  }
  if (!header_seen_) {
    line.remove_prefix(line_ == 1 ? byte_order_mark(line) : 0);
    if (trimmed(line).empty()) {
      return;
    }
    std::string names;
    for (const std::string_view name : split_plainly(line, ",")) {
      names += lower_case(trimmed(name)) + ",";
    }
    if (names != "movieid,tagid,relevance,") {
      throw_input_error(file_, line_, fmt::format("the header is not movieId,tagId,relevance ({})", excerpt(line)),
                        "give it that header, or move the genome files away to go without them");
    }
    header_seen_ = true;
    return;
  }
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  if (!line.empty()) {
    add(parse(line));
  }
}

GenomeReader::Score GenomeReader::parse(std::string_view line) const {
  Score score{};
  const char* const end = line.data() + line.size();
  const auto item = std::from_chars(line.data(), end, score.item);
  if (item.ec == std::errc{} && item.ptr != end && *item.ptr == ',') {
    const auto tag = std::from_chars(item.ptr + 1, end, score.tag);
    if (tag.ec == std::errc{} && tag.ptr != end && *tag.ptr == ',') {
      const auto relevance = std::from_chars(tag.ptr + 1, end, score.relevance);
      if (relevance.ec == std::errc{} && relevance.ptr == end && std::isfinite(score.relevance)) {
        return score;
      }
    }
  }
  fail(fmt::format("this is not an item id, a tag id and a finite number, separated by comma ({})", excerpt(line)));
}

void GenomeReader::add(const Score& score) {
  if (!any_item_ || score.item != last_item_) {
    const std::optional<std::int32_t> row = items_.find(score.item);
    any_item_ = true;
    last_item_ = score.item;
    last_row_ = row ? &rows_[static_cast<std::size_t>(*row)] : nullptr;
  }
  const std::size_t tag = tag_index(score.tag);
  if (last_row_ == nullptr) {
    return;
  }
  if (tag >= last_row_->size()) {
    last_row_->resize(std::max(tag + 1, tags_.size()), kNoNumber);
  }
  (*last_row_)[tag] = score.relevance;
}

std::size_t GenomeReader::tag_index(std::int64_t tag) {
  // The scores of an item mostly come in the order of the tags.
  if (next_tag_ >= tags_.size() || tags_[next_tag_].first != tag) {
    const auto [found, is_new] = tag_indices_.emplace(tag, tags_.size());
    if (is_new) {
      if (tags_given_) {
        fail(fmt::format("tag {} is not in genome-tags.csv", tag));
      }
      if (tags_.size() == kMostGenomeTags) {
        fail(fmt::format("more than {} tags", kMostGenomeTags));
      }
      tags_.emplace_back(tag, std::to_string(tag));
    }
    next_tag_ = found->second;
  }
  const std::size_t index = next_tag_;
  next_tag_ = index + 1 < tags_.size() ? index + 1 : 0;
  return index;
}

namespace {

/// Whether to read a file about items: it belongs to the layout of the ratings, or lies beside a plain file.
bool is_there(const SideFiles& files, const Dataset& dataset, std::string_view layout, const char* file) {
  return (dataset.layout == layout || dataset.layout == "delimited") && dataset.items.numbers() && files.has(file);
}

}  // namespace

DatasetFeatures read_plain_features(const SideFiles& files, const Dataset& dataset) {
  DatasetFeatures features;
  // Files about users and items have numbers as ids.
  features.users.rows = dataset.users.size();
  if (dataset.users.numbers()) {
    features.users = user_features(read_user_file(files, dataset.layout), dataset.users);
  }
  features.items = item_features(dataset.item_info, dataset.items.size());
  return features;
}

void add_tags(FeatureTable& items, const SideFiles& files, const Dataset& dataset, std::int32_t most_tags) {
  if (is_there(files, dataset, "ml-csv", "tags.csv")) {
    add_column(items, parse_tags_csv(files.text("tags.csv"), files.path("tags.csv"), dataset.items, most_tags));
  } else if (is_there(files, dataset, "ml-1m", "tags.dat")) {
    add_column(items, parse_tags_dat(files.text("tags.dat"), files.path("tags.dat"), dataset.items, most_tags));
  }
}

DatasetFeatures read_features(const SideFiles& files, const Dataset& dataset, std::int32_t most_tags) {
  DatasetFeatures features = read_plain_features(files, dataset);
  add_tags(features.items, files, dataset, most_tags);
  if (is_there(files, dataset, "ml-csv", "genome-scores.csv")) {
    GenomeTags tags;
    if (files.has("genome-tags.csv")) {
      tags = parse_genome_tags(files.text("genome-tags.csv"), files.path("genome-tags.csv"));
    }
    GenomeReader reader(files.path("genome-scores.csv"), dataset.items, std::move(tags));
    files.read("genome-scores.csv", [&](std::string_view piece) { reader.feed(piece); });
    add_column(features.items, reader.finish());
  }
  return features;
}

FeatureCoverage coverage_of(const FeatureColumn& column, std::int32_t rows, std::span<const std::int32_t> ids) {
  std::vector<bool> known(static_cast<std::size_t>(rows));
  FeatureCoverage coverage;
  for (std::int32_t row = 0; row < rows; ++row) {
    known[static_cast<std::size_t>(row)] = column.has(row);
    coverage.rows += column.has(row) ? 1 : 0;
  }
  coverage.ratings =
      std::count_if(ids.begin(), ids.end(), [&](std::int32_t id) { return known[static_cast<std::size_t>(id)]; });
  return coverage;
}

}  // namespace curate
