#include "runs/run_data.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "data/split_request.h"
#include "support/printable.h"

namespace curate {
namespace {

std::pair<float, float> parse_rating_range(const std::string& text) {
  float low = 0.0F;
  float high = 0.0F;
  const std::size_t colon = text.find(':');
  const char* end = text.data() + text.size();
  if (colon != std::string::npos) {
    const char* middle = text.data() + colon;
    const auto first = std::from_chars(text.data(), middle, low);
    const auto second = std::from_chars(middle + 1, end, high);
    if (first.ec == std::errc() && first.ptr == middle && second.ec == std::errc() && second.ptr == end &&
        std::isfinite(low) && std::isfinite(high) && low < high) {
      return {low, high};
    }
  }
  throw InputError("rating_range", printable(text), "not MIN:MAX with MIN below MAX; write for instance 0.5:5");
}

SplitRequest split_request(const std::string& text) {
  const std::optional<SplitRequest> request = parse_split(text);
  if (!request || request->kind == SplitRequest::Kind::folds) {
    throw InputError("split", printable(text),
                     "write random:FRACTION or time:FRACTION with a fraction between 0 and 1, or none");
  }
  return *request;
}

ReadOptions read_options_of(const RunConfig& config, const ReadOptions& how) {
  ReadOptions read = how;
  read.text_ids = config.text_ids;
  read.threads = config.options.threads;
  // Nothing else here looks at them.
  read.timestamps = config.split.rfind("time:", 0) == 0;
  if (!config.rating_range.empty()) {
    read.rating_range = parse_rating_range(config.rating_range);
  }
  return read;
}

/// All ratings in one table.
RunData read_run_data(const RunConfig& config, const ReadOptions& read) {
  if (config.data.empty()) {
    throw InputError("no data is named; train again, or give data");
  }
  if (config.fold != 0 && (config.fold < 1 || config.fold > config.folds)) {
    throw InputError(
        fmt::format("fold {} of {}: no such fold; give 1 to the number of folds", config.fold, config.folds));
  }
  RunData data;
  data.dataset = read_dataset(config.data, read);
  data.ratings = data.dataset.ratings.size();
  data.tails = find_heavy_tails(data.dataset.ratings, data.dataset.scale);
  return data;
}

void add_features_asked_for(Dataset& dataset, const RunConfig& config) {
  if (!config.options.features.empty()) {
    add_features(dataset, config.options.features);
  }
}

}  // namespace

RunData load_run_data(const RunConfig& config, const ReadOptions& how) {
  ReadOptions read = read_options_of(config, how);
  RunData data = read_run_data(config, read);
  const auto tell_splitting = [&] {
    if (read.progress) {
      read.progress("splitting", 0, 0);
    }
  };
  if (!config.test.empty()) {
    if (!read.rating_range && data.dataset.layout != "delimited") {
      read.rating_range = {data.dataset.scale.min, data.dataset.scale.max};
    }
    data.test = read_more_ratings(data.dataset, config.test, read);
    data.train = std::move(data.dataset.ratings);
  } else if (config.fold > 0) {
    tell_splitting();
    take_fold(data, config);
  } else if (config.split == "none" || config.split.empty()) {
    data.train = std::move(data.dataset.ratings);
  } else {
    tell_splitting();
    Split split =
        split_as_asked(data.dataset.ratings, split_request(config.split), config.options.seed, config.options.threads);
    data.train = std::move(split.train);
    data.test = std::move(split.test);
  }
  add_features_asked_for(data.dataset, config);
  data.dataset.ratings = {};
  return data;
}

RunData load_folds(const RunConfig& config, const ReadOptions& how) {
  RunData data = read_run_data(config, read_options_of(config, how));
  add_features_asked_for(data.dataset, config);
  return data;
}

void take_fold(RunData& data, const RunConfig& config) {
  const RatingTable& ratings = data.dataset.ratings;
  const std::vector<std::int32_t> fold_of = assign_folds(ratings.size(), config.folds, config.options.seed);
  Split split = split_fold(ratings, fold_of, config.fold - 1, config.options.threads);
  data.train = std::move(split.train);
  data.test = std::move(split.test);
}

}  // namespace curate
