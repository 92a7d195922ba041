// What the driver of a training promises whatever it trains: which ratings, in which order, at which rate, what an
// epoch reports, and which model comes back.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "curate/trainer.h"
#include "tests/support/compare.h"
#include "tests/support/recording_device.h"
#include "tests/support/set_option.h"

namespace curate::test {
namespace {

Dataset driver_dataset() {
  SyntheticOptions options;
  options.users = 40;
  options.items = 30;
  options.ratings = 500;
  options.rank = 3;
  options.noise = 0.4;
  return generate_dataset(options).dataset;
}

void add_rating(Dataset& dataset, std::int64_t user, std::int64_t item, float rating) {
  dataset.ratings.users.push_back(dataset.users.find_or_add(user));
  dataset.ratings.items.push_back(dataset.items.find_or_add(item));
  dataset.ratings.ratings.push_back(rating);
}

/// `users` users with one rating each, of half-stars from 0.5 to 5: training counts say which ratings were held out.
Dataset one_rating_a_user(std::int64_t users) {
  Dataset dataset;
  for (std::int64_t user = 0; user < users; ++user) {
    add_rating(dataset, user, user % 3, 0.5F * static_cast<float>(1 + 7 * user % 10));
  }
  dataset.scale = {0.5F, 5.0F, 0.5F};
  return dataset;
}

struct DriverWay {
  const char* name;
  const char* model;
  const char* optimizer;
  std::int64_t batch;
  double learning_rate;
};

void PrintTo(const DriverWay& way, std::ostream* out) {
  *out << way.name;
}

constexpr DriverWay kPerRating = {"per_rating", "mf", "sgd", 1, 0.05};
constexpr DriverWay kMf = {"mf", "mf", "adam", 64, 0.03};
constexpr DriverWay kMlp = {"mlp", "mlp", "adam", 64, 0.01};
constexpr DriverWay kNeumf = {"neumf", "neumf", "adam", 64, 0.01};

TrainOptions options_of(const DriverWay& way) {
  TrainOptions options;
  set_or_clear(options, "model", way.model);
  set_or_clear(options, "optimizer", way.optimizer);
  options.batch = way.batch;
  options.learning_rate = way.learning_rate;
  options.dim = 8;
  if (options.model != ModelKind::mf) {
    options.layers = {8};
    options.dropout = {0, 0};
  }
  options.epochs = 3;
  options.seed = 5;
  options.device = "cpu";
  options.threads = 1;
  // A training by itself, with rates that are meant in stars.
  options.units = UnitsKind::raw;
  options.refit = false;
  return options;
}

class Driver : public testing::TestWithParam<DriverWay> {};

INSTANTIATE_TEST_SUITE_P(ways, Driver, testing::Values(kPerRating, kMf, kMlp, kNeumf),
                         [](const testing::TestParamInfo<DriverWay>& way) { return std::string(way.param.name); });

/// The part held out in a training on one_rating_a_user().
std::set<std::size_t> users_held_out(const Model& model) {
  std::set<std::size_t> users;
  for (std::size_t user = 0; user < model.parts().user_counts.size(); ++user) {
    if (model.parts().user_counts[user] == 0) {
      users.insert(user);
    }
  }
  return users;
}

TEST_P(Driver, validation_part_is_drawn_by_the_seed) {
  const Dataset dataset = one_rating_a_user(60);
  TrainOptions options = options_of(GetParam());
  options.epochs = 1;
  options.validation = 0.25;
  const auto held_out = [&](std::uint64_t seed) {
    options.seed = seed;
    const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
    EXPECT_EQ(result.train.ratings, 45);
    EXPECT_EQ(result.validation->ratings, 15);
    return users_held_out(result.model);
  };
  const std::set<std::size_t> first = held_out(1);
  EXPECT_EQ(first.size(), 15U);
  EXPECT_EQ(held_out(1), first);
  EXPECT_NE(held_out(2), first);
}

TEST_P(Driver, nothing_is_learnt_from_the_validation_part) {
  const Dataset dataset = one_rating_a_user(60);
  TrainOptions options = options_of(GetParam());
  options.epochs = 1;
  options.validation = 0.25;
  set_or_clear(options, "output", options.model == ModelKind::mf ? "" : "linear");
  // The last bias of a network stays where it starts.
  options.learning_rate = options.model == ModelKind::mf ? options.learning_rate : 1e-12;
  const Model model = Trainer(options).train(dataset, dataset.ratings).model;
  const std::set<std::size_t> held_out = users_held_out(model);
  ASSERT_EQ(held_out.size(), 15U);
  double sum = 0.0;
  double sum_of_all = 0.0;
  for (std::size_t n = 0; n < 60; ++n) {
    const auto rating = static_cast<double>(dataset.ratings.ratings[n]);
    sum += held_out.count(n) > 0 ? 0.0 : rating;
    sum_of_all += rating;
  }
  const double mean = sum / 45.0;
  ASSERT_GT(std::abs(mean - sum_of_all / 60.0), 1e-3) << "data that cannot tell";
  const TensorMap& tensors = model.parts().tensors;
  EXPECT_NEAR(static_cast<double>(tensors.at("fallback.mean").values[0]), mean, 1e-6);
  const char* const start = options.model == ModelKind::mf ? "global_mean" : "dense.1.bias";
  EXPECT_NEAR(static_cast<double>(tensors.at(start).values.at(0)), mean, 1e-6);
}

// Epochs as a device sees them.

Recording record(TrainOptions options, const Dataset& dataset) {
  start_recording();
  options.device = "recording";
  Trainer(options).train(dataset, dataset.ratings);
  return recording();
}

TEST_P(Driver, every_epoch_has_all_ratings_in_an_order_of_its_own) {
  const Dataset dataset = driver_dataset();
  TrainOptions options = options_of(GetParam());
  options.validation = 0.1;
  const bool per_rating = options.batch == 1;
  constexpr std::int64_t kRatings = 450;
  const Recording got = record(options, dataset);
  ASSERT_EQ(got.epochs.size(), 3U);
  std::set<std::vector<std::int32_t>> orders;
  for (std::size_t e = 0; e < 3; ++e) {
    SCOPED_TRACE(e);
    const Recording::Epoch& epoch = got.epochs[e];
    // What the order is drawn by, of mini-batches and of per-rating SGD.
    EXPECT_EQ(epoch.start.seed, 5U);
    EXPECT_EQ(epoch.start.epoch, static_cast<std::int64_t>(e));
    EXPECT_EQ(epoch.start.num_ratings, kRatings);
    EXPECT_EQ(epoch.sums.count, kRatings) << "every rating is learnt once";
    if (!per_rating) {
      std::int64_t count = 0;
      for (const StepState& step : epoch.steps) {
        EXPECT_EQ(step.batch_begin, count);
        count += step.batch_count;
      }
      EXPECT_EQ(count, kRatings);
      std::vector<std::int32_t> all(kRatings);
      std::iota(all.begin(), all.end(), 0);
      std::vector<std::int32_t> sorted = epoch.order;
      std::sort(sorted.begin(), sorted.end());
      EXPECT_EQ(sorted, all);
      orders.insert(epoch.order);
    }
  }
  EXPECT_EQ(orders.size(), per_rating ? 0U : 3U);
  options.seed = 6;
  const Recording other = record(options, dataset);
  ASSERT_EQ(other.epochs.size(), 3U);
  EXPECT_EQ(other.epochs[0].start.seed, 6U);
  if (per_rating) {
    ASSERT_EQ(got.plans.size(), 1U);
    EXPECT_EQ(got.plans[0].seed, 5U);
    EXPECT_EQ(other.plans[0].seed, 6U);
  } else {
    EXPECT_NE(other.epochs[0].order, got.epochs[0].order);
  }
}

// Catches: a rate that stays, that falls by epochs, that begins anew with every epoch, a warm-up that is left out.
TEST_P(Driver, rate_follows_the_schedule_step_by_step) {
  const Dataset dataset = driver_dataset();
  for (const ScheduleKind schedule : {ScheduleKind::linear, ScheduleKind::constant}) {
    for (const double warmup : {0.0, 1.5}) {
      TrainOptions options = options_of(GetParam());
      const bool per_rating = options.batch == 1;
      if (per_rating && warmup > 0.0) {
        continue;  // of mini-batches only
      }
      options.validation = 0.0;
      options.schedule = schedule;
      options.warmup = warmup;
      const Recording got = record(options, dataset);
      ASSERT_EQ(got.epochs.size(), 3U);
      const std::int64_t steps = per_rating ? 1 : 8;  // 500 ratings in batches of 64
      std::int64_t step = 0;
      const auto expect_rate = [&](const StepState& state) {
        EXPECT_EQ(state.step, step);
        double rate = options.learning_rate.value();
        if (options.schedule == ScheduleKind::linear) {
          rate *= 1.0 - static_cast<double>(step) / static_cast<double>(3 * steps);
        }
        if (warmup > 0.0) {
          rate *= std::min(1.0, static_cast<double>(step + 1) / (warmup * static_cast<double>(steps)));
        }
        EXPECT_NEAR(static_cast<double>(state.learning_rate), rate, 1e-6 * options.learning_rate.value())
            << name_of(schedule) << ", warm-up " << warmup << ", step " << step;
      };
      for (const Recording::Epoch& epoch : got.epochs) {
        expect_rate(epoch.start);
        ASSERT_EQ(epoch.steps.size(), per_rating ? 0U : static_cast<std::size_t>(steps));
        for (const StepState& state : epoch.steps) {
          expect_rate(state);
          ++step;
        }
        step += per_rating ? 1 : 0;
      }
    }
  }
}

TEST_P(Driver, progress_ends_with_all_ratings_of_every_epoch) {
  const Dataset dataset = driver_dataset();
  TrainOptions options = options_of(GetParam());
  options.validation = 0.1;
  std::map<std::int32_t, std::int64_t> done_of;
  TrainEvents events;
  events.on_progress = [&](std::int32_t epoch, std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 450);
    EXPECT_GT(done, done_of[epoch]);
    EXPECT_LE(done, total);
    done_of[epoch] = done;
  };
  std::vector<std::int32_t> told;
  events.on_epoch = [&](const EpochRecord& record) { told.push_back(record.epoch); };
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings, events);
  EXPECT_EQ(told, (std::vector<std::int32_t>{1, 2, 3}));
  ASSERT_EQ(result.history.size(), 3U);
  if (options.batch > 1) {
    EXPECT_EQ(done_of, (std::map<std::int32_t, std::int64_t>{{1, 450}, {2, 450}, {3, 450}}));
  }
}

// With all ratings in one batch an epoch's predictions are those of the model that the epoch before left.
TEST(DriverReports, train_rmse_is_of_the_epochs_own_predictions) {
  const Dataset dataset = driver_dataset();
  for (const DriverWay& way : {kMf, kMlp, kNeumf}) {
    TrainOptions options = options_of(way);
    options.batch = 500;
    options.learning_rate = 0.05;
    options.schedule = ScheduleKind::constant;
    options.validation = 0.0;
    options.clip = false;
    const TrainResult whole = Trainer(options).train(dataset, dataset.ratings);
    ASSERT_EQ(whole.history.size(), 3U);
    for (const std::size_t epochs : {1U, 2U}) {
      options.epochs = static_cast<std::int32_t>(epochs);
      const double before = Trainer(options).train(dataset, dataset.ratings).train.rmse;
      EXPECT_GT(std::abs(before - whole.history[epochs - 1].train_rmse), 1e-3) << "an epoch that changes nothing";
      EXPECT_NEAR(whole.history[epochs].train_rmse, before, 1e-5) << way.name << ", epoch " << epochs + 1;
    }
  }
}

// Rates as the options have them: one step, with all ratings in its batch.

TensorMap after_one_step(TrainOptions options, const Dataset& dataset) {
  options.batch = dataset.ratings.size();
  options.epochs = 1;
  options.schedule = ScheduleKind::constant;
  options.validation = 0.0;
  options.reg = 0.0;
  options.init_scale = 0.3;
  return Trainer(options).train(dataset, dataset.ratings).model.parts().tensors;
}

std::vector<double> difference(const TensorMap& to, const TensorMap& from, const std::string& name) {
  std::vector<double> values;
  for (std::size_t e = 0; e < from.at(name).values.size(); ++e) {
    values.push_back(static_cast<double>(to.at(name).values.at(e)) - static_cast<double>(from.at(name).values[e]));
  }
  return values;
}

// Vectors move in proportion to the learning rate, and layers to that of Adam, whose first step has its length.
TEST(DriverRates, vectors_learn_by_sgd_and_layers_by_adam) {
  const Dataset dataset = driver_dataset();
  TrainOptions options = options_of(kMlp);
  options.optimizer = OptimizerChoice::sgd_and_adam;
  options.damping = 0.0;
  const auto train = [&](double learning_rate, double adam_lr) {
    options.learning_rate = learning_rate;
    options.adam_lr = adam_lr;
    return after_one_step(options, dataset);
  };
  const TensorMap start = train(1e-12, 1e-12);
  const TensorMap once = train(2.0, 0.01);
  const TensorMap twice = train(4.0, 0.03);
  for (const auto& [name, factor] :
       {std::pair{"user.embedding", 2.0}, {"item.embedding", 2.0}, {"dense.0.weight", 3.0}, {"dense.1.weight", 3.0}}) {
    std::vector<double> expected = difference(once, start, name);
    double longest = 0.0;
    for (double& step : expected) {
      longest = std::max(longest, std::abs(step));
      step *= factor;
    }
    EXPECT_GT(longest, 1e-4) << name << " does not learn";
    if (factor == 3.0) {
      EXPECT_NEAR(longest, 0.01, 1e-5) << name;
    }
    EXPECT_TRUE(all_close(difference(twice, start, name), expected, {1e-6, 1e-4}, name));
  }
}

// options.h: w -= lr * weight_decay * w with every step, whatever the optimizer; not of biases.
TEST(DriverRates, weight_decay_is_that_of_the_learning_rate) {
  const Dataset dataset = driver_dataset();
  for (const auto& [optimizer, damping] : {std::pair{"sgd", 0.0}, {"sgd", 0.5}, {"adagrad", 0.0}, {"adam", 0.0}}) {
    TrainOptions options = options_of(kMf);
    set_or_clear(options, "optimizer", optimizer);
    if (options.optimizer == OptimizerChoice::sgd) {
      options.damping = damping;
    }
    options.learning_rate = 0.05;
    const TensorMap without = after_one_step(options, dataset);
    options.weight_decay = 0.4;
    const TensorMap with = after_one_step(options, dataset);
    options.weight_decay = 0.0;
    options.learning_rate = 1e-12;
    const TensorMap start = after_one_step(options, dataset);
    for (const char* const name : {"user.embedding", "item.embedding"}) {
      std::vector<double> expected;
      for (const float value : start.at(name).values) {
        expected.push_back(-0.05 * 0.4 * static_cast<double>(value));
      }
      EXPECT_TRUE(all_close(difference(with, without, name), expected, {1e-6, 1e-5},
                            std::string(name) + " of " + optimizer + ", damping " + std::to_string(damping)));
    }
    for (const char* const name : {"user.bias", "item.bias"}) {
      EXPECT_EQ(with.at(name).values, without.at(name).values) << name << " of " << optimizer;
    }
  }
}

// Catches: a tensor that is not kept, or not brought back.
TEST_P(Driver, best_epoch_comes_back_whole) {
  const Dataset dataset = driver_dataset();
  TrainOptions options = options_of(GetParam());
  options.reg = 0.0;  // overfits: the best epoch is not the last
  options.init_scale = 0.3;
  options.schedule = ScheduleKind::constant;
  options.epochs = 25;
  options.validation = 0.3;
  options.learning_rate = 2.0 * options.learning_rate.value();
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  ASSERT_LT(result.best_epoch, 25) << "data that cannot tell";
  ASSERT_GT(result.best_epoch, 1);
  double lowest = *result.history.front().validation_rmse;
  for (const EpochRecord& record : result.history) {
    lowest = std::min(lowest, *record.validation_rmse);
  }
  EXPECT_EQ(*result.history.at(static_cast<std::size_t>(result.best_epoch - 1)).validation_rmse, lowest);
  EXPECT_EQ(result.validation->rmse, lowest);
  EXPECT_EQ(result.validation->ratings, 150) << "the errors of one epoch's model";
  // Of the model that comes back are both errors: those of all ratings add up from them.
  const double all = result.model.evaluate(dataset.ratings, {"cpu", 1}).mse;
  EXPECT_NEAR(500.0 * all, 350.0 * result.train.mse + 150.0 * result.validation->mse, 1e-3);

  // The same training ended right there, and ended with the last epoch.
  TrainOptions stopped = options;
  stopped.epochs = result.best_epoch;
  const TrainResult again = Trainer(stopped).train(dataset, dataset.ratings);
  ASSERT_EQ(again.best_epoch, result.best_epoch);
  EXPECT_EQ(result.train.rmse, again.train.rmse);
  for (const auto& [name, tensor] : again.model.parts().tensors) {
    EXPECT_TRUE(bits_equal(result.model.parts().tensors.at(name).values, tensor.values, name));
  }
}

// What lies outside the ratings' scale: predictions of the model, and means.

/// A model of two users and two items that says 7 of the first of each, and whose means lie outside of 1 to 5. The
/// second ones have no training rating.
Model model_outside_the_scale(bool clip) {
  Model::Parts parts;
  const std::vector<float> zeros = {0.0F, 0.0F};
  for (const char* const side : {"user", "item"}) {
    parts.tensors[std::string(side) + ".embedding"] = {{2, 1}, zeros};
    parts.tensors[std::string(side) + ".bias"] = {{2}, {1.5F, 0.0F}};
  }
  parts.tensors["global_mean"] = {{1}, {4.0F}};
  parts.tensors["fallback.user"] = {{2}, {-6.0F, 0.0F}};
  parts.tensors["fallback.item"] = {{2}, {0.5F, 0.0F}};
  parts.tensors["fallback.mean"] = {{1}, {6.0F}};
  for (const std::int64_t id : {10, 11}) {
    parts.users.find_or_add(id);
    parts.items.find_or_add(id);
  }
  parts.user_counts = {3, 0};
  parts.item_counts = {3, 0};
  parts.scale = {1.0F, 5.0F, 0.5F};
  parts.clip = clip;
  return Model(std::move(parts));
}

TEST(DriverClip, predictions_of_every_basis_stay_on_the_scale) {
  const std::vector<RawPair> pairs = {{10, 10}, {10, 11}, {11, 10}, {11, 11}, {99, 99}};
  const std::vector<PredictionBasis> bases = {PredictionBasis::model, PredictionBasis::user_mean,
                                              PredictionBasis::item_mean, PredictionBasis::global_mean,
                                              PredictionBasis::global_mean};
  const std::map<bool, std::vector<float>> expected = {{true, {5.0F, 1.0F, 5.0F, 5.0F, 5.0F}},
                                                       {false, {7.0F, 0.0F, 6.5F, 6.0F, 6.0F}}};
  for (const auto& [clip, ratings] : expected) {
    const Model model = model_outside_the_scale(clip);
    const std::vector<Prediction> got = model.predict(pairs, {"cpu", 1});
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      EXPECT_EQ(got[n].basis, bases[n]) << n;
      EXPECT_FLOAT_EQ(got[n].rating, ratings[n]) << n << ", clip " << clip;
      // The same of evaluations.
      const RatingTable one = {{n < 2 ? 0 : 1}, {n % 2 == 0 ? 0 : 1}, {3.0F}, {}};
      if (n < 4) {
        EXPECT_NEAR(model.evaluate(one, {"cpu", 1}).mae, std::abs(static_cast<double>(ratings[n]) - 3.0), 1e-6)
            << n << ", clip " << clip;
      }
    }
  }
}

// All ratings are 5 on a scale that ends at 3: clipped, every error is 2, of ratings that the model predicts and of
// those that means do.
TEST(DriverClip, errors_of_a_training_are_those_of_clipped_predictions) {
  Dataset dataset;
  for (std::int64_t user = 0; user < 40; ++user) {
    for (std::int64_t n = 0; n < (user < 20 ? 10 : 1); ++n) {
      add_rating(dataset, user, n, 5.0F);
    }
  }
  dataset.scale = {1.0F, 3.0F, 0.5F};
  for (const DriverWay& way : {kPerRating, kMf, kMlp, kNeumf}) {
    TrainOptions options = options_of(way);
    set_or_clear(options, "output", options.model == ModelKind::mf ? "" : "linear");
    options.validation = 0.3;
    options.init_scale = 1e-3;
    const auto train = [&](bool clip) {
      options.clip = clip;
      return Trainer(options).train(dataset, dataset.ratings);
    };
    const TrainResult clipped = train(true);
    ASSERT_GT(clipped.validation->cold_ratings, 0);
    ASSERT_LT(clipped.validation->cold_ratings, clipped.validation->ratings);
    EXPECT_NEAR(clipped.validation->warm_rmse, 2.0, 1e-6) << way.name;
    EXPECT_NEAR(clipped.validation->cold_rmse, 2.0, 1e-6) << way.name;
    EXPECT_NEAR(clipped.train.rmse, 2.0, 1e-6) << way.name;
    EXPECT_NEAR(*clipped.history.at(0).validation_rmse, 2.0, 1e-6) << way.name;
    const TrainResult free = train(false);
    EXPECT_LT(free.validation->warm_rmse, 1.5) << way.name;
    EXPECT_LT(free.validation->cold_rmse, 1e-3) << way.name;
    EXPECT_LT(free.train.rmse, 1.5) << way.name;
  }
}

// A user who likes what nobody else does: the mean that stands for their unknown item lies above the scale.
TEST(DriverClip, a_users_mean_above_the_scale_counts_as_its_end) {
  Dataset dataset;
  for (std::int64_t user = 0; user < 20; ++user) {
    for (std::int64_t item = 0; item < 60; ++item) {
      if (user > 0 || item < 30) {
        add_rating(dataset, user, item, user == 0 || item >= 30 ? 5.0F : 1.0F);
      }
    }
  }
  dataset.scale = {1.0F, 5.0F, 0.5F};
  TrainOptions options = options_of(kPerRating);
  options.validation = 0.0;
  const std::vector<RawPair> pairs = {{0, 999}};
  const RatingTable test = {{0}, {999}, {5.0F}, {}};
  const Model model = Trainer(options).train(dataset, dataset.ratings).model;
  EXPECT_EQ(model.predict(pairs, {"cpu", 1})[0].rating, 5.0F);
  EXPECT_EQ(model.evaluate(test, {"cpu", 1}).cold_rmse, 0.0);
  options.clip = false;
  const Model free = Trainer(options).train(dataset, dataset.ratings).model;
  const Prediction unknown = free.predict(pairs, {"cpu", 1})[0];
  EXPECT_EQ(unknown.basis, PredictionBasis::user_mean);
  EXPECT_GT(unknown.rating, 5.1F);
  EXPECT_NEAR(free.evaluate(test, {"cpu", 1}).cold_rmse, static_cast<double>(unknown.rating) - 5.0, 1e-6);
}

}  // namespace
}  // namespace curate::test
