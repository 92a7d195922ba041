#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/delimited_format.h"
#include "data/delimited_text.h"
#include "data/feature_request.h"
#include "data/feature_table.h"
#include "data/side_files.h"
#include "data/text_table.h"
#include "support/printable.h"

namespace curate {
namespace {

constexpr std::size_t kMostBuckets = 10;
constexpr std::string_view kTableRemedy = "name the columns on the first line, the first one userId, itemId or movieId";
constexpr const char* kUnknownValue = "(unknown)";

/// The lowest number of every bucket. If few numbers differ, each has a bucket of its own. Otherwise a bucket takes
/// numbers in order until it comes nearest to an even share of the rows that are left: a number that many rows have
/// leaves buckets to the others.
std::vector<float> bucket_starts(std::vector<float> numbers) {
  std::sort(numbers.begin(), numbers.end());
  std::vector<float> distinct = numbers;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (distinct.size() <= kMostBuckets) {
    return distinct;
  }
  std::vector<float> starts = {numbers.front()};
  std::ptrdiff_t rows = 0;                    // of the last bucket so far
  std::ptrdiff_t left = std::ssize(numbers);  // of that and those after it
  for (auto at = numbers.begin(); at != numbers.end();) {
    const auto end = std::upper_bound(at, numbers.end(), *at);
    const auto buckets = static_cast<std::ptrdiff_t>(kMostBuckets + 1 - starts.size());
    // rows + (end - at) / 2 > left / buckets
    if (buckets > 1 && rows > 0 && (2 * rows + (end - at)) * buckets > 2 * left) {
      starts.push_back(*at);
      left -= rows;
      rows = 0;
    }
    rows += end - at;
    at = end;
  }
  return starts;
}

/// The names of the buckets: "1990", "1991-1994", "-3 to 5".
std::vector<std::string> bucket_names(const std::vector<float>& starts, const std::vector<float>& numbers) {
  std::vector<float> last = starts;
  for (const float number : numbers) {
    const auto bucket = std::upper_bound(starts.begin(), starts.end(), number) - starts.begin() - 1;
    float& highest = last[static_cast<std::size_t>(bucket)];
    highest = std::max(highest, number);
  }
  std::vector<std::string> names;
  for (std::size_t bucket = 0; bucket < starts.size(); ++bucket) {
    const char* between = starts[bucket] < 0.0F ? " to " : "-";
    names.push_back(starts[bucket] == last[bucket] ? fmt::format("{}", starts[bucket])
                                                   : fmt::format("{}{}{}", starts[bucket], between, last[bucket]));
  }
  return names;
}

Feature number_feature(const FeatureColumn& column) {
  Feature feature;
  std::vector<float> known;
  std::copy_if(column.numbers.begin(), column.numbers.end(), std::back_inserter(known),
               [](float number) { return !std::isnan(number); });
  const std::vector<float> starts = bucket_starts(known);
  feature.values = bucket_names(starts, known);
  for (const float number : column.numbers) {
    const auto bucket = std::upper_bound(starts.begin(), starts.end(), number) - starts.begin();
    feature.ids.push_back(std::isnan(number) ? 0 : static_cast<std::int32_t>(bucket));
    feature.starts.push_back(static_cast<std::int32_t>(feature.ids.size()));
  }
  return feature;
}

Feature category_feature(const FeatureColumn& column) {
  Feature feature;
  feature.values = column.vocabulary;
  for (const std::int32_t value : column.values) {
    feature.ids.push_back(value == FeatureColumn::kMissing ? 0 : value + 1);
    feature.starts.push_back(static_cast<std::int32_t>(feature.ids.size()));
  }
  return feature;
}

Feature multi_feature(const FeatureColumn& column) {
  Feature feature;
  feature.values = column.vocabulary;
  for (std::size_t row = 0; row + 1 < column.offsets.size(); ++row) {
    for (std::int32_t at = column.offsets[row]; at < column.offsets[row + 1]; ++at) {
      feature.ids.push_back(column.values[static_cast<std::size_t>(at)] + 1);
    }
    if (column.offsets[row] == column.offsets[row + 1]) {
      feature.ids.push_back(0);
    }
    feature.starts.push_back(static_cast<std::int32_t>(feature.ids.size()));
  }
  return feature;
}

/// The column as a model takes it.
Feature to_feature(const FeatureColumn& column, FeatureSide side) {
  Feature feature = column.kind == FeatureKind::number  ? number_feature(column)
                    : column.kind == FeatureKind::multi ? multi_feature(column)
                                                        : category_feature(column);
  feature.name = column.name;
  feature.side = side;
  feature.kind = column.kind;
  feature.values.insert(feature.values.begin(), kUnknownValue);
  feature.starts.insert(feature.starts.begin(), 0);
  return feature;
}

/// A column of a CSV file by dense id; "" if the file has no value.
struct TextColumn {
  FeatureSide side = FeatureSide::item;
  std::vector<std::string> texts;
  std::vector<std::int64_t> lines;  ///< where they stand
};

TextColumn read_text_column(const FeatureRequest& request, const Dataset& dataset) {
  const std::string& file = request.file;
  const std::string content = read_text(file);
  check_is_text(content, file);
  const TextDecoder decode(content);
  CsvReader reader(content, file, kTableRemedy);
  reader.read_header();
  TextColumn column;
  if (reader.find_column("userId").value_or(1) == 0) {
    column.side = FeatureSide::user;
  } else if (reader.find_column("itemId").value_or(1) != 0 && reader.find_column("movieId").value_or(1) != 0) {
    throw_input_error(file, 1,
                      fmt::format("the first column has the name {} instead of userId, itemId or movieId",
                                  excerpt(reader.header()[0])),
                      "give that name to the column of ids and put it first");
  }
  const std::size_t wanted = reader.column(request.name, "name one that it has");
  if (wanted == 0) {
    throw_input_error(file, 1, fmt::format("{} is the column of ids", request.name), "name another column");
  }
  const IdMap& ids = column.side == FeatureSide::user ? dataset.users : dataset.items;
  column.texts.resize(static_cast<std::size_t>(ids.size()));
  column.lines.resize(column.texts.size());
  std::vector<std::string> fields;
  while (reader.next_row(fields)) {
    const std::optional<std::int32_t> row = ids.find(std::string_view(fields[0]));
    if (!row) {
      continue;
    }
    const auto at = static_cast<std::size_t>(*row);
    if (column.lines[at] != 0) {
      throw_input_error(file, reader.line(),
                        fmt::format("{} is on line {} already", printable(fields[0]), column.lines[at]),
                        "give one line to each; several values go into one field with | between them");
    }
    column.lines[at] = reader.line();
    column.texts[at] = decode(trimmed(fields[wanted]));
  }
  return column;
}

/// As ratings are read: through double, so that 1e-50 is a (tiny) number and 1e50 none.
std::optional<float> parse_float(std::string_view text) {
  text = without_plus(text);
  double wide = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wide);
  const auto value = static_cast<float>(wide);
  const bool whole = error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
  return whole ? std::optional(value) : std::nullopt;
}

FeatureKind guess_kind(const TextColumn& column) {
  std::vector<std::string_view> distinct;
  bool numbers = true;
  bool bars = false;
  for (const std::string& text : column.texts) {
    if (!text.empty()) {
      distinct.push_back(text);
      numbers = numbers && parse_float(text).has_value();
      bars = bars || text.find('|') != std::string::npos;
    }
  }
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  return numbers && distinct.size() > kMostBuckets ? FeatureKind::number
         : bars                                    ? FeatureKind::multi
                                                   : FeatureKind::category;
}

FeatureColumn number_column(const FeatureRequest& request, const TextColumn& column) {
  FeatureColumn made;
  made.kind = FeatureKind::number;
  for (std::size_t row = 0; row < column.texts.size(); ++row) {
    const std::string& text = column.texts[row];
    const std::optional<float> number = parse_float(text);
    if (!text.empty() && !number) {
      throw_input_error(request.file, column.lines[row],
                        fmt::format("{} is not a number ({})", request.name, excerpt(text)),
                        "correct it, or ask for the column as :category");
    }
    made.numbers.push_back(number.value_or(std::numeric_limits<float>::quiet_NaN()));
  }
  return made;
}

Feature read_column(const FeatureRequest& request, const Dataset& dataset) {
  const TextColumn column = read_text_column(request, dataset);
  if (std::all_of(column.texts.begin(), column.texts.end(), [](const std::string& value) { return value.empty(); })) {
    throw InputError(
        fmt::format("{}: {} has no value for any {} with ratings; check that its ids are those of the ratings",
                    request.file, request.name, name_of(column.side)));
  }
  const FeatureKind kind = request.kind.value_or(guess_kind(column));
  FeatureColumn made = kind == FeatureKind::number  ? number_column(request, column)
                       : kind == FeatureKind::multi ? multi_column(request.name, column.texts)
                                                    : category_column(request.name, column.texts);
  made.name = request.name;
  return to_feature(made, column.side);
}

/// Makes features of the data set's own files, which are read when first asked for.
class OwnFeatures {
 public:
  explicit OwnFeatures(const Dataset& dataset) : dataset_(dataset) {}

  Feature get(const std::string& name) {
    if (!features_) {
      read();
    }
    if (auto feature = find(name)) {
      return *std::move(feature);
    }
    if (files_ != nullptr) {
      add_tags(features_->items, *files_, dataset_);  // they take longest to read
    }
    if (auto feature = find(name)) {
      return *std::move(feature);
    }
    std::vector<std::string> known;
    for (const FeatureTable* table : {&features_->users, &features_->items}) {
      for (const FeatureColumn& column : table->columns) {
        known.push_back(column.name);
      }
    }
    throw InputError("features", printable(name),
                     fmt::format("{} does not say that of its users or items; {}give FILE:COLUMN", dataset_.source,
                                 known.empty() ? "" : fmt::format("name one of {}, or ", fmt::join(known, ", "))));
  }

 private:
  void read() {
    if (dataset_.layout == "synthetic") {
      features_.emplace();  // there are no files
      features_->items = item_features(dataset_.item_info, dataset_.items.size());
      return;
    }
    files_ = files_beside(dataset_.source);
    features_ = read_plain_features(*files_, dataset_);
  }

  std::optional<Feature> find(const std::string& name) const {
    if (const FeatureColumn* column = features_->users.find(name)) {
      return to_feature(*column, FeatureSide::user);
    }
    if (const FeatureColumn* column = features_->items.find(name)) {
      return to_feature(*column, FeatureSide::item);
    }
    return std::nullopt;
  }

  const Dataset& dataset_;
  std::unique_ptr<SideFiles> files_;
  std::optional<DatasetFeatures> features_;
};

}  // namespace

void add_features(Dataset& dataset, const std::string& wanted) {
  std::vector<Feature> features;
  OwnFeatures own(dataset);
  for (const FeatureRequest& request : parse_feature_requests(wanted)) {
    Feature feature = request.file.empty() ? own.get(request.name) : read_column(request, dataset);
    const bool again = std::any_of(features.begin(), features.end(),
                                   [&](const Feature& other) { return other.prefix() == feature.prefix(); });
    if (again) {
      throw InputError("features", printable(wanted),
                       fmt::format("{} comes twice; name it once, or give one of two columns another name",
                                   printable(feature.prefix())));
    }
    features.push_back(std::move(feature));
  }
  dataset.features = std::move(features);
}

}  // namespace curate
