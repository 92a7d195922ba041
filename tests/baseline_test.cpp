// The bias model as a model that is trained, and as the baseline of others.

#include "train/baseline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "curate/error.h"
#include "curate/predictor.h"
#include "recommend/predictor.h"
#include "solvers/bias_ridge.h"
#include "tests/emulator/engine.h"
#include "tests/support/features.h"
#include "train/memory_estimate.h"

namespace curate {
namespace {

Dataset small_dataset() {
  SyntheticOptions options;
  options.users = 120;
  options.items = 90;
  options.ratings = 4000;
  return generate_dataset(options).dataset;
}

TrainOptions options_of(ModelKind model) {
  TrainOptions options;
  options.model = model;
  options.device = "cpu";
  options.threads = 2;
  if (model != ModelKind::bias) {
    options.dim = 4;
    options.epochs = 2;
  }
  return options;
}

TrainResult trained(const TrainOptions& options, const Dataset& dataset, const RatingTable& ratings) {
  return Trainer(options).train(dataset, ratings);
}

/// In double precision, of ratings whose ids are all in the fit.
double rmse_of(const BiasFit& fit, const RatingTable& ratings, const RatingScale& scale) {
  double squares = 0.0;
  for (std::size_t n = 0; n < ratings.ratings.size(); ++n) {
    const double prediction = fit.mean + fit.user[static_cast<std::size_t>(ratings.users[n])] +
                              fit.item[static_cast<std::size_t>(ratings.items[n])];
    const double error = std::clamp(prediction, static_cast<double>(scale.min), static_cast<double>(scale.max)) -
                         static_cast<double>(ratings.ratings[n]);
    squares += error * error;
  }
  return std::sqrt(squares / static_cast<double>(ratings.size()));
}

TEST(Baseline, IsTheBiasModelOfTheSameRatings) {
  const Dataset dataset = small_dataset();
  const TrainOptions options = resolve(options_of(ModelKind::mf));
  const TrainResult result = trained(options, dataset, dataset.ratings);
  ASSERT_TRUE(result.baseline);
  const Split split = hold_out(dataset.ratings, options);
  const BiasFit without = fit_biases(split.train, dataset.users.size(), dataset.items.size(), 1);
  ASSERT_TRUE(result.baseline->validation);
  EXPECT_NEAR(result.baseline->validation->rmse, rmse_of(without, split.test, dataset.scale), 1e-6);
  EXPECT_EQ(result.baseline->validation->ratings, split.test.size());
  EXPECT_NEAR(result.baseline->user_ridge, 1.0 / without.variances.user, 1e-9);
  // Offsets of all ratings, the validation slice included.
  const BiasFit all = fit_biases(dataset.ratings, dataset.users.size(), dataset.items.size(), without.variances, 1);
  EXPECT_NEAR(result.baseline->global_mean, all.mean, 1e-6);
  for (std::size_t u = 0; u < all.user.size(); ++u) {
    EXPECT_NEAR(result.baseline->user_bias[u], all.user[u], 1e-6);
  }
  EXPECT_FALSE(result.baseline->test);

  const TrainResult bias = trained(options_of(ModelKind::bias), dataset, dataset.ratings);
  EXPECT_FALSE(bias.baseline) << "the bias model is its own baseline";
  EXPECT_EQ(bias.validation->rmse, result.baseline->validation->rmse);
  EXPECT_EQ(bias.model.parts().tensors.at("user.bias").values, result.baseline->user_bias);
  EXPECT_EQ(bias.model.parts().tensors.at("item.bias").values, result.baseline->item_bias);
}

TEST(Baseline, WithoutValidationThereIsNoErrorOfIt) {
  const Dataset dataset = small_dataset();
  TrainOptions options = options_of(ModelKind::mlp);
  options.validation = 0.0;
  const TrainResult result = trained(options, dataset, dataset.ratings);
  EXPECT_FALSE(result.baseline->validation);
  const BiasFit fit = fit_biases(dataset.ratings, dataset.users.size(), dataset.items.size(), 1);
  EXPECT_NEAR(result.baseline->item_bias[3], fit.item[3], 1e-6);
}

class BiasModelOn : public testing::TestWithParam<const char*> {};

TEST_P(BiasModelOn, TrainsPredictsAndIsReadBack) {
  emulator::add_emulated_engine();
  Dataset dataset = small_dataset();
  const Split split = split_random(dataset.ratings, 0.2, 3);
  dataset.users.find_or_add(RawId(std::int64_t{100001}));  // without a rating
  const auto device = make_device(GetParam(), 2);
  const TrainOptions options = resolve(options_of(ModelKind::bias));
  Trained trained = train_with_baseline(*device, options, dataset, split.train);
  const TrainResult result = trained.result;
  EXPECT_EQ(result.history.size(), 1U);
  EXPECT_EQ(result.best_epoch, 1);
  EXPECT_EQ(result.train.ratings, split.train.size());
  EXPECT_EQ(result.train.cold_ratings, 0);
  EXPECT_EQ(result.model.parts().spec.kind, "bias");
  EXPECT_EQ(result.model.parts().tensors.size(), 6U);

  // On the device, on the caller's thread, and from the file.
  const Predictor predictor = make_predictor(*device, result.model, std::move(trained.resident));
  const auto& tensors = result.model.parts().tensors;
  std::vector<RawPair> pairs;
  for (std::size_t n = 0; n < 40; ++n) {
    pairs.push_back({dataset.users.id(split.test.users[n]), dataset.items.id(split.test.items[n])});
  }
  const std::vector<Prediction> block = predictor.predict(pairs);
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    const float sum = tensors.at("global_mean").values[0] +
                      tensors.at("user.bias").values[static_cast<std::size_t>(split.test.users[n])] +
                      tensors.at("item.bias").values[static_cast<std::size_t>(split.test.items[n])];
    EXPECT_NEAR(block[n].rating, std::clamp(sum, dataset.scale.min, dataset.scale.max), 1e-6);
    EXPECT_EQ(predictor.predict(pairs[n].user, pairs[n].item).rating, block[n].rating);
    EXPECT_EQ(block[n].basis, PredictionBasis::model);
  }
  const Metrics test = predictor.evaluate(split.test);
  const BiasFit fit = [&] {
    const Split part = hold_out(split.train, options);
    const BiasFit without = fit_biases(part.train, dataset.users.size(), dataset.items.size(), 1);
    return fit_biases(split.train, dataset.users.size(), dataset.items.size(), without.variances, 1);
  }();
  EXPECT_NEAR(test.rmse, rmse_of(fit, split.test, dataset.scale), 1e-6);
  // Of whom nothing is known: mean and the item's offset.
  const Prediction cold = predictor.predict(RawId(std::int64_t{100001}), dataset.items.id(7));
  EXPECT_EQ(cold.basis, PredictionBasis::item_mean);
  EXPECT_NEAR(cold.rating, fit.mean + fit.item[7], 1e-5);

  const std::string folder = testing::TempDir() + "curate-bias-model-" + std::string(GetParam());
  result.model.save(folder);
  const Model loaded = Model::load(folder);
  EXPECT_EQ(Predictor(loaded, {"cpu", 1}).evaluate(split.test).rmse, loaded.evaluate(split.test, {"cpu", 1}).rmse);
  EXPECT_NEAR(loaded.evaluate(split.test, {"cpu", 1}).rmse, test.rmse, 1e-9);
  std::filesystem::remove_all(folder);

  const auto measuring = device->make_measuring();
  const MemoryEstimate estimate =
      estimate_memory(*measuring, options, {dataset.users.size(), dataset.items.size(), split.train.size()});
  EXPECT_EQ(estimate.array_bytes(), static_cast<std::int64_t>(result.device_bytes));
}

INSTANTIATE_TEST_SUITE_P(devices, BiasModelOn, testing::Values("cpu", "cuda-emulated"),
                         [](const auto& device) { return std::string(device.param) == "cpu" ? "cpu" : "emulated"; });

TEST(Baseline, ColdRatingsAreThoseOfTheModelItIsComparedWith) {
  Dataset dataset = small_dataset();
  const Split split = split_random(dataset.ratings, 0.2, 3);
  const TrainResult result = trained(options_of(ModelKind::mf), dataset, split.train);
  RatingTable test = split.test;
  test.users.push_back(-1);
  test.items.push_back(5);
  test.ratings.push_back(2.0F);
  const Metrics metrics = evaluate_baseline(*result.baseline, result.model, test);
  const Metrics own = result.model.evaluate(test, {"cpu", 1});
  EXPECT_EQ(metrics.ratings, own.ratings);
  EXPECT_EQ(metrics.cold_ratings, own.cold_ratings);
  EXPECT_NEAR(metrics.cold_rmse, std::abs(result.baseline->global_mean + result.baseline->item_bias[5] - 2.0), 1e-6);
}

TEST(Baseline, WorseIsSaidByTheValidationSliceThenByTheTestPart) {
  const Dataset dataset = small_dataset();
  TrainResult result = trained(options_of(ModelKind::mf), dataset, dataset.ratings);
  const auto with = [](double rmse) {
    Metrics metrics;
    metrics.rmse = rmse;
    return metrics;
  };
  result.validation = with(0.9);
  result.baseline->validation = with(0.8);
  result.baseline->test = with(0.7);
  EXPECT_TRUE(is_worse_than_baseline(result, with(0.6)));
  result.baseline->validation = with(0.9);
  EXPECT_FALSE(is_worse_than_baseline(result, with(0.8))) << "as good is not worse";
  result.validation.reset();
  result.baseline->validation.reset();
  EXPECT_TRUE(is_worse_than_baseline(result, with(0.8)));
  EXPECT_FALSE(is_worse_than_baseline(result, with(0.6)));
  EXPECT_FALSE(is_worse_than_baseline(result, std::nullopt));
  result.baseline.reset();
  EXPECT_FALSE(is_worse_than_baseline(result, with(0.8)));
}

TEST(BiasModel, RefusesFeaturesOfTheDataSet) {
  Dataset dataset = small_dataset();
  std::vector<std::vector<std::int32_t>> genres(static_cast<std::size_t>(dataset.items.size()), {1});
  dataset.features = {test::make_feature("genre", FeatureSide::item, 2, genres)};
  EXPECT_THROW(trained(options_of(ModelKind::bias), dataset, dataset.ratings), InputError);
}

TEST(BiasModel, PartsThatDoNotFitAreRefused) {
  const Dataset dataset = small_dataset();
  const Model model = trained(options_of(ModelKind::bias), dataset, dataset.ratings).model;
  for (const char* tensor : {"user.bias", "item.bias", "global_mean"}) {
    for (const bool missing : {true, false}) {
      Model::Parts parts = model.parts();
      if (missing) {
        parts.tensors.erase(tensor);
      } else {
        parts.tensors.at(tensor).values.push_back(0.0F);
      }
      EXPECT_THROW(Model{parts}, InputError) << tensor;
    }
  }
  Model::Parts infinite = model.parts();
  infinite.tensors.at("item.bias").values[3] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(Model{infinite}, InputError);
}

}  // namespace
}  // namespace curate
