// What train() adds to a training by itself: the same model whatever the scale of the ratings, a second training on all
// of them, and an answer to one that diverges.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "curate/trainer.h"
#include "device/device.h"
#include "models/learning_units.h"
#include "support/philox.h"
#include "tests/support/features.h"
#include "tests/support/set_option.h"
#include "train/training_session.h"

namespace curate::test {
namespace {

Dataset dataset_of(std::int64_t ratings = 3000, double noise = 0.4) {
  SyntheticOptions options;
  options.users = static_cast<std::int32_t>(ratings < 1000 ? ratings / 3 : ratings / 40);
  options.items = static_cast<std::int32_t>(ratings < 1000 ? ratings / 4 + 2 : ratings / 50);
  options.ratings = ratings;
  options.rank = 3;
  options.noise = noise;
  return generate_dataset(options).dataset;
}

Dataset scaled(Dataset dataset, float factor, float addend) {
  for (float& rating : dataset.ratings.ratings) {
    rating = factor * rating + addend;
  }
  const RatingScale before = dataset.scale;
  dataset.scale = {factor * before.min + addend, factor * before.max + addend, 0.0F};
  return dataset;
}

TrainOptions options_for(const std::string& model) {
  TrainOptions options;
  set_or_clear(options, "model", model);
  options.dim = 8;
  options.epochs = 5;
  options.device = "cpu";
  options.threads = 2;
  return options;
}

struct ScaledWay {
  const char* name;
  const char* model;
  const char* key = "";
  const char* value = "";
};

void PrintTo(const ScaledWay& way, std::ostream* out) {
  *out << way.name;
}

class AnyScale : public testing::TestWithParam<ScaledWay> {};

// Catches: anything that is meant in stars: a rate, an L2, a first prediction, a limit of the output, an error that is
// reported in units.
TEST_P(AnyScale, gives_the_same_model) {
  const Dataset stars = dataset_of();
  TrainOptions options = options_for(GetParam().model);
  options.epochs = 15;
  if (*GetParam().key != '\0') {
    set_or_clear(options, GetParam().key, GetParam().value);
  }
  const TrainResult expected = Trainer(options).train(stars, stars.ratings);
  ASSERT_GT(expected.best_epoch, 0);
  for (const auto& [factor, addend] : {std::pair(0.01F, 0.0F), {20.0F, 0.0F}, {1.0F, -3.0F}, {1.0F, 100.0F}}) {
    SCOPED_TRACE(std::to_string(factor) + " " + std::to_string(addend));
    const Dataset other = scaled(stars, factor, addend);
    const TrainResult got = Trainer(options).train(other, other.ratings);
    const double unit = static_cast<double>(factor);
    EXPECT_EQ(got.best_epoch, expected.best_epoch);
    EXPECT_NEAR(got.validation->rmse / unit, expected.validation->rmse, 1e-4);
    EXPECT_NEAR(got.train.rmse / unit, expected.train.rmse, 1e-4);
    EXPECT_NEAR(got.train.mae / unit, expected.train.mae, 1e-4);
    EXPECT_NEAR(got.history.back().train_rmse / unit, expected.history.back().train_rmse, 1e-4);
    EXPECT_NEAR(got.model.evaluate(other.ratings, {"cpu", 1}).rmse, got.train.rmse, 1e-5 * unit);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, AnyScale,
                         testing::Values(ScaledWay{"mf", "mf"}, ScaledWay{"mf_adam", "mf", "optimizer", "adam"},
                                         ScaledWay{"mlp", "mlp"}, ScaledWay{"mlp_relu", "mlp", "output", "relu"},
                                         ScaledWay{"mlp_sigmoid", "mlp", "output", "sigmoid"},
                                         ScaledWay{"neumf", "neumf"}),
                         [](const auto& way) { return std::string(way.param.name); });

// Catches: raw ratings that are not, and errors that come back in units.
TEST(Units, RawLearnsInRatings) {
  const Dataset stars = dataset_of();
  TrainOptions options = options_for("mf");
  const double spread = Trainer(options).train(stars, stars.ratings).train.rmse;
  options.units = UnitsKind::raw;
  const double raw = Trainer(options).train(stars, stars.ratings).train.rmse;
  EXPECT_NE(raw, spread);
  // Rates and L2 that say the same in the other units: lr / s, L2 * s for factors, which leaves the biases' alone.
  options.biases = false;
  options.row_reg = 0.0;
  options.units = UnitsKind::spread;
  options.learning_rate = 0.03;
  options.reg = 0.05;
  options.init_scale = 0.1;
  options.refit = false;
  options.validation = 0.0;
  const double s = spread_of(stars.ratings.ratings).deviation;
  const TrainResult in_units = Trainer(options).train(stars, stars.ratings);
  options.units = UnitsKind::raw;
  options.learning_rate = 0.03 / s;
  options.reg = 0.05 * s;
  options.init_scale = 0.1 * std::sqrt(s);
  const TrainResult same = Trainer(options).train(stars, stars.ratings);
  EXPECT_NEAR(same.train.rmse, in_units.train.rmse, 1e-4);
}

// Catches: a refit on the ratings of the first training, one of another number of epochs or of another seed, and errors
// or counts that come from the wrong one of the two.
TEST(Refit, TrainsOnAllRatingsForTheEpochsChosen) {
  const Dataset dataset = dataset_of(3000, 0.05);
  for (const char* model : {"mf", "mlp"}) {
    SCOPED_TRACE(model);
    TrainOptions options = options_for(model);
    options.epochs = 12;
    options.validation = 0.2;
    std::int32_t refit_epochs = 0;
    std::vector<EpochRecord> told;
    TrainEvents events;
    events.on_refit = [&](std::int32_t epochs) { refit_epochs = epochs; };
    events.on_epoch = [&](const EpochRecord& record) { told.push_back(record); };
    const TrainResult result = Trainer(options).train(dataset, dataset.ratings, events);
    ASSERT_TRUE(result.refit);
    ASSERT_GT(result.best_epoch, 0);
    EXPECT_EQ(static_cast<std::int32_t>(result.refit->history.size()), refit_epochs);
    const double best = result.best_epoch;
    const double part = best / 12.0;
    EXPECT_EQ(refit_epochs,
              std::lround(best * (options.model == ModelKind::mf ? 2.0 - part : 1.0 + 1.3 * part * (1.0 - part))))
        << best;
    EXPECT_EQ(told.size(), result.history.size() + result.refit->history.size());
    EXPECT_EQ(result.train.ratings, 3000);
    EXPECT_EQ(result.validation->ratings, 600);
    EXPECT_LT(result.refit->seconds, result.seconds);

    TrainOptions first = options;
    first.refit = false;
    const TrainResult chosen = Trainer(first).train(dataset, dataset.ratings);
    EXPECT_FALSE(chosen.refit);
    EXPECT_EQ(result.best_epoch, chosen.best_epoch);
    EXPECT_EQ(result.validation->rmse, chosen.validation->rmse);

    TrainOptions all = options;
    all.validation = 0.0;
    all.epochs = refit_epochs;
    const TrainResult expected = Trainer(all).train(dataset, dataset.ratings);
    EXPECT_EQ(result.model.parts().item_counts, expected.model.parts().item_counts);
    if (options.model == ModelKind::mf) {
      // It starts from a bias model with the ridges of the first training.
      EXPECT_NEAR(result.train.rmse, expected.train.rmse, 2e-3);
      continue;
    }
    for (const auto& [name, tensor] : expected.model.parts().tensors) {
      if (name.starts_with("fallback.")) {
        continue;  // of that bias model
      }
      EXPECT_EQ(result.model.parts().tensors.at(name).values, tensor.values) << name;
    }
    EXPECT_EQ(result.train.rmse, expected.train.rmse);
  }
}

TEST(Refit, IsLeftOutWithoutAValidationPart) {
  const Dataset dataset = dataset_of();
  TrainOptions options = options_for("mf");
  options.validation = 0.0;
  EXPECT_FALSE(Trainer(options).train(dataset, dataset.ratings).refit);
}

double error_of_mean(const Dataset& dataset) {
  return spread_of(dataset.ratings.ratings).deviation;
}

// Catches: a rate that does not fall, an optimizer or parameters that keep what went wrong, and epochs that go on
// counting.
TEST(Divergence, StartsOverAtHalfTheRate) {
  const Dataset dataset = dataset_of();
  for (const char* optimizer : {"sgd", "adam"}) {
    SCOPED_TRACE(optimizer);
    TrainOptions options = options_for("mf");
    set_or_clear(options, "optimizer", optimizer);
    options.refit = false;
    const bool adam = options.optimizer == OptimizerChoice::adam;
    // Adam steps by its rate however large the gradient is.
    for (double rate = adam ? 4.0 : 0.5; rate < 1e4; rate *= 1.3) {
      options.learning_rate = rate;
      std::vector<Divergence> told;
      TrainEvents events;
      events.on_divergence = [&](const Divergence& divergence) { told.push_back(divergence); };
      const TrainResult result = Trainer(options).train(dataset, dataset.ratings, events);
      ASSERT_EQ(told.size(), result.divergences.size());
      if (told.empty() || !told.back().next_rate) {
        ASSERT_TRUE(told.empty()) << "no rate diverged once and not to the end";
        continue;
      }
      EXPECT_NEAR(told.front().learning_rate, rate, 1e-5 * rate);
      EXPECT_NEAR(*told.front().next_rate, rate / 2, 1e-5 * rate);
      EXPECT_EQ(result.history.size(), 5U);
      EXPECT_EQ(result.history.front().epoch, 1);
      // The same training at the rate that did not diverge.
      TrainOptions straight = options;
      straight.learning_rate = *told.back().next_rate;
      const TrainResult expected = Trainer(straight).train(dataset, dataset.ratings);
      EXPECT_TRUE(expected.divergences.empty());
      EXPECT_EQ(result.train.rmse, expected.train.rmse);
      break;
    }
  }
}

TEST(Divergence, IsGivenUpAfterThreeRestartsAndTheStartIsLeft) {
  const Dataset dataset = dataset_of();
  for (const char* model : {"mf", "mlp", "neumf"}) {
    for (const double validation : {0.1, 0.0}) {
      SCOPED_TRACE(std::string(model) + " " + std::to_string(validation));
      TrainOptions options = options_for(model);
      options.optimizer = OptimizerChoice::sgd;
      options.batch = options.model == ModelKind::mf ? 1 : 16;
      options.learning_rate = 1e5;
      options.validation = validation;
      const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
      ASSERT_EQ(result.divergences.size(), 4U);
      EXPECT_FALSE(result.divergences.back().next_rate);
      EXPECT_EQ(result.best_epoch, 0);
      // The start is the bias model: of networks in their dot product.
      TrainOptions bias;
      bias.model = ModelKind::bias;
      bias.device = "cpu";
      bias.validation = validation;
      const Metrics expected = Trainer(bias).train(dataset, dataset.ratings).train;
      EXPECT_NEAR(result.model.evaluate(dataset.ratings, {"cpu", 1}).rmse, expected.rmse, 1e-5);
      EXPECT_LT(expected.rmse, 0.9 * error_of_mean(dataset));
      EXPECT_EQ(result.refit.has_value(), validation > 0.0);
      EXPECT_EQ(result.model.parts().user_counts.size(), static_cast<std::size_t>(dataset.users.size()));
      EXPECT_EQ(result.train.ratings, dataset.ratings.size()) << "the start is that of all ratings";
    }
  }
}

// Catches: a network that is left with the mean, or as it is, where the bias model predicts better, and a model that is
// kept for what is better by chance.
TEST(Start, IsLeftForWhatIsClearlyBetterAlone) {
  for (const char* model : {"mf", "mlp", "neumf"}) {
    int kept = 0;
    int left = 0;
    for (const bool biases_alone : {true, false}) {
      for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SyntheticOptions synthetic;
        synthetic.users = 150;
        synthetic.items = 60;
        synthetic.ratings = 4000;
        synthetic.rank = 3;
        synthetic.noise = 0.2;
        synthetic.seed = seed;
        Dataset dataset = generate_dataset(synthetic).dataset;
        for (std::size_t n = 0; biases_alone && n < dataset.ratings.ratings.size(); ++n) {
          const double luck = uniform_double(philox(seed, n, 0, RandomPurpose::validation).low64());
          const double rating =
              2.0 + 0.1 * (dataset.ratings.users[n] % 9) + 0.1 * (dataset.ratings.items[n] % 7) + 2.0 * luck;
          dataset.ratings.ratings[n] = static_cast<float>(std::round(2.0 * rating) / 2.0);
        }
        TrainOptions options = options_for(model);
        options.epochs.reset();
        options.seed = seed;
        options.refit = false;
        const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
        const double bias = result.baseline->validation->rmse;
        if (result.best_epoch == 0) {
          ++kept;
          EXPECT_NEAR(result.validation->rmse, bias, 1e-4 * bias);
        } else {
          ++left;
          EXPECT_LE(result.validation->rmse, (1.0 - 0.1 / std::sqrt(200.0)) * bias);
        }
      }
    }
    EXPECT_GT(kept, 0) << model;
    EXPECT_GT(left, 0) << model;
  }
}

// Catches: a model of NaN where there is no mean to go back to.
TEST(Divergence, WithoutAMeanLeavesFiniteNumbers) {
  const Dataset dataset = dataset_of();
  TrainOptions options = options_for("mf");
  options.global_mean = false;
  options.learning_rate = 1e5;
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  ASSERT_EQ(result.divergences.size(), 4U);
  EXPECT_TRUE(std::isfinite(result.model.evaluate(dataset.ratings, {"cpu", 1}).rmse));
}

// Catches: a session that goes on at the rate that diverged.
TEST(Divergence, ASessionThatGoesOnKeepsTheRate) {
  const Dataset dataset = dataset_of();
  TrainOptions options = options_for("mf");
  options.deterministic = true;
  const auto device = make_device("cpu", 1);
  for (options.learning_rate = 0.5; *options.learning_rate < 1e4; *options.learning_rate *= 1.3) {
    const TrainOptions resolved = resolve(options);
    TrainingSession whole(*device, resolved, dataset, dataset.ratings);
    while (!whole.step()) {
    }
    if (whole.divergences().empty()) {
      continue;
    }
    TrainingSession resumed(*device, resolved, dataset, dataset.ratings);
    resumed.restore(whole.state());
    EXPECT_EQ(resumed.step()->train_rmse, whole.step()->train_rmse);
    return;
  }
  FAIL() << "no rate diverged";
}

// What nobody can learn: the stars are drawn without regard to user and item.
TEST(Divergence, NoiseIsPredictedByTheMean) {
  Dataset dataset = dataset_of(400);
  std::uint32_t state = 1;
  for (float& rating : dataset.ratings.ratings) {
    state = state * 1664525U + 1013904223U;
    rating = 1.0F + static_cast<float>((state >> 24U) % 5U);
  }
  dataset.scale = {1.0F, 5.0F, 1.0F};
  for (const char* model : {"mf", "mlp"}) {
    TrainOptions options = options_for(model);
    options.reg = 0.0;
    options.validation = 0.3;
    options.epochs = 30;
    options.init_scale = 1.0;
    const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
    EXPECT_LE(result.validation->rmse, 1.02 * result.baseline->validation->rmse) << model;
  }
}

class FewRatings : public testing::TestWithParam<int> {};

// Catches: a rate in proportion to a batch that the ratings do not fill.
TEST_P(FewRatings, NeitherDivergeNorMissTheMean) {
  for (const char* model : {"mf", "mlp", "neumf"}) {
    for (const bool features : {false, true}) {
      SCOPED_TRACE(std::string(model) + (features ? " with features" : ""));
      Dataset dataset = dataset_of(GetParam());
      TrainOptions options = options_for(model);
      options.epochs.reset();
      options.dim.reset();
      if (features) {
        std::vector<std::vector<std::int32_t>> kinds(static_cast<std::size_t>(dataset.items.size()));
        for (std::size_t item = 0; item < kinds.size(); ++item) {
          kinds[item] = {static_cast<std::int32_t>(item % 3)};
        }
        options.features = "kind";
        dataset.features = {make_feature("kind", FeatureSide::item, 3, kinds)};
      }
      const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
      EXPECT_TRUE(result.divergences.empty());
      EXPECT_LE(result.train.rmse, 1.0001 * error_of_mean(dataset));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Counts, FewRatings, testing::Values(20, 50, 100));

}  // namespace
}  // namespace curate::test
