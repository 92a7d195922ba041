#include "train/features_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "curate/error.h"
#include "data/delimited_text.h"
#include "support/atomic_file.h"
#include "support/printable.h"

namespace curate {
namespace {

FeatureSide side_named(const std::string& name) {
  for (const FeatureSide side : {FeatureSide::user, FeatureSide::item}) {
    if (name == name_of(side)) {
      return side;
    }
  }
  throw InputError(fmt::format("'{}' is not user or item", printable(name)));
}

FeatureKind kind_named(const std::string& name) {
  for (const FeatureKind kind : {FeatureKind::category, FeatureKind::multi, FeatureKind::number}) {
    if (name == name_of(kind)) {
      return kind;
    }
  }
  throw InputError(fmt::format("'{}' is not category, multi or number", printable(name)));
}

/// Loops would take a value that is no array for an array of it, or for an empty one.
const nlohmann::json& need_array(const nlohmann::json& json) {
  if (!json.is_array()) {
    throw InputError("a list is missing");
  }
  return json;
}

/// The JSON library would convert fractions, `true` and numbers of more than 32 bits.
std::vector<std::int32_t> whole_numbers(const nlohmann::json& list) {
  std::vector<std::int32_t> numbers;
  numbers.reserve(need_array(list).size());
  for (const nlohmann::json& number : list) {
    if (!number.is_number_integer() || !std::in_range<std::int32_t>(number.get<std::int64_t>())) {
      throw InputError(fmt::format("{} is no whole number of 32 bits", excerpt(number.dump())));
    }
    numbers.push_back(number.get<std::int32_t>());
  }
  return numbers;
}

}  // namespace

std::string features_json(const std::vector<Feature>& features) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Feature& feature : features) {
    all.push_back({{"name", feature.name},
                   {"of", name_of(feature.side)},
                   {"kind", name_of(feature.kind)},
                   {"values", feature.values},
                   {"starts", feature.starts},
                   {"ids", feature.ids}});
  }
  try {
    return nlohmann::ordered_json({{"features", all}}).dump() + "\n";
  } catch (const nlohmann::json::type_error&) {
    throw InputError(
        "`features`: a name or value is not UTF-8, which features.json has to be; write the file in UTF-8");
  }
}

std::vector<Feature> read_features_json(const std::string& path, std::int64_t users, std::int64_t items) {
  std::vector<Feature> features;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return features;
  }
  try {
    const auto json = nlohmann::json::parse(read_file(path));
    for (const nlohmann::json& one : need_array(json.at("features"))) {
      Feature feature;
      feature.name = one.at("name").get<std::string>();
      feature.side = side_named(one.at("of").get<std::string>());
      feature.kind = kind_named(one.at("kind").get<std::string>());
      feature.values = one.at("values").get<std::vector<std::string>>();
      feature.starts = whole_numbers(one.at("starts"));
      feature.ids = whole_numbers(one.at("ids"));
      features.push_back(std::move(feature));
    }
  } catch (const nlohmann::json::exception& problem) {
    throw InputError(fmt::format("{}: {}; train the model again", path, printable(problem.what())));
  } catch (const InputError& problem) {
    throw InputError(fmt::format("{}: {}; train the model again", path, problem.what()));
  }
  try {
    check_features(features, users, items);
  } catch (const InputError& problem) {
    throw InputError(fmt::format("{}: {}", path, problem.what()));
  }
  return features;
}

}  // namespace curate
