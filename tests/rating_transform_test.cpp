// --transform log: what is learnt, what is predicted, and what errors are of, against formulas in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "curate/error.h"
#include "curate/predictor.h"
#include "curate/trainer.h"
#include "data/heavy_tails.h"
#include "models/learning_units.h"
#include "models/members.h"
#include "support/philox.h"
#include "tests/emulator/engine.h"
#include "tests/support/features.h"
#include "tests/support/set_option.h"
#include "train/fallback.h"
#include "train/safetensors.h"

namespace curate::test {
namespace {

namespace fs = std::filesystem;

double log_of(double rating, double start) {
  return rating >= start ? std::log(1.0 + (rating - start)) : -std::log(1.0 + (start - rating));
}

double rating_of(double log, double start) {
  return log >= 0.0 ? start + (std::exp(log) - 1.0) : start - (std::exp(-log) - 1.0);
}

TEST(RatingTransform, goes_there_and_back) {
  for (const double start : {0.0, 1.0, -10.0, 250.0}) {
    for (const RatingUnits& units :
         {RatingUnits{0.0, 1.0, {TransformKind::log, start}}, RatingUnits{5.25, 1.75, {TransformKind::log, start}}}) {
      for (const double above : {0.0, 0.001, 0.5, 1.0, 4.0, 37.5, 1000.0, 350000.0, 2e9, -0.5, -1.0, -3.0, -5000.0}) {
        const auto rating = static_cast<float>(start + above);
        const float value = to_units(rating, units);
        EXPECT_NEAR(value, (log_of(static_cast<double>(rating), start) - units.centre) / units.unit, 2e-6)
            << rating << " from " << start;
        // An ulp of the value, as much of the rating.
        EXPECT_NEAR(to_rating(value, units), rating, 3e-6 * (1.0 + std::abs(above)) + 1e-7 * std::abs(start));
      }
    }
  }
}

// Catches: steps of 2^-15 in logarithms, which are ten plays here.
TEST(RatingTransform, rounds_no_logarithms) {
  const RatingUnits units = {3.0, 2.0, {TransformKind::log, 1.0}};
  EXPECT_NE(to_units(350000.0F, units), to_units(350002.0F, units));
  EXPECT_NEAR(to_rating(to_units(350002.0F, units), units), 350002.0F, 0.5);
}

TEST(RatingTransform, units_are_those_of_the_spread_of_logarithms) {
  TrainOptions options;
  const RatingScale scale = {2.0F, 101.0F, 1.0F};
  EXPECT_EQ(transform_of(options, scale), RatingTransform());
  options.transform = TransformKind::log;
  const RatingTransform transform = transform_of(options, scale);
  EXPECT_EQ(transform, (RatingTransform{TransformKind::log, 2.0}));
  const std::vector<float> ratings = {2.0F, 3.0F, 101.0F};
  const RatingSpread spread = spread_of(ratings, transform);
  const double mean = (std::log(2.0) + std::log(100.0)) / 3.0;
  EXPECT_DOUBLE_EQ(spread.mean, mean);
  EXPECT_DOUBLE_EQ(
      spread.deviation,
      std::sqrt((mean * mean + std::pow(std::log(2.0) - mean, 2) + std::pow(std::log(100.0) - mean, 2)) / 3.0));
  EXPECT_EQ(learning_units(options, spread, transform), (RatingUnits{spread.mean, spread.deviation, transform}));
  options.units = UnitsKind::raw;
  EXPECT_EQ(learning_units(options, spread, transform), (RatingUnits{0.0, 1.0, transform}));
  const RatingScale in_units = to_units(scale, units_of(transform));
  EXPECT_EQ(in_units.min, 0.0F);
  EXPECT_NEAR(in_units.max, std::log(100.0), 1e-6);
  EXPECT_EQ(in_units.step, 0.0F) << "logarithms lie on no grid";
}

/// The ratings made plays: user and item multiply, and luck does, too. From `least` on, half of them below 100, a few
/// 10,000 and more.
Dataset counts_of(const SyntheticOptions& synthetic, float least) {
  Dataset dataset = generate_dataset(synthetic).dataset;
  float most = least;
  for (std::size_t k = 0; k < dataset.ratings.ratings.size(); ++k) {
    const double u = uniform_double(philox(5, k, 0, RandomPurpose::validation).low64());
    const double luck = std::pow(1.0 - u, -0.6);
    float& rating = dataset.ratings.ratings[k];
    rating = least + static_cast<float>(std::floor(luck * std::exp(2.0 * static_cast<double>(rating) - 4.0)));
    most = std::max(most, rating);
  }
  dataset.ratings.ratings[0] = least;
  dataset.scale = {least, most, 1.0F};
  return dataset;
}

Dataset counts(std::int64_t ratings = 4000, float least = 1.0F) {
  SyntheticOptions synthetic;
  synthetic.users = static_cast<std::int32_t>(std::max<std::int64_t>(4, ratings / 20));
  synthetic.items = static_cast<std::int32_t>(std::max<std::int64_t>(4, ratings / 25));
  synthetic.ratings = ratings;
  synthetic.rank = 3;
  synthetic.noise = 0.4;
  return counts_of(synthetic, least);
}

struct TransformedWay {
  const char* name;
  std::vector<std::pair<const char*, const char*>> options;
  const char* device = "cpu";
  bool features = false;
};

void PrintTo(const TransformedWay& way, std::ostream* out) {
  *out << way.name;
}

class Transformed : public testing::TestWithParam<TransformedWay> {
 protected:
  static TrainOptions options() {
    emulator::add_emulated_engine();
    TrainOptions options;
    options.transform = TransformKind::log;
    options.dim = 6;
    options.epochs = 6;
    options.validation = 0.15;
    options.refit = false;
    options.device = GetParam().device;
    options.threads = 2;
    for (const auto& [key, value] : GetParam().options) {
      set_or_clear(options, key, value);
    }
    options.features = GetParam().features ? "kind" : "";
    return options;
  }

  static Dataset dataset(float least = 1.0F) {
    Dataset dataset = counts(1500, least);
    if (GetParam().features) {
      std::vector<std::vector<std::int32_t>> kinds(static_cast<std::size_t>(dataset.items.size()));
      for (std::size_t item = 0; item < kinds.size(); ++item) {
        kinds[item] = {static_cast<std::int32_t>(item % 3)};
      }
      dataset.features = {make_feature("kind", FeatureSide::item, 3, kinds)};
    }
    return dataset;
  }

  /// Sums of errors of the predictor's own predictions.
  struct Sums {
    double squared = 0.0;
    double absolute = 0.0;
    double squared_logs = 0.0;
  };
  static Sums sums_of(const Predictor& predictor, const Dataset& dataset, const RatingTable& ratings) {
    Sums sums;
    for (std::size_t k = 0; k < ratings.ratings.size(); ++k) {
      const auto predicted = static_cast<double>(
          predictor.predict(dataset.users.id(ratings.users[k]), dataset.items.id(ratings.items[k])).rating);
      const auto rating = static_cast<double>(ratings.ratings[k]);
      const auto start = static_cast<double>(dataset.scale.min);
      sums.squared += (predicted - rating) * (predicted - rating);
      sums.absolute += std::abs(predicted - rating);
      sums.squared_logs += std::pow(log_of(predicted, start) - log_of(rating, start), 2);
    }
    return sums;
  }

  static void expect_errors(const Metrics& metrics, const Predictor& predictor, const Dataset& dataset,
                            const RatingTable& ratings) {
    const Sums sums = sums_of(predictor, dataset, ratings);
    const auto count = static_cast<double>(ratings.size());
    ASSERT_EQ(metrics.ratings, ratings.size());
    EXPECT_NEAR(metrics.rmse, std::sqrt(sums.squared / count), 1e-5 * metrics.rmse);
    EXPECT_NEAR(metrics.mae, sums.absolute / count, 1e-5 * metrics.mae);
    ASSERT_TRUE(metrics.log_rmse);
    EXPECT_NEAR(*metrics.log_rmse, std::sqrt(sums.squared_logs / count), 1e-5);
  }
};

// Catches: predictions that are logarithms, or the fallback's mapped once more; a start that is missing; errors of
// logarithms where ratings' are asked for, in any part; an epoch kept for another error than the one learnt.
TEST_P(Transformed, PredictsRatingsAndEveryErrorIsOneOfRatings) {
  const Dataset data = dataset(3.0F);
  const TrainOptions asked = options();
  const std::uint64_t seed = philox(asked.seed, 0, 0, RandomPurpose::validation).low64();
  const Split parts = split_random(data.ratings, asked.validation, seed, 1);
  const TrainResult result = Trainer(asked).train(data, data.ratings);
  ASSERT_GT(result.best_epoch, 0);
  const RatingTransform& transform = result.model.parts().spec.transform;
  EXPECT_EQ(transform, (RatingTransform{TransformKind::log, 3.0}));

  const Predictor predictor(result.model, {GetParam().device, 1});
  expect_errors(result.train, predictor, data, parts.train);
  expect_errors(*result.validation, predictor, data, parts.test);
  expect_errors(predictor.evaluate(data.ratings), predictor, data, data.ratings);

  const EpochRecord& best = result.history.at(static_cast<std::size_t>(result.best_epoch - 1));
  EXPECT_NEAR(*best.validation_rmse, result.validation->rmse, 1e-6 * result.validation->rmse);
  for (const EpochRecord& record : result.history) {
    EXPECT_GE(*record.validation_log_rmse, *result.validation->log_rmse - 1e-6);
    EXPECT_LT(*record.train_log_rmse, 5.0) << "not of logarithms";
  }

  // A block on the device, and a cold pair: an item that nobody knows.
  std::vector<RawPair> pairs;
  for (std::size_t k = 0; k < 40; ++k) {
    pairs.push_back({data.users.id(data.ratings.users[k]), data.items.id(data.ratings.items[k])});
  }
  pairs.push_back({pairs[0].user, RawId("nobody's")});
  const std::vector<Prediction> block = predictor.predict(pairs);
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    const float one = predictor.predict(pairs[k].user, pairs[k].item).rating;
    EXPECT_NEAR(block[k].rating, one, 1e-4 * one);
    EXPECT_GE(one, data.scale.min);
    EXPECT_LE(one, data.scale.max);
  }
  EXPECT_EQ(block.back().basis, PredictionBasis::user_mean);
}

// Catches: an error of the epoch that is of logarithms, or of predictions before the transform is undone.
TEST_P(Transformed, TheLastEpochsTrainingErrorIsTheModels) {
  TrainOptions asked = options();
  asked.validation = 0.0;
  asked.epochs = 2;
  const Dataset data = dataset();
  const TrainResult result = Trainer(asked).train(data, data.ratings);
  EXPECT_NEAR(result.history.back().train_rmse, result.train.rmse, 1e-9 * result.train.rmse);
  expect_errors(result.train, Predictor(result.model, {"cpu", 1}), data, data.ratings);
}

TEST_P(Transformed, IsSavedWithTheModel) {
  const std::string folder = testing::TempDir() + "curate_transformed_" + GetParam().name;
  const Dataset data = dataset(-4.0F);
  const TrainResult result = Trainer(options()).train(data, data.ratings);
  result.model.save(folder);
  const Model loaded = Model::load(folder);
  EXPECT_EQ(loaded.parts().spec.transform, (RatingTransform{TransformKind::log, -4.0}));
  const Metrics before = result.model.evaluate(data.ratings, {"cpu", 1});
  const Metrics after = loaded.evaluate(data.ratings, {"cpu", 1});
  EXPECT_EQ(after.rmse, before.rmse);
  EXPECT_EQ(after.log_rmse, before.log_rmse);
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Transformed,
    testing::Values(TransformedWay{"mf", {}}, TransformedWay{"mf_raw", {{"units", "raw"}}},
                    TransformedWay{"mf_without_mean", {{"global_mean", "off"}, {"non_negative", "on"}}},
                    TransformedWay{"mf_adam", {{"optimizer", "adam"}, {"batch", "64"}}},
                    TransformedWay{"mf_features", {}, "cpu", true}, TransformedWay{"mlp", {{"model", "mlp"}}},
                    TransformedWay{"mlp_relu", {{"model", "mlp"}, {"output", "relu"}}},
                    TransformedWay{"mlp_sigmoid", {{"model", "mlp"}, {"output", "sigmoid"}}},
                    TransformedWay{"neumf_mae", {{"model", "neumf"}, {"loss", "mae"}}},
                    TransformedWay{"mf_emulated", {}, "cuda-emulated"},
                    TransformedWay{"mf_f16_emulated", {{"precision", "f16"}}, "cuda-emulated"},
                    TransformedWay{"mlp_emulated", {{"model", "mlp"}, {"layers", "8"}}, "cuda-emulated"}),
    [](const auto& way) { return std::string(way.param.name); });

// The formula of mf, by hand. Catches: tensors that are left in units of the spread.
TEST(RatingTransform, APredictionIsTheModelsLogarithmMappedBackAndClipped) {
  const Dataset data = counts(1500, 2.0F);
  TrainOptions options;
  options.transform = TransformKind::log;
  options.dim = 4;
  options.epochs = 4;
  options.device = "cpu";
  for (const bool clip : {true, false}) {
    options.clip = clip;
    const TrainResult result = Trainer(options).train(data, data.ratings);
    const Predictor predictor(result.model, {"cpu", 1});
    const TensorMap& tensors = result.model.parts().tensors;
    const auto at = [&](const char* name, std::int64_t place) {
      return static_cast<double>(tensors.at(name).values.at(static_cast<std::size_t>(place)));
    };
    for (std::size_t k = 0; k < 200; ++k) {
      const std::int32_t user = data.ratings.users[k];
      const std::int32_t item = data.ratings.items[k];
      double log = at("global_mean", 0) + at("user.bias", user) + at("item.bias", item);
      for (std::int64_t d = 0; d < 4; ++d) {
        log += at("user.embedding", 4 * user + d) * at("item.embedding", 4 * item + d);
      }
      double expected = rating_of(log, 2.0);
      if (clip) {
        expected = std::clamp(expected, 2.0, static_cast<double>(data.scale.max));
      }
      EXPECT_NEAR(predictor.predict(data.users.id(user), data.items.id(item)).rating, expected, 1e-5 * expected);
    }
  }
}

// Catches: NaN of the logarithm of a negative number.
TEST(RatingTransform, TestRatingsMayLieBelowAllOthers) {
  const Dataset data = counts(1500, 5.0F);
  TrainOptions options;
  options.transform = TransformKind::log;
  options.dim = 4;
  options.epochs = 3;
  options.device = "cpu";
  const Model model = Trainer(options).train(data, data.ratings).model;
  RatingTable one;
  one.users = {data.ratings.users[0]};
  one.items = {data.ratings.items[0]};
  one.ratings = {-20.0F};
  const double predicted = static_cast<double>(
      Predictor(model, {"cpu", 1}).predict(data.users.id(one.users[0]), data.items.id(one.items[0])).rating);
  const Metrics metrics = model.evaluate(one, {"cpu", 1});
  EXPECT_NEAR(metrics.rmse, predicted + 20.0, 1e-4 * metrics.rmse);
  EXPECT_NEAR(*metrics.log_rmse, log_of(predicted, 5.0) + std::log(26.0), 1e-5);
}

// Catches: an epoch that is chosen by the error of ratings, which a few large counts decide.
TEST(RatingTransform, TheBestEpochIsThatOfLogarithms) {
  const Dataset data = counts(1500);
  int differ = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    TrainOptions options;
    options.transform = TransformKind::log;
    options.dim = 6;
    options.epochs = 12;
    options.validation = 0.2;
    options.reg = 0.0;
    options.seed = seed;
    options.refit = false;
    options.device = "cpu";
    const TrainResult result = Trainer(options).train(data, data.ratings);
    const auto best = [&](auto error) {
      return std::min_element(result.history.begin(), result.history.end(),
                              [&](const EpochRecord& a, const EpochRecord& b) { return error(a) < error(b); })
          ->epoch;
    };
    const std::int32_t of_logs = best([](const EpochRecord& record) { return *record.validation_log_rmse; });
    const std::int32_t of_ratings = best([](const EpochRecord& record) { return *record.validation_rmse; });
    EXPECT_EQ(result.best_epoch, of_logs) << "seed " << seed;
    differ += of_logs == of_ratings ? 0 : 1;
  }
  EXPECT_GT(differ, 0) << "no seed tells the two apart";
}

// Catches: logarithms of what the fallback predicts that are left out, or mapped twice.
TEST(RatingTransform, ColdRatingsCountAmongLogarithms) {
  const Dataset data = counts(1500, 2.0F);
  TrainOptions options;
  options.transform = TransformKind::log;
  options.dim = 4;
  options.epochs = 3;
  options.device = "cpu";
  const Model model = Trainer(options).train(data, data.ratings).model;
  const Predictor predictor(model, {"cpu", 1});
  const RawId user = data.users.id(data.ratings.users[5]);
  const RawId item = data.items.id(data.ratings.items[5]);
  const std::vector<RawPair> pairs = {{user, item}, {user, RawId("nobody's")}, {RawId("nobody"), item}};
  const std::vector<float> ratings = {5.0F, 80.0F, 3.0F};
  double squared = 0.0;
  double squared_logs = 0.0;
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    const auto predicted = static_cast<double>(predictor.predict(pairs[k].user, pairs[k].item).rating);
    const auto rating = static_cast<double>(ratings[k]);
    squared += std::pow(predicted - rating, 2);
    squared_logs += std::pow(log_of(predicted, 2.0) - log_of(rating, 2.0), 2);
  }
  const Metrics metrics = predictor.evaluate(pairs, ratings);
  EXPECT_EQ(metrics.cold_ratings, 2);
  EXPECT_NEAR(metrics.rmse, std::sqrt(squared / 3.0), 1e-5 * metrics.rmse);
  EXPECT_NEAR(*metrics.log_rmse, std::sqrt(squared_logs / 3.0), 1e-5);
}

// Catches: metadata that untransformed models did not have before, a transform that is taken for none.
TEST(RatingTransform, RunsWithoutOneHaveNone) {
  const Dataset data = counts(1500);
  TrainOptions options;
  options.dim = 4;
  options.epochs = 2;
  options.device = "cpu";
  const std::string folder = testing::TempDir() + "curate_untransformed";
  const TrainResult result = Trainer(options).train(data, data.ratings);
  EXPECT_FALSE(result.train.log_rmse);
  EXPECT_FALSE(result.history[0].train_log_rmse);
  result.model.save(folder);
  SafetensorsFile file = read_safetensors(folder + "/model.safetensors");
  EXPECT_EQ(file.metadata.count("transform"), 0U);
  EXPECT_EQ(file.metadata.count("transform_start"), 0U);
  EXPECT_EQ(Model::load(folder).parts().spec.transform, RatingTransform());
  const auto load_with = [&](const char* kind, const char* start) {
    file.metadata["transform"] = kind;
    file.metadata["transform_start"] = start;
    write_safetensors(folder + "/model.safetensors", file);
    return Model::load(folder).parts().spec.transform;
  };
  EXPECT_EQ(load_with("log", "1"), (RatingTransform{TransformKind::log, 1.0}));
  EXPECT_THROW(load_with("root", "1"), InputError);
  EXPECT_THROW(load_with("log", "nan"), InputError);
  EXPECT_THROW(load_with("log", ""), InputError);
  fs::remove_all(folder);
}

// Catches: the mean of ratings, or of logarithms that are not mapped back, and errors of something else in the history.
TEST(RatingTransform, WithoutLearningTheMeanOfLogarithmsIsPredicted) {
  const Dataset data = counts(1500);
  for (const char* model : {"mf", "mlp"}) {
    for (const double validation : {0.1, 0.0}) {
      SCOPED_TRACE(std::string(model) + " " + std::to_string(validation));
      TrainOptions options;
      set_or_clear(options, "model", model);
      options.transform = TransformKind::log;
      options.optimizer = OptimizerChoice::sgd;
      options.batch = options.model == ModelKind::mf ? 1 : 16;
      options.dim = 4;
      options.epochs = 4;
      options.validation = validation;
      options.refit = false;
      options.learning_rate = 1e5;
      options.device = "cpu";
      const TrainResult result = Trainer(options).train(data, data.ratings);
      ASSERT_EQ(result.best_epoch, 0);
      const Split parts = validation == 0.0
                              ? Split{data.ratings, {}}
                              : split_random(data.ratings, validation,
                                             philox(options.seed, 0, 0, RandomPurpose::validation).low64(), 1);
      const RatingSpread spread = spread_of(parts.train.ratings, {TransformKind::log, 1.0});
      const double predicted = rating_of(spread.mean, 1.0);
      const Prediction prediction =
          Predictor(result.model, {"cpu", 1})
              .predict(data.users.id(parts.train.users[0]), data.items.id(parts.train.items[0]));
      EXPECT_EQ(prediction.basis, PredictionBasis::model);
      EXPECT_NEAR(prediction.rating, predicted, 1e-4 * predicted);
      EXPECT_NEAR(*result.train.log_rmse, spread.deviation, 1e-4 * spread.deviation);
      EXPECT_NEAR(*result.history[0].train_log_rmse, spread.deviation, 1e-4 * spread.deviation);
      const RatingSpread ratings = spread_of(parts.train.ratings);
      const double rmse = std::hypot(ratings.deviation, ratings.mean - predicted);
      EXPECT_NEAR(result.train.rmse, rmse, 1e-4 * rmse);
      EXPECT_NEAR(result.history[0].train_rmse, rmse, 1e-4 * rmse);
    }
  }
}

// Catches: a training that counts as diverged because means of ratings, which stand for cold ids, are far from
// logarithms.
TEST(RatingTransform, SparseCountsAreNotTakenForADivergence) {
  SyntheticOptions synthetic;
  synthetic.users = 600;
  synthetic.items = 400;
  synthetic.ratings = 1300;
  synthetic.noise = 0.2;
  const Dataset data = counts_of(synthetic, 1.0F);
  TrainOptions options;
  options.transform = TransformKind::log;
  options.dim = 4;
  options.epochs = 4;
  options.validation = 0.2;
  options.device = "cpu";
  const TrainResult result = Trainer(options).train(data, data.ratings);
  EXPECT_GT(result.validation->cold_ratings, 50);
  EXPECT_TRUE(result.divergences.empty());
  EXPECT_GT(result.best_epoch, 0);
}

// Catches: a mean of counts, errors of the validation part that are of logarithms, a spread left a logarithm's.
TEST(RatingTransform, AnEnsemblePredictsTheMeanOfItsMembersLogarithms) {
  const Dataset data = counts(1500, 2.0F);
  TrainOptions options;
  set_or_clear(options, "ensemble", "mf:2,mlp:1");
  options.transform = TransformKind::log;
  options.clip = false;
  options.dim = 4;
  options.epochs = 3;
  options.validation = 0.15;
  options.refit = false;
  options.device = "cpu";
  const TrainResult result = Trainer(options).train(data, data.ratings);
  const Predictor ensemble(result.model, {"cpu", 1});
  std::vector<Predictor> members;
  for (std::size_t member = 0; member < 3; ++member) {
    Model::Parts parts = result.model.parts();
    parts.spec = member_spec(result.model.parts(), member);
    TensorMap tensors = member_tensors(result.model.parts(), member);
    tensors.insert(parts.tensors.begin(), parts.tensors.end());
    parts.tensors = std::move(tensors);
    parts.members.clear();
    members.emplace_back(Model(std::move(parts)), ComputeOptions{"cpu", 1});
  }
  const Split parts =
      split_random(data.ratings, 0.15, philox(options.seed, 0, 0, RandomPurpose::validation).low64(), 1);
  double squared = 0.0;
  double squared_logs = 0.0;
  for (std::size_t k = 0; k < parts.test.ratings.size(); ++k) {
    const RawId user = data.users.id(parts.test.users[k]);
    const RawId item = data.items.id(parts.test.items[k]);
    const Prediction predicted = ensemble.predict(user, item);
    const auto rating = static_cast<double>(parts.test.ratings[k]);
    squared += std::pow(static_cast<double>(predicted.rating) - rating, 2);
    const double log = log_of(static_cast<double>(predicted.rating), 2.0);
    squared_logs += std::pow(log - log_of(rating, 2.0), 2);
    if (!is_of_model(predicted.basis)) {
      continue;
    }
    std::vector<double> logs;
    double mean = 0.0;
    for (const Predictor& member : members) {
      logs.push_back(log_of(static_cast<double>(member.predict(user, item).rating), 2.0));
      mean += logs.back() / 3.0;
    }
    double squares = 0.0;
    for (const double one : logs) {
      squares += std::pow(one - mean, 2);
    }
    EXPECT_NEAR(log, mean, 1e-5);
    EXPECT_NEAR(*predicted.spread, rating_of(mean + std::sqrt(squares / 2.0), 2.0) - rating_of(mean, 2.0),
                1e-4 * static_cast<double>(predicted.rating));
    const std::vector<RawPair> pair = {{user, item}};
    EXPECT_EQ(ensemble.predict(pair)[0].spread.has_value(), true);
  }
  const auto count = static_cast<double>(parts.test.size());
  EXPECT_NEAR(result.validation->rmse, std::sqrt(squared / count), 1e-4 * result.validation->rmse);
  EXPECT_NEAR(*result.validation->log_rmse, std::sqrt(squared_logs / count), 1e-5);
  const Metrics again = result.model.evaluate(parts.test, {"cpu", 1});
  EXPECT_NEAR(*again.log_rmse, *result.validation->log_rmse, 1e-5);
  EXPECT_NEAR(*result.model.evaluate(parts.train, {"cpu", 1}).log_rmse, *result.train.log_rmse, 1e-5);
}

/// RMSE of log(1 + count - least), of a model with or without the transform.
double error_of_logs(const Model& model, const Dataset& dataset, const RatingTable& ratings) {
  const Predictor predictor(model, {"cpu", 1});
  double squared = 0.0;
  for (std::size_t k = 0; k < ratings.ratings.size(); ++k) {
    const auto predicted = static_cast<double>(
        predictor.predict(dataset.users.id(ratings.users[k]), dataset.items.id(ratings.items[k])).rating);
    const auto start = static_cast<double>(dataset.scale.min);
    squared += std::pow(log_of(predicted, start) - log_of(static_cast<double>(ratings.ratings[k]), start), 2);
  }
  return std::sqrt(squared / static_cast<double>(ratings.size()));
}

TEST(RatingTransform, LearnsCountsBetter) {
  const Dataset data = counts(20000);
  ASSERT_TRUE(find_heavy_tails(data.ratings, data.scale)) << "these counts need no transform";
  const Split parts = split_random(data.ratings, 0.2, 3);
  for (const char* model : {"mf", "mlp"}) {
    TrainOptions options;
    set_or_clear(options, "model", model);
    options.device = "cpu";
    options.epochs = 10;
    const double plain = error_of_logs(Trainer(options).train(data, parts.train).model, data, parts.test);
    options.transform = TransformKind::log;
    const Model learnt = Trainer(options).train(data, parts.train).model;
    const double transformed = error_of_logs(learnt, data, parts.test);
    EXPECT_LT(transformed, 0.8 * plain) << model;
    EXPECT_NEAR(*learnt.evaluate(parts.test, {"cpu", 1}).log_rmse, transformed, 1e-5);
  }
}

}  // namespace
}  // namespace curate::test
