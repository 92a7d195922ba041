#include "curate/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "curate/error.h"
#include "curate/predictor.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "tests/support/set_option.h"

namespace curate {
namespace {

Dataset small_dataset(std::int64_t ratings = 4000) {
  SyntheticOptions options;
  options.users = 120;
  options.items = 90;
  options.ratings = ratings;
  options.rank = 3;
  options.noise = 0.4;
  return generate_dataset(options).dataset;
}

TrainOptions small_options() {
  TrainOptions options;
  options.dim = 8;
  options.epochs = 8;
  options.device = "cpu";
  options.threads = 2;
  // What is asked here is asked of a training by itself, with numbers that are meant in stars.
  options.units = UnitsKind::raw;
  options.refit = false;
  return options;
}

struct TrainerWay {
  const char* name;
  const char* optimizer;
  std::int64_t batch;
  double learning_rate;
  bool dense;
  const char* model = "mf";
};

void PrintTo(const TrainerWay& way, std::ostream* out) {
  *out << way.name;
}

class EveryWay : public testing::TestWithParam<TrainerWay> {
 protected:
  static TrainOptions options() {
    TrainOptions options = small_options();
    test::set_or_clear(options, "model", GetParam().model);
    test::set_or_clear(options, "optimizer", GetParam().optimizer);
    options.batch = GetParam().batch;
    options.learning_rate = GetParam().learning_rate;
    options.dense_updates = GetParam().dense;
    return options;
  }
};

TEST_P(EveryWay, OverfitsFiftyRatings) {
  const Dataset dataset = small_dataset(4000);
  Split split = split_random(dataset.ratings, 50.0 / 4000.0, 3);
  ASSERT_EQ(split.test.size(), 50);
  TrainOptions overfit = options();
  overfit.epochs = 600;
  overfit.dim = 16;
  overfit.reg = 0.0;
  overfit.validation = 0.0;
  overfit.init_scale = 0.1;
  overfit.clip = false;
  test::set_or_clear(overfit, "dropout", overfit.model == ModelKind::mlp ? "0" : "");
  const TrainResult result = Trainer(overfit).train(dataset, split.test);
  EXPECT_LT(result.train.rmse, 0.02);
  EXPECT_EQ(result.best_epoch, 600);
}

TEST_P(EveryWay, SameSeedSameBitsOnAnyThreadCountAndStream) {
  const Dataset dataset = small_dataset();
  TrainOptions one = options();
  one.epochs = 3;
  one.threads = 1;
  TrainOptions three = one;
  three.threads = 3;
  TrainOptions other_seed = one;
  other_seed.seed = 2;
  const TrainResult a = Trainer(one).train(dataset, dataset.ratings);
  const TrainResult b = Trainer(three).train(dataset, dataset.ratings);
  const TrainResult c = Trainer(other_seed).train(dataset, dataset.ratings);
  for (const auto& [name, tensor] : a.model.parts().tensors) {
    EXPECT_EQ(tensor.values, b.model.parts().tensors.at(name).values) << name;
  }
  EXPECT_NE(a.model.parts().tensors.at("user.embedding").values, c.model.parts().tensors.at("user.embedding").values);
}

TEST_P(EveryWay, LearnsBetterThanTheMean) {
  const Dataset dataset = small_dataset();
  const Split split = split_random(dataset.ratings, 0.2, 1);
  TrainOptions longer = options();
  longer.epochs = 30;
  const TrainResult result = Trainer(longer).train(dataset, split.train);
  double squared = 0.0;
  for (const float rating : split.test.ratings) {
    const double deviation = static_cast<double>(rating - result.model.parts().tensors.at("fallback.mean").values[0]);
    squared += deviation * deviation;
  }
  const double mean_rmse = std::sqrt(squared / static_cast<double>(split.test.size()));
  EXPECT_LT(result.model.evaluate(split.test, {"cpu", 1}).rmse, 0.85 * mean_rmse);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, EveryWay,
    testing::Values(TrainerWay{"mlp_sgd", "sgd", 16, 0.05, false, "mlp"},
                    TrainerWay{"mlp_adagrad", "adagrad", 16, 0.05, false, "mlp"},
                    TrainerWay{"mlp_adam", "adam", 16, 0.003, false, "mlp"},
                    TrainerWay{"mlp_adam_dense", "adam", 16, 0.003, true, "mlp"},
                    TrainerWay{"per_rating", "sgd", 1, 0.05, false}, TrainerWay{"sgd", "sgd", 16, 0.3, false},
                    TrainerWay{"sgd_dense", "sgd", 16, 0.3, true}, TrainerWay{"adagrad", "adagrad", 16, 0.1, false},
                    TrainerWay{"adam", "adam", 16, 0.01, false}, TrainerWay{"adam_dense", "adam", 16, 0.01, true}),
    [](const auto& way) { return std::string(way.param.name); });

TEST(Trainer, MaeLossLowersTheAbsoluteError) {
  const Dataset dataset = small_dataset();
  TrainOptions options = small_options();
  options.optimizer = OptimizerChoice::adam;
  options.loss = LossKind::mae;
  options.batch = 32;
  options.learning_rate = 0.01;
  options.epochs = 1;
  const double first = Trainer(options).train(dataset, dataset.ratings).train.mae;
  options.epochs = 20;
  EXPECT_LT(Trainer(options).train(dataset, dataset.ratings).train.mae, 0.9 * first);
}

TEST(Trainer, NetworkWithDropoutIsTheSameOnAnyThreadCountAndSavedToTheSameDigit) {
  const Dataset dataset = small_dataset();
  const Split split = split_random(dataset.ratings, 0.2, 1);
  TrainOptions options = small_options();
  options.model = ModelKind::mlp;
  options.layers = {12, 6};
  options.activations = {ActivationKind::tanh, ActivationKind::relu};
  options.output = ActivationKind::sigmoid;
  options.dropout = {0.2, 0.3};
  options.dense_dropout = 0.1;
  options.batch = 700;  // several pieces of work a step, and a short last batch
  options.epochs = 3;
  options.threads = 1;
  const Model one = Trainer(options).train(dataset, split.train).model;
  options.threads = 3;
  const Model three = Trainer(options).train(dataset, split.train).model;
  for (const auto& [name, tensor] : one.parts().tensors) {
    EXPECT_EQ(tensor.values, three.parts().tensors.at(name).values) << name;
  }
  const std::string folder = testing::TempDir() + "/curate_trainer_test_mlp";
  std::filesystem::create_directories(folder);
  one.save(folder);
  const Model loaded = Model::load(folder);
  EXPECT_EQ(loaded.parts().spec.activations, (std::vector<std::string>{"tanh", "relu", "sigmoid"}));
  EXPECT_EQ(loaded.evaluate(split.test, {"cpu", 1}).rmse, one.evaluate(split.test, {"cpu", 3}).rmse);
  std::filesystem::remove_all(folder);
}

TEST(Trainer, KeepsTheEpochWithTheLowestValidationError) {
  const Dataset dataset = small_dataset();
  TrainOptions options = small_options();
  options.reg = 0.0;  // overfits: the best epoch is not the last
  options.dim = 32;
  options.init_scale = 0.3;
  options.schedule = ScheduleKind::constant;
  options.epochs = 40;
  options.validation = 0.2;
  options.learning_rate = 0.1;
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  const auto best = std::min_element(result.history.begin(), result.history.end(), [](const auto& a, const auto& b) {
    return *a.validation_rmse < *b.validation_rmse;
  });
  ASSERT_LT(best->epoch, 40);
  EXPECT_EQ(result.best_epoch, best->epoch);
  EXPECT_EQ(result.validation->rmse, *best->validation_rmse);

  // The same run stopped right there ends with the same parameters.
  TrainOptions stopped = options;
  stopped.epochs = best->epoch;
  const TrainResult again = Trainer(stopped).train(dataset, dataset.ratings);
  EXPECT_EQ(result.model.parts().tensors.at("item.embedding").values,
            again.model.parts().tensors.at("item.embedding").values);

  TrainOptions patient = options;
  patient.patience = 3;
  const TrainResult early = Trainer(patient).train(dataset, dataset.ratings);
  EXPECT_EQ(static_cast<std::int32_t>(early.history.size()), early.best_epoch + 3);
}

TEST(Trainer, WarmupRaisesTheRateOverTheFirstSteps) {
  const Dataset dataset = small_dataset();
  TrainOptions options = small_options();
  options.optimizer = OptimizerChoice::sgd;
  options.batch = 400;  // ten steps an epoch
  options.validation = 0.0;
  options.schedule = ScheduleKind::constant;
  options.learning_rate = 4.0;
  options.epochs = 4;
  options.warmup = 2.0;
  const TrainResult slow = Trainer(options).train(dataset, dataset.ratings);
  const std::vector<double> expected = {4.0 * 1 / 20, 4.0 * 11 / 20, 4.0, 4.0};
  for (std::size_t epoch = 0; epoch < expected.size(); ++epoch) {
    EXPECT_NEAR(slow.history[epoch].learning_rate, expected[epoch], 1e-6) << epoch;
  }

  // The device follows it: the first steps move little.
  options.epochs = 1;
  options.warmup = 0.0;
  const TrainResult whole = Trainer(options).train(dataset, dataset.ratings);
  options.warmup = 1.0;
  const TrainResult warm = Trainer(options).train(dataset, dataset.ratings);
  options.warmup = 0.1;  // one step, at the whole rate
  const TrainResult one_step = Trainer(options).train(dataset, dataset.ratings);
  const auto bias = [](const TrainResult& result) {
    double squared = 0.0;
    for (const float value : result.model.parts().tensors.at("item.bias").values) {
      squared += static_cast<double>(value) * static_cast<double>(value);
    }
    return std::sqrt(squared);
  };
  EXPECT_LT(bias(warm), 0.75 * bias(whole));
  EXPECT_EQ(bias(one_step), bias(whole));
  EXPECT_GT(slow.history[0].train_rmse, warm.history[0].train_rmse) << "a warm-up of two epochs learns less in one";
}

// Two ratings of two users, no factors: biases step by lr g / (1 + damping |g|) with g = 2 (0 - 3.5).
TEST(Trainer, DampedStepsAreShorterTheLargerTheGradient) {
  Dataset dataset;
  dataset.ratings.users = {dataset.users.find_or_add(7), dataset.users.find_or_add(6)};
  dataset.ratings.items = {dataset.items.find_or_add(8), dataset.items.find_or_add(9)};
  dataset.ratings.ratings = {3.5F, 3.5F};
  dataset.scale = {0.5F, 5.0F, 0.5F};
  TrainOptions options = small_options();
  options.optimizer = OptimizerChoice::sgd;
  options.init_scale = 0.0;
  options.global_mean = false;
  options.validation = 0.0;
  options.reg = 0.0;
  options.epochs = 1;
  options.batch = 8192;
  options.learning_rate = 0.1 * 8192;  // 0.1 a rating
  options.damping = 0.5;
  const auto bias = [&] {
    return Trainer(options).train(dataset, dataset.ratings).model.parts().tensors.at("user.bias").values[0];
  };
  EXPECT_NEAR(bias(), 0.1 * 7.0 / (1.0 + 0.5 * 7.0), 1e-6);
  options.damping = 1e-6;
  EXPECT_NEAR(bias(), 0.1 * 7.0, 1e-5) << "without damping it is SGD";
  dataset.ratings = {{0}, {0}, {3.5F}, {}};
  EXPECT_LT(bias(), 2.0F) << "a single rating is no larger a batch";
}

// 257 ratings in batches of 32 would leave one, with the rate of 32: it would throw its user's bias off by stars.
TEST(Trainer, NoRatingIsLeftOverForABatchOfItsOwn) {
  const Dataset dataset = small_dataset(257);
  TrainOptions options = small_options();
  options.optimizer = OptimizerChoice::sgd;
  options.batch = 32;
  options.schedule = ScheduleKind::constant;
  options.epochs = 1;
  options.validation = 0.0;
  options.reg = 0.0;
  const auto furthest = [&] {
    const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
    float most = 0.0F;
    for (const float bias : result.model.parts().tensors.at("user.bias").values) {
      most = std::max(most, std::abs(bias));
    }
    return most;
  };
  EXPECT_LT(furthest(), 1.0F);
  options.batch = 256;  // 257 ratings: one batch of some 230 and a rest, and not one of 256 and one rating
  EXPECT_LT(furthest(), 1.0F);
}

// Four steps an epoch instead of some seventy.
TEST(Trainer, DefaultsOfLargeBatchesKeepAccuracy) {
  SyntheticOptions synthetic;
  synthetic.users = 500;
  synthetic.items = 200;
  synthetic.ratings = 40000;
  synthetic.rank = 3;
  synthetic.noise = 0.4;
  const Dataset dataset = generate_dataset(synthetic).dataset;
  const Split split = split_random(dataset.ratings, 0.1, 1);
  for (const char* optimizer : {"sgd", "adam"}) {
    TrainOptions options = small_options();
    test::set_or_clear(options, "optimizer", optimizer);
    options.epochs = 20;
    options.batch = 512;
    const auto train = [&] { return Trainer(options).train(dataset, split.train).model; };
    const double small = train().evaluate(split.test, {"cpu", 1}).rmse;
    options.batch = 10000;
    const Model large = train();
    const double rmse = large.evaluate(split.test, {"cpu", 1}).rmse;
    if (options.optimizer == OptimizerChoice::sgd) {
      EXPECT_LT(rmse, 1.01 * small);
    }
    options.threads = 1;
    EXPECT_EQ(train().parts().tensors.at("item.embedding").values, large.parts().tensors.at("item.embedding").values)
        << optimizer;
    // With the rates of small batches.
    options.damping = 0.0;
    options.beta1 = 0.9;
    options.beta2 = 0.999;
    options.learning_rate = options.optimizer == OptimizerChoice::sgd ? 0.02 * 4096 : 0.005;
    EXPECT_GT(train().evaluate(split.test, {"cpu", 1}).rmse, 1.02 * rmse) << optimizer;
  }
  TrainOptions plain = small_options();
  plain.optimizer = OptimizerChoice::sgd;
  plain.batch = 10000;
  plain.damping = 0.0;
  EXPECT_FALSE(Trainer(plain).train(dataset, split.train).divergences.empty());
}

TEST(Trainer, NonNegativeFactorsAreNeverBelowZero) {
  const Dataset dataset = small_dataset();
  for (const char* optimizer : {"sgd", "adam"}) {
    TrainOptions options = small_options();
    test::set_or_clear(options, "optimizer", optimizer);
    options.non_negative = true;
    const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
    for (const char* name : {"user.embedding", "item.embedding"}) {
      const auto& values = result.model.parts().tensors.at(name).values;
      EXPECT_GE(*std::min_element(values.begin(), values.end()), 0.0F);
      EXPECT_GT(*std::max_element(values.begin(), values.end()), 0.0F);
    }
    // Biases are free of the constraint.
    const auto& bias = result.model.parts().tensors.at("item.bias").values;
    EXPECT_LT(*std::min_element(bias.begin(), bias.end()), 0.0F);
  }
}

TEST(Trainer, ColdRatingsArePredictedByFallbackAndCounted) {
  Dataset dataset;
  const auto add = [&](RatingTable& table, std::int64_t user, std::int64_t item, float rating) {
    table.users.push_back(dataset.users.find_or_add(user));
    table.items.push_back(dataset.items.find_or_add(item));
    table.ratings.push_back(rating);
  };
  for (std::int64_t user = 0; user < 10; ++user) {
    for (std::int64_t item = 0; item < 10; ++item) {
      add(dataset.ratings, user, item, item < 5 ? 5.0F : 3.0F);
    }
  }
  dataset.scale = {1.0F, 5.0F, 1.0F};
  RatingTable test;
  add(test, 99, 0, 4.0F);  // unknown user, an item that is a star better than the mean
  add(test, 0, 99, 4.0F);  // unknown item, user without offset: 4
  add(test, 99, 99, 4.0F);
  add(test, 0, 0, 5.0F);
  TrainOptions options = small_options();
  options.validation = 0.0;
  const Model model = Trainer(options).train(dataset, dataset.ratings).model;
  const Metrics metrics = model.evaluate(test, {"cpu", 1});
  EXPECT_EQ(metrics.ratings, 4);
  EXPECT_EQ(metrics.cold_ratings, 3);
  TrainOptions bias;
  bias.model = ModelKind::bias;
  bias.validation = 0.0;
  bias.device = "cpu";
  const Predictor of_bias(Trainer(bias).train(dataset, dataset.ratings).model, {"cpu", 1});
  const double offset = static_cast<double>(of_bias.predict(99, 0).rating) - 4.0;
  EXPECT_NEAR(offset, 1.0, 0.05) << "items' offsets hold without an exception";
  EXPECT_NEAR(metrics.cold_rmse, std::sqrt(offset * offset / 3.0), 1e-6);
  EXPECT_NEAR(metrics.mse, (offset * offset + metrics.warm_rmse * metrics.warm_rmse) / 4.0, 1e-6);

  const std::vector<RawPair> pairs = {{99, 0}, {0, 99}, {99, 99}, {0, 0}, {12345, 67890}};
  const std::vector<Prediction> predictions = model.predict(pairs, {"cpu", 1});
  EXPECT_EQ(predictions[0].basis, PredictionBasis::item_mean);
  EXPECT_NEAR(static_cast<double>(predictions[0].rating), 4.0 + offset, 1e-6);
  EXPECT_EQ(predictions[1].basis, PredictionBasis::user_mean);
  EXPECT_EQ(predictions[2].basis, PredictionBasis::global_mean);
  EXPECT_FLOAT_EQ(predictions[2].rating, 4.0F);
  EXPECT_EQ(predictions[3].basis, PredictionBasis::model);
  EXPECT_EQ(predictions[4].basis, PredictionBasis::global_mean);
}

TEST(Trainer, RefusesNoRatings) {
  const Dataset dataset = small_dataset();
  EXPECT_THROW(Trainer(small_options()).train(dataset, {}), InputError);
}

TEST(Trainer, OneRatingTrains) {
  Dataset dataset;
  dataset.ratings.users = {dataset.users.find_or_add(7)};
  dataset.ratings.items = {dataset.items.find_or_add(8)};
  dataset.ratings.ratings = {3.5F};
  dataset.scale = {3.5F, 3.5F, 0.5F};
  const TrainResult result = Trainer(small_options()).train(dataset, dataset.ratings);
  EXPECT_EQ(result.train.ratings, 1);
  EXPECT_FALSE(result.validation.has_value());
}

}  // namespace
}  // namespace curate
