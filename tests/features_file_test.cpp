#include "train/features_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "curate/error.h"
#include "curate/model.h"
#include "support/atomic_file.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

std::vector<Feature> example_features() {
  return {{"genres",
           FeatureSide::item,
           FeatureKind::multi,
           {"(unknown)", "War", "a\tb\n\"\xC3\xA9\\"},
           {0, 2, 3},
           {1, 2, 0}},
          {std::string(3000, 'n') + "/..=\\\"\xC3\xA9",
           FeatureSide::user,
           FeatureKind::number,
           {"(unknown)", "1-2"},
           {0, 1, 2, 3},
           {1, 0, 1}},
          {"x", FeatureSide::user, FeatureKind::category, {"(unknown)"}, {0, 1, 2, 3}, {0, 0, 0}}};
}

void expect_equal(const std::vector<Feature>& a, const std::vector<Feature>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t f = 0; f < a.size(); ++f) {
    EXPECT_EQ(a[f].name, b[f].name);
    EXPECT_EQ(a[f].side, b[f].side);
    EXPECT_EQ(a[f].kind, b[f].kind);
    EXPECT_EQ(a[f].values, b[f].values);
    EXPECT_EQ(a[f].starts, b[f].starts);
    EXPECT_EQ(a[f].ids, b[f].ids);
  }
}

class FeaturesFile : public testing::Test {
 protected:
  FeaturesFile()
      : folder_(testing::TempDir() + "curate_features_file_" +
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~FeaturesFile() override { fs::remove_all(folder_); }

  std::string path() const { return folder_ + "/features.json"; }
  std::vector<Feature> read() const { return read_features_json(path(), 3, 2); }

  void expect_refused(const std::string& text) const {
    write_file_atomically(path(), text);
    try {
      read();
      ADD_FAILURE() << "taken: " << text.substr(0, 200);
    } catch (const InputError& error) {
      const std::string message = error.what();
      EXPECT_EQ(message.rfind(path() + ": ", 0), 0U) << message;
      EXPECT_TRUE(message.find("train the model again") != std::string::npos ||
                  message.find("train again") != std::string::npos ||
                  message.find("give it a name") != std::string::npos)
          << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }

  std::string folder_;
};

TEST_F(FeaturesFile, RoundTrip) {
  write_file_atomically(path(), features_json(example_features()));
  expect_equal(read(), example_features());
}

TEST_F(FeaturesFile, NoneIsNone) {
  EXPECT_TRUE(read().empty());
  write_file_atomically(path(), features_json({}));
  EXPECT_TRUE(read().empty());
}

TEST_F(FeaturesFile, TextThatIsNotUtf8IsRefused) {
  for (const bool in_name : {true, false}) {
    std::vector<Feature> features = example_features();
    (in_name ? features[0].name : features[0].values[1]) = "\xE9";
    EXPECT_THROW(features_json(features), InputError);
  }
}

TEST_F(FeaturesFile, EveryCutIsRefused) {
  const std::string whole = features_json({example_features()[0]});
  for (std::size_t length = 0; length + 2 < whole.size(); ++length) {
    expect_refused(whole.substr(0, length));
  }
}

TEST_F(FeaturesFile, WhatIsNotAsWrittenIsRefused) {
  using Json = nlohmann::ordered_json;
  const Json sound = Json::parse(features_json(example_features()));
  const std::vector<std::function<void(Json&)>> changes = {
      [](Json& json) { json = Json::array(); },
      [](Json& json) { json = nullptr; },
      [](Json& json) { json.erase("features"); },
      [](Json& json) { json["features"] = nullptr; },
      [](Json& json) { json["features"] = Json::object(); },
      [](Json& json) { json["features"] = "genres"; },
      [](Json& json) { json["features"][0] = 7; },
      [](Json& json) { json["features"][1] = json["features"][2]; },
      [](Json& json) { json["features"][0].erase("kind"); },
      [](Json& json) { json["features"][0]["kind"] = "vector"; },
      [](Json& json) { json["features"][0]["kind"] = 1; },
      [](Json& json) { json["features"][0]["of"] = "film\n"; },
      [](Json& json) { json["features"][0]["of"] = "user"; },
      [](Json& json) { json["features"][0]["name"] = ""; },
      [](Json& json) { json["features"][0]["name"] = "a\x1b[2J"; },
      [](Json& json) { json["features"][0]["name"] = nullptr; },
      [](Json& json) { json["features"][0]["values"] = "War"; },
      [](Json& json) { json["features"][0]["values"][0] = 3; },
      [](Json& json) { json["features"][0]["values"] = Json::array(); },
      [](Json& json) {
        json["features"][0]["starts"] = {0, 2};
      },
      [](Json& json) {
        json["features"][0]["starts"] = {0, 2, 3, 4};
      },
      [](Json& json) {
        json["features"][0]["starts"] = {0, 0, 3};
      },
      [](Json& json) { json["features"][0]["starts"] = Json::array(); },
      [](Json& json) { json["features"][0]["starts"] = 0; },
      [](Json& json) {
        json["features"][0]["starts"] = {{"a", 0}, {"b", 2}, {"c", 3}};
      },
      [](Json& json) { json["features"][0]["ids"][0] = 3; },
      [](Json& json) { json["features"][0]["ids"][0] = -1; },
      [](Json& json) { json["features"][0]["ids"][0] = 1.5; },
      [](Json& json) { json["features"][0]["ids"][0] = 1.0; },
      [](Json& json) { json["features"][0]["ids"][0] = true; },
      [](Json& json) { json["features"][0]["ids"][0] = "1"; },
      [](Json& json) { json["features"][0]["ids"][0] = nullptr; },
      [](Json& json) { json["features"][0]["ids"][0] = std::int64_t{1} << 32; },
      [](Json& json) { json["features"][0]["ids"][0] = std::uint64_t{1} << 63; },
      [](Json& json) { json["features"][0]["ids"].push_back(1); },
  };
  for (std::size_t change = 0; change < changes.size(); ++change) {
    SCOPED_TRACE(change);
    Json json = sound;
    changes[change](json);
    expect_refused(json.dump());
  }
  expect_refused("{\"features\": [\"\xFF\"]}");
  expect_refused(std::string(100000, '['));
}

/// Two users, two items, one factor; the items have a feature of two values.
Model::Parts parts() {
  Model::Parts made;
  made.spec.features = {{"a/b", FeatureSide::item, FeatureKind::category, {"(unknown)", "v"}, {0, 1, 2}, {1, 0}}};
  for (const char* name : {"user.embedding", "item.embedding", "item.a/b.embedding"}) {
    made.tensors[name] = {{2, 1}, {0.5F, -0.5F}};
  }
  made.tensors["item.a/b.embedding"].values = {1.0F, -0.25F};
  for (const char* name : {"user.bias", "item.bias", "item.a/b.bias", "fallback.user", "fallback.item"}) {
    made.tensors[name] = {{2}, {0.25F, 0.0F}};
  }
  for (const char* name : {"global_mean", "fallback.mean"}) {
    made.tensors[name] = {{1}, {3.0F}};
  }
  for (const int id : {1, 2}) {
    made.users.find_or_add(std::int64_t{id});
    made.items.find_or_add(std::int64_t{id});
  }
  made.user_counts = {1, 1};
  made.item_counts = {0, 1};
  made.scale = {1.0F, 5.0F, 1.0F};
  return made;
}

TEST_F(FeaturesFile, AModelWithFeaturesIsTheSameSavedAndLoaded) {
  const Model model(parts());
  model.save(folder_);
  const Model loaded = Model::load(folder_);
  expect_equal(loaded.parts().spec.features, model.parts().spec.features);
  const std::vector<RawPair> pairs = {{1, 1}, {1, 2}};
  const std::vector<Prediction> predictions = loaded.predict(pairs, {"cpu", 1});
  // Mean, user's and item's bias, the feature's bias, and <user, item + feature>.
  EXPECT_EQ(predictions[0].rating, 3.0F + 0.25F + 0.25F + 0.0F + 0.5F * (0.5F - 0.25F));
  EXPECT_EQ(predictions[0].basis, PredictionBasis::features);
  EXPECT_EQ(predictions[1].rating, 3.0F + 0.25F + 0.0F + 0.25F + 0.5F * (-0.5F + 1.0F));
  EXPECT_EQ(predictions[1].basis, PredictionBasis::model);
}

TEST_F(FeaturesFile, AModelWithoutFeaturesSavedOverOneWithLeavesNoneBehind) {
  Model(parts()).save(folder_);
  Model::Parts plain = parts();
  plain.spec.features.clear();
  plain.tensors.erase("item.a/b.embedding");
  plain.tensors.erase("item.a/b.bias");
  Model(plain).save(folder_);
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_TRUE(Model::load(folder_).parts().spec.features.empty());
}

TEST_F(FeaturesFile, AModelIsNotTakenWithoutItsFeatures) {
  Model(parts()).save(folder_);
  fs::remove(path());
  try {
    Model::load(folder_);
    ADD_FAILURE() << "taken";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("features.json"), std::string::npos) << error.what();
  }
}

TEST_F(FeaturesFile, ModelsWhoseTensorsDoNotFitAreRefused) {
  const std::vector<std::function<void(Model::Parts&)>> changes = {
      [](Model::Parts& p) { p.tensors.erase("item.a/b.embedding"); },
      [](Model::Parts& p) { p.tensors.erase("item.a/b.bias"); },
      [](Model::Parts& p) {
        p.tensors["item.a/b.embedding"] = {{3, 1}, {0, 0, 0}};
      },
      [](Model::Parts& p) {
        p.tensors["item.a/b.embedding"] = {{2, 2}, {0, 0, 0, 0}};
      },
      [](Model::Parts& p) {
        p.tensors["item.a/b.bias"] = {{3}, {0, 0, 0}};
      },
      [](Model::Parts& p) { p.spec.features.push_back(p.spec.features[0]); },
      [](Model::Parts& p) { p.spec.features[0].ids[0] = 2; },
      [](Model::Parts& p) {
        p.spec.features[0].starts = {0, 2};
      },
      [](Model::Parts& p) { p.spec.features.clear(); },
  };
  EXPECT_NO_THROW(Model{parts()});
  for (std::size_t change = 0; change < changes.size(); ++change) {
    SCOPED_TRACE(change);
    Model::Parts spoilt = parts();
    changes[change](spoilt);
    EXPECT_THROW(Model(std::move(spoilt)), InputError);
  }
}

}  // namespace
}  // namespace curate
