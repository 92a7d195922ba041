// What predicts users and items without training ratings, with and without features.

#include "train/fallback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "curate/trainer.h"
#include "tests/support/features.h"
#include "tests/support/set_option.h"
#include "train/evaluator.h"

namespace curate::test {
namespace {

constexpr std::int32_t kUserCount = 4;
constexpr std::int32_t kItemCount = 5;

/// Users 2 and 3 and items 2, 3 and 4 have no training rating. The features know users 0, 1 and 3 and all items but
/// item 1.
BiasFit bias_fit() {
  return {3.0, {0.5, -0.75, 0.0, 0.0}, {0.25, -1.5, 0.0, 0.0, 0.0}, {2, 1, 0, 0}, {1, 2, 0, 0, 0}, {}, 0};
}

std::vector<Feature> some_features() {
  return {make_feature("genre", FeatureSide::item, 3, {{1}, {0}, {2}, {0}, {0}}),
          make_feature("tags", FeatureSide::item, 3, {{0}, {0}, {0}, {2, 1}, {0}})};
}

std::vector<Feature> user_features() {
  std::vector<Feature> features = some_features();
  features.push_back(make_feature("age", FeatureSide::user, 3, {{1}, {2}, {0}, {1}}));
  return features;
}

PredictionBasis basis(const Fallback& fallback, std::int32_t user, std::int32_t item) {
  return fallback.predict(user, item).basis;
}

TEST(Fallback, WithoutFeaturesIsTheBiasModelsOffset) {
  const Fallback fallback(bias_fit(), {});
  EXPECT_EQ(basis(fallback, 0, 1), PredictionBasis::model);
  EXPECT_EQ(basis(fallback, 0, 2), PredictionBasis::user_mean);
  EXPECT_EQ(basis(fallback, 2, 0), PredictionBasis::item_mean);
  EXPECT_EQ(basis(fallback, 2, 2), PredictionBasis::global_mean);
  EXPECT_EQ(fallback.predict(2, 0).rating, 3.25F);
  EXPECT_EQ(fallback.predict(2, 1).rating, 1.5F);
  EXPECT_EQ(fallback.predict(0, 2).rating, 3.5F);
  EXPECT_EQ(fallback.predict(1, 2).rating, 2.25F);
  EXPECT_EQ(fallback.predict(2, 2).rating, 3.0F);
}

TEST(Fallback, KnownFeaturesStandForMissingRatings) {
  const Fallback fallback(bias_fit(), some_features());
  EXPECT_EQ(basis(fallback, 0, 0), PredictionBasis::model);
  EXPECT_EQ(basis(fallback, 0, 1), PredictionBasis::model) << "ratings are enough";
  EXPECT_EQ(basis(fallback, 0, 2), PredictionBasis::features);
  EXPECT_EQ(basis(fallback, 1, 3), PredictionBasis::features) << "one of the features knows it";
  EXPECT_EQ(basis(fallback, 0, 4), PredictionBasis::user_mean) << "no feature knows it";
  EXPECT_EQ(basis(fallback, 2, 2), PredictionBasis::global_mean) << "nothing is known of the user";
  EXPECT_EQ(basis(fallback, 2, 0), PredictionBasis::item_mean);
}

TEST(Fallback, EitherSideNeedsRatingsOrFeatures) {
  const Fallback fallback(bias_fit(), user_features());
  EXPECT_EQ(basis(fallback, 3, 0), PredictionBasis::features);
  EXPECT_EQ(basis(fallback, 3, 1), PredictionBasis::features);
  EXPECT_EQ(basis(fallback, 3, 2), PredictionBasis::features) << "features stand for both";
  EXPECT_EQ(basis(fallback, 3, 4), PredictionBasis::global_mean) << "no rating of either, and no feature of the item";
  EXPECT_EQ(basis(fallback, 2, 0), PredictionBasis::item_mean);
  EXPECT_EQ(basis(fallback, 2, 2), PredictionBasis::global_mean);
}

TEST(Fallback, IdsOutsideAreUnknown) {
  const Fallback fallback(bias_fit(), user_features());
  for (const std::int32_t outside : {-1, 100}) {
    EXPECT_EQ(basis(fallback, 0, outside), PredictionBasis::user_mean);
    EXPECT_EQ(basis(fallback, outside, 0), PredictionBasis::item_mean);
    EXPECT_EQ(basis(fallback, outside, 2), PredictionBasis::global_mean);
    EXPECT_EQ(basis(fallback, outside, outside), PredictionBasis::global_mean);
  }
}

TEST(Fallback, RowsWithUnknownValuesAloneAreNotDescribed) {
  const std::vector<Feature> nothing = {make_feature("genre", FeatureSide::item, 3, {{0}, {0}, {0, 0}, {0}, {0}})};
  const Fallback fallback(bias_fit(), nothing);
  const Fallback means(bias_fit(), {});
  for (std::int32_t user = 0; user < kUserCount; ++user) {
    for (std::int32_t item = 0; item < kItemCount; ++item) {
      EXPECT_EQ(basis(fallback, user, item), basis(means, user, item));
      EXPECT_EQ(fallback.predict(user, item).rating, means.predict(user, item).rating);
    }
  }
}

/// A model of no training: all its numbers are drawn.
TensorMap drawn_tensors(const ModelSpec& spec) {
  TrainOptions options;
  options.dim = 2;
  TensorMap tensors = initial_parameters(resolve(options), spec, kUserCount, kItemCount, 3.0);
  float next = -0.4F;
  for (auto& [name, tensor] : tensors) {
    for (float& value : tensor.values) {
      if (name != "global_mean") {
        next = next > 0.6F ? next - 1.13F : next + 0.29F;
        value = next;
      }
    }
  }
  return tensors;
}

/// Every user with every item, and ids outside.
RatingTable test_ratings() {
  Column<std::int32_t> users;
  Column<std::int32_t> items;
  Column<float> ratings;
  for (std::int32_t user = -1; user <= kUserCount; ++user) {
    for (std::int32_t item = -1; item <= kItemCount; ++item) {
      users.push_back(user);
      items.push_back(item);
      ratings.push_back(static_cast<float>(1 + (3 * users.size()) % 5));
    }
  }
  RatingTable table;
  table.users = users;
  table.items = items;
  table.ratings = ratings;
  return table;
}

TEST(Evaluator, CountsWhatFeaturesPredictAsCold) {
  const auto device = make_device("cpu", 2);
  ModelSpec spec;
  spec.features = user_features();
  const auto model = make_model(*device, spec, drawn_tensors(spec));
  const Fallback fallback(bias_fit(), spec.features);
  const ClipRange clip = {1.0F, 3.5F};
  const RatingTable table = test_ratings();
  double warm = 0.0;
  double cold = 0.0;
  double absolute = 0.0;
  std::int64_t warm_count = 0;
  std::int64_t described = 0;
  for (std::size_t n = 0; n < table.ratings.size(); ++n) {
    Prediction prediction = fallback.predict(table.users[n], table.items[n]);
    const bool of_model = prediction.basis == PredictionBasis::model || prediction.basis == PredictionBasis::features;
    if (of_model) {
      RatingTable one;
      one.users = {table.users[n]};
      one.items = {table.items[n]};
      one.ratings = {table.ratings[n]};
      const curate::DeviceRatings on_device(*device, one);
      prediction.rating = model->predict(on_device.view().users, on_device.view().items).at(0);
    }
    const auto error = static_cast<double>(std::clamp(prediction.rating, clip.min, clip.max) - table.ratings[n]);
    const bool is_warm = prediction.basis == PredictionBasis::model;
    (is_warm ? warm : cold) += error * error;
    absolute += std::abs(error);
    warm_count += is_warm ? 1 : 0;
    described += prediction.basis == PredictionBasis::features ? 1 : 0;
  }
  EXPECT_EQ(warm_count, 4);
  // Items 2 and 3 for users 0, 1 and 3, items 0 and 1 for user 3.
  EXPECT_EQ(described, 8);
  const auto all = static_cast<double>(table.size());
  for (int again = 0; again < 2; ++again) {
    const Metrics metrics = Evaluator(*device, table, fallback, clip).evaluate(*model);
    EXPECT_EQ(metrics.ratings, table.size());
    EXPECT_EQ(metrics.cold_ratings, table.size() - warm_count);
    EXPECT_NEAR(metrics.warm_rmse, std::sqrt(warm / static_cast<double>(warm_count)), 1e-6);
    EXPECT_NEAR(metrics.cold_rmse, std::sqrt(cold / (all - static_cast<double>(warm_count))), 1e-6);
    EXPECT_NEAR(metrics.rmse, std::sqrt((warm + cold) / all), 1e-6);
    EXPECT_NEAR(metrics.mae, absolute / all, 1e-6);
  }
}

/// Users 10, 20 and 30 and items 100 and 200; ratings from 1 to 5.
Model hand_made_model() {
  Model::Parts parts;
  for (const std::int64_t user : {10, 20, 30}) {
    parts.users.find_or_add(user);
  }
  for (const std::int64_t item : {100, 200}) {
    parts.items.find_or_add(item);
  }
  parts.tensors = {{"user.embedding", {{3, 1}, {1.0F, -0.5F, 3.0F}}},
                   {"item.embedding", {{2, 1}, {0.5F, 2.0F}}},
                   {"global_mean", {{1}, {3.0F}}},
                   {"fallback.user", {{3}, {0.25F, -0.5F, 1.0F}}},
                   {"fallback.item", {{2}, {-0.75F, 0.125F}}},
                   {"fallback.mean", {{1}, {3.0F}}}};
  parts.user_counts = {2, 1, 4};
  parts.item_counts = {3, 4};
  parts.scale = {1.0F, 5.0F, 1.0F};
  return Model(parts);
}

// What `curate evaluate --data` does. Catches: a user or item that the model does not know and that is taken for one
// that it knows, dense ids of the other data set taken for the model's, a prediction that is not clipped.
TEST(Fallback, OtherDataAreEvaluatedByTheirIds) {
  const Model model = hand_made_model();
  const std::vector<std::int64_t> users = {30, 99, 10};  // by dense id of the other data set
  const std::vector<std::int64_t> items = {777, 200, 100};
  Dataset other;
  for (const std::int64_t user : users) {
    other.users.find_or_add(user);
  }
  for (const std::int64_t item : items) {
    other.items.find_or_add(item);
  }
  // The model's predictions are 3 + the product, at most 5; means know those of which one side is known.
  struct Expected {
    std::int32_t user;
    std::int32_t item;
    double prediction;
    bool warm;
  };
  const std::vector<Expected> expected = {{0, 1, 5.0, true},    {0, 2, 4.5, true},   {2, 1, 5.0, true},
                                          {2, 2, 3.5, true},    {0, 0, 4.0, false},  {2, 0, 3.25, false},
                                          {1, 1, 3.125, false}, {1, 2, 2.25, false}, {1, 0, 3.0, false}};
  Column<std::int32_t> rating_users;
  Column<std::int32_t> rating_items;
  Column<float> ratings;
  double warm = 0.0;
  double cold = 0.0;
  for (const Expected& one : expected) {
    const auto rating = static_cast<float>(1 + ratings.size() % 5);
    rating_users.push_back(one.user);
    rating_items.push_back(one.item);
    ratings.push_back(rating);
    const double error = one.prediction - static_cast<double>(rating);
    (one.warm ? warm : cold) += error * error;
  }
  other.ratings.users = rating_users;
  other.ratings.items = rating_items;
  other.ratings.ratings = ratings;
  const RatingTable translated = model.translate(other, other.ratings);
  const std::vector<std::int32_t> known_users = {2, -1, 0};
  const std::vector<std::int32_t> known_items = {-1, 1, 0};
  for (std::size_t n = 0; n < expected.size(); ++n) {
    EXPECT_EQ(translated.users[n], known_users[static_cast<std::size_t>(expected[n].user)]) << n;
    EXPECT_EQ(translated.items[n], known_items[static_cast<std::size_t>(expected[n].item)]) << n;
    EXPECT_EQ(translated.ratings[n], other.ratings.ratings[n]) << n;
    const RawPair pair = {users[static_cast<std::size_t>(expected[n].user)],
                          items[static_cast<std::size_t>(expected[n].item)]};
    EXPECT_FLOAT_EQ(model.predict({&pair, 1}, {"cpu", 1}).at(0).rating, static_cast<float>(expected[n].prediction))
        << n;
  }
  const Metrics metrics = model.evaluate(translated, {"cpu", 1});
  EXPECT_EQ(metrics.ratings, 9);
  EXPECT_EQ(metrics.cold_ratings, 5);
  EXPECT_NEAR(metrics.warm_rmse, std::sqrt(warm / 4.0), 1e-6);
  EXPECT_NEAR(metrics.cold_rmse, std::sqrt(cold / 5.0), 1e-6);
  EXPECT_NEAR(metrics.rmse, std::sqrt((warm + cold) / 9.0), 1e-6);
}

/// Sixty users and thirty items; the last three items and the last user have no rating. Genre 0 is unknown.
Dataset cold_dataset() {
  Dataset dataset;
  Column<std::int32_t> users;
  Column<std::int32_t> items;
  Column<float> ratings;
  std::vector<std::vector<std::int32_t>> genres;
  for (std::int32_t item = 0; item < 30; ++item) {
    dataset.items.find_or_add(std::int64_t{100} + item);
    genres.push_back({item == 29 ? 0 : 1 + item % 2});
  }
  for (std::int32_t user = 0; user < 60; ++user) {
    dataset.users.find_or_add(std::int64_t{1} + user);
    for (std::int32_t item = 0; user < 59 && item < 27; ++item) {
      users.push_back(user);
      items.push_back(item);
      ratings.push_back(item % 2 == 0 ? 4.5F : 1.5F);  // the genre says it all
    }
  }
  dataset.ratings.users = users;
  dataset.ratings.items = items;
  dataset.ratings.ratings = ratings;
  dataset.scale = {0.5F, 5.0F, 0.5F};
  dataset.features = {make_feature("genre", FeatureSide::item, 3, genres)};
  return dataset;
}

// An item that nobody rated is predicted by its genre, before and after saving; one without a genre by means.
TEST(ColdItems, ArePredictedByTheirFeatures) {
  const Dataset dataset = cold_dataset();
  for (const char* kind : {"mf", "mlp", "neumf"}) {
    SCOPED_TRACE(kind);
    TrainOptions options;
    set_or_clear(options, "model", kind);
    options.features = "genre";
    options.device = "cpu";
    options.threads = 2;
    options.dim = 4;
    options.batch = 64;
    options.epochs = 30;
    options.learning_rate = 0.02;
    options.reg = 0.05;
    options.feature_reg = 0.0;
    if (options.model != ModelKind::mf) {
      options.dropout = {0.4, 0.4};
      options.layers = {8};
    }
    const Model model = Trainer(options).train(dataset, dataset.ratings).model;
    for (const char* what : {"item.embedding", "item.factors"}) {
      const auto found = model.parts().tensors.find(what);
      if (found != model.parts().tensors.end()) {
        const std::vector<float>& values = found->second.values;
        const auto dim = static_cast<std::ptrdiff_t>(values.size() / 30);
        EXPECT_TRUE(std::all_of(values.end() - 3 * dim, values.end(), [](float value) { return value == 0.0F; }))
            << what << " of items that nobody rated";
      }
    }
    const std::vector<RawPair> pairs = {{std::int64_t{1}, std::int64_t{127}}, {std::int64_t{1}, std::int64_t{128}},
                                        {std::int64_t{1}, std::int64_t{129}}, {std::int64_t{60}, std::int64_t{127}},
                                        {std::int64_t{1}, std::int64_t{100}}, {std::int64_t{1}, std::int64_t{7}}};
    const std::vector<Prediction> predictions = model.predict(pairs, {"cpu", 1});
    EXPECT_EQ(predictions[0].basis, PredictionBasis::features);
    EXPECT_EQ(predictions[1].basis, PredictionBasis::features);
    EXPECT_EQ(predictions[2].basis, PredictionBasis::user_mean);
    EXPECT_EQ(predictions[3].basis, PredictionBasis::global_mean);
    EXPECT_EQ(predictions[4].basis, PredictionBasis::model);
    EXPECT_EQ(predictions[5].basis, PredictionBasis::user_mean);
    // Item 127 is of the genre of ratings 1.5, item 128 of the other; means know neither.
    EXPECT_LT(predictions[0].rating, 2.3F);
    EXPECT_GT(predictions[1].rating, 3.7F);

    const std::string folder = testing::TempDir() + "/curate_fallback_test_" + kind;
    std::filesystem::create_directories(folder);
    model.save(folder);
    const std::vector<Prediction> again = Model::load(folder).predict(pairs, {"cpu", 1});
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      EXPECT_EQ(again[n].basis, predictions[n].basis) << n;
      EXPECT_EQ(again[n].rating, predictions[n].rating) << n;
    }
    std::filesystem::remove_all(folder);
  }
}

}  // namespace
}  // namespace curate::test
