#include "train/features_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "curate/error.h"
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
    throw InputError("--features: a value is not UTF-8, which features.json has to be; convert the file");
  }
}

std::vector<Feature> read_features_json(const std::string& path) {
  std::vector<Feature> features;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return features;
  }
  try {
    const auto json = nlohmann::json::parse(read_file(path));
    for (const nlohmann::json& one : json.at("features")) {
      Feature feature;
      feature.name = one.at("name").get<std::string>();
      feature.side = side_named(one.at("of").get<std::string>());
      feature.kind = kind_named(one.at("kind").get<std::string>());
      feature.values = one.at("values").get<std::vector<std::string>>();
      feature.starts = one.at("starts").get<std::vector<std::int32_t>>();
      feature.ids = one.at("ids").get<std::vector<std::int32_t>>();
      features.push_back(std::move(feature));
    }
  } catch (const nlohmann::json::exception& problem) {
    throw InputError(fmt::format("{}: {}; train the model again", path, printable(problem.what())));
  } catch (const InputError& problem) {
    throw InputError(fmt::format("{}: {}; train the model again", path, problem.what()));
  }
  return features;
}

}  // namespace curate
