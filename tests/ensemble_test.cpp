// Ensembles: what they predict against their members alone, in memory and on disk, and how they are trained.

#include "train/ensemble.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "curate/error.h"
#include "curate/predictor.h"
#include "models/batch_walk.h"
#include "models/ensemble.h"
#include "models/members.h"
#include "recommend/predictor.h"
#include "runs/run_history.h"
#include "runs/run_metrics.h"
#include "support/atomic_file.h"
#include "tests/emulator/engine.h"
#include "tests/support/features.h"
#include "train/option_text.h"
#include "train/safetensors.h"

namespace curate {
namespace {

namespace fs = std::filesystem;

/// Few enough ratings that some held out are of users or items that training does not see.
Dataset dataset_of(bool features, std::int64_t ratings = 500) {
  SyntheticOptions synthetic;
  synthetic.users = 90;
  synthetic.items = 70;
  synthetic.ratings = ratings;
  Dataset dataset = generate_dataset(synthetic).dataset;
  if (features) {
    std::vector<std::vector<std::int32_t>> ages;
    std::vector<std::vector<std::int32_t>> genres;
    for (std::int32_t user = 0; user < dataset.users.size(); ++user) {
      ages.push_back({user % 5});
    }
    for (std::int32_t item = 0; item < dataset.items.size(); ++item) {
      genres.push_back({item % 7, item % 3});
    }
    dataset.features = {test::make_feature("age", FeatureSide::user, 5, ages),
                        test::make_feature("genres", FeatureSide::item, 7, genres)};
  }
  return dataset;
}

TrainOptions options_of(const std::string& ensemble, bool features = false, const std::string& device = "cpu") {
  TrainOptions options;
  set_option(options, "ensemble", ensemble);
  options.units = UnitsKind::raw;  // else members that are no better than the bias model would all be that
  options.dim = 6;
  options.epochs = 4;
  options.validation = 0.2;
  options.refit = false;
  options.device = device;
  options.threads = 2;
  options.deterministic = true;
  options.features = features ? "of the test" : "";
  return options;
}

/// A member as a model of its own.
Model member_of(const Model& ensemble, std::size_t member) {
  Model::Parts parts = ensemble.parts();
  parts.spec = member_spec(ensemble.parts(), member);
  parts.tensors.insert(parts.members[member].tensors.begin(), parts.members[member].tensors.end());
  parts.members.clear();
  return Model(std::move(parts));
}

/// The same model, clipped or not.
Model with_clip(const Model& model, bool clip) {
  Model::Parts parts = model.parts();
  parts.clip = clip;
  return Model(std::move(parts));
}

/// Every user with every item, and an unknown one of each.
std::vector<RawPair> all_pairs(const Model& model) {
  std::vector<RawPair> pairs;
  for (std::int32_t user = -1; user < model.parts().users.size(); ++user) {
    for (std::int32_t item = -1; item < model.parts().items.size(); ++item) {
      pairs.push_back(
          {user < 0 ? RawId(-7) : model.parts().users.id(user), item < 0 ? RawId(-7) : model.parts().items.id(item)});
    }
  }
  return pairs;
}

/// Mean and sample standard deviation in double precision.
std::pair<double, double> reference_of(const std::vector<float>& values) {
  long double sum = 0.0L;
  for (const float value : values) {
    sum += static_cast<long double>(value);
  }
  const long double mean = sum / static_cast<long double>(values.size());
  long double squares = 0.0L;
  for (const float value : values) {
    squares += (static_cast<long double>(value) - mean) * (static_cast<long double>(value) - mean);
  }
  return {static_cast<double>(mean),
          static_cast<double>(std::sqrt(squares / static_cast<long double>(values.size() - 1)))};
}

void expect_same_tensors(const TensorMap& a, const TensorMap& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (const auto& [name, tensor] : a) {
    ASSERT_EQ(b.count(name), 1U) << what << ' ' << name;
    EXPECT_EQ(tensor.shape, b.at(name).shape) << what << ' ' << name;
    EXPECT_EQ(tensor.values, b.at(name).values) << what << ' ' << name;
  }
}

void expect_same_models(const Model& a, const Model& b) {
  expect_same_tensors(a.parts().tensors, b.parts().tensors, "shared");
  ASSERT_EQ(a.parts().members.size(), b.parts().members.size());
  for (std::size_t m = 0; m < a.parts().members.size(); ++m) {
    const ModelSpec& spec = a.parts().members[m].spec;
    EXPECT_EQ(spec.kind, b.parts().members[m].spec.kind);
    EXPECT_EQ(spec.activations, b.parts().members[m].spec.activations);
    EXPECT_EQ(spec.output_min, b.parts().members[m].spec.output_min);
    EXPECT_EQ(spec.output_max, b.parts().members[m].spec.output_max);
    EXPECT_EQ(spec.output_floor, b.parts().members[m].spec.output_floor);
    EXPECT_EQ(spec.product, b.parts().members[m].spec.product);
    expect_same_tensors(a.parts().members[m].tensors, b.parts().members[m].tensors, fmt::format("member {}", m + 1));
  }
}

TEST(MeanAndSpreadTest, AreThoseOfASumInDoublePrecision) {
  const std::vector<std::vector<float>> cases = {{3.0F, 4.0F},
                                                 {3.25F, 3.5F, 3.0F, 4.75F, 1.5F},
                                                 {1000.0F, 1000.0625F, 999.9375F},
                                                 {-4.5F, 9.25F, 0.125F, 3e-5F},
                                                 {1e6F, -1e6F, 0.5F, 0.25F, 7.0F, -3.0F, 1.0F}};
  for (const std::vector<float>& values : cases) {
    MeanAndSpread all;
    for (const float value : values) {
      all.add(value);
    }
    const auto [mean, spread] = reference_of(values);
    EXPECT_NEAR(all.mean(), mean, 1e-7 * std::abs(mean) + 1e-9);
    EXPECT_NEAR(all.spread(), spread, 1e-6 * spread);
  }
  MeanAndSpread same;
  for (int n = 0; n < 64; ++n) {
    same.add(3.1F);
  }
  EXPECT_EQ(same.mean(), 3.1F);
  EXPECT_EQ(same.spread(), 0.0F);
  MeanAndSpread one;
  one.add(2.7F);
  EXPECT_EQ(one.mean(), 2.7F);
  EXPECT_EQ(one.spread(), 0.0F);
}

struct EnsembleWay {
  const char* name;
  const char* ensemble;
  bool features;
  const char* device;
};

void PrintTo(const EnsembleWay& way, std::ostream* out) {
  *out << way.name;
}

class EnsembleWays : public testing::TestWithParam<EnsembleWay> {
 protected:
  EnsembleWays() { emulator::add_emulated_engine(); }
};

// The mean is rounded once to float and clipped once; what a member predicts alone has the same bits in the ensemble.
// Catches: a member left out or counted twice, a mean of clipped predictions, a spread of clipped ones, another divisor
// of the spread, a cold pair that members predict, blocks that get rows of other pairs.
TEST_P(EnsembleWays, PredictTheMeanOfTheirMembers) {
  const Dataset dataset = dataset_of(GetParam().features);
  const TrainResult result =
      Trainer(options_of(GetParam().ensemble, GetParam().features, GetParam().device)).train(dataset, dataset.ratings);
  const ComputeOptions compute = {GetParam().device, 2};
  const Model clipped = result.model;
  const Model unclipped = with_clip(clipped, false);
  const std::vector<RawPair> pairs = all_pairs(clipped);
  const std::vector<Prediction> predictions = Predictor(unclipped, compute).predict(pairs);
  const std::vector<Prediction> in_range = Predictor(clipped, compute).predict(pairs);
  std::vector<std::vector<Prediction>> alone;
  for (std::size_t member = 0; member < clipped.parts().members.size(); ++member) {
    alone.push_back(Predictor(member_of(unclipped, member), compute).predict(pairs));
  }
  ASSERT_EQ(alone.size(), result.members.size());
  std::int64_t of_model = 0;
  std::int64_t of_means = 0;
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    std::vector<float> values;
    for (const std::vector<Prediction>& member : alone) {
      EXPECT_FALSE(member[n].spread);
      ASSERT_EQ(member[n].basis, predictions[n].basis);
      values.push_back(member[n].rating);
    }
    const auto [mean, spread] = reference_of(values);
    const RatingScale& scale = clipped.parts().scale;
    EXPECT_EQ(in_range[n].rating, std::clamp(predictions[n].rating, scale.min, scale.max));
    EXPECT_EQ(in_range[n].spread, predictions[n].spread);
    if (!is_of_model(predictions[n].basis)) {
      EXPECT_EQ(predictions[n].rating, values.front());
      EXPECT_FALSE(predictions[n].spread);
      ++of_means;
      continue;
    }
    EXPECT_NEAR(predictions[n].rating, mean, 1e-7 * std::abs(mean));
    ASSERT_TRUE(predictions[n].spread);
    EXPECT_NEAR(*predictions[n].spread, spread, 1e-6 * spread + 1e-12);
    EXPECT_GT(*predictions[n].spread, 0.0F);
    ++of_model;
  }
  EXPECT_GT(of_model, 1000);
  EXPECT_GT(of_means, GetParam().features ? 0 : 100);
}

// Catches: another order of the members or another mean in the path of one pair.
TEST_P(EnsembleWays, APairIsABlock) {
  const Dataset dataset = dataset_of(GetParam().features);
  const Model model =
      Trainer(options_of(GetParam().ensemble, GetParam().features)).train(dataset, dataset.ratings).model;
  const std::vector<RawPair> pairs = all_pairs(model);
  ASSERT_GT(pairs.size(), kFewPairs) << "the device sees no block";
  const Predictor predictor(model, {"cpu", 2});
  const std::vector<Prediction> block = predictor.predict(pairs);
  const bool networks = std::string(GetParam().ensemble).find("neumf") != std::string::npos;
  const float tolerance = networks ? 2e-6F : 0.0F;  // f32 sums in another order
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    const Prediction one = predictor.predict(pairs[n].user, pairs[n].item);
    EXPECT_NEAR(one.rating, block[n].rating, tolerance * std::abs(block[n].rating));
    EXPECT_EQ(one.basis, block[n].basis);
    ASSERT_EQ(one.spread.has_value(), block[n].spread.has_value());
    EXPECT_NEAR(one.spread.value_or(0.0F), block[n].spread.value_or(0.0F), 5.0F * tolerance);
  }
  const std::vector<RawPair> few(pairs.begin() + 200, pairs.begin() + 260);
  const std::vector<Prediction> of_few = predictor.predict(few);
  for (std::size_t n = 0; n < few.size(); ++n) {
    EXPECT_NEAR(of_few[n].rating, block[200 + n].rating, tolerance * std::abs(of_few[n].rating));
  }
}

// Catches: a seed that is not the member's, a validation part of the member's seed, state that one member leaves to the
// next, options of the wrong kind, a member that is written in another one's place or whose refit is not kept, biases
// to start from that are not those of the member's ratings.
TEST_P(EnsembleWays, MembersAreTheModelsThatTheirSeedsGive) {
  const Dataset dataset = dataset_of(GetParam().features);
  TrainOptions options = options_of(GetParam().ensemble, GetParam().features, GetParam().device);
  options.refit = true;
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  ASSERT_EQ(result.members.front().seed, options.seed);
  for (std::size_t m = 0; m < result.members.size(); ++m) {
    TrainOptions alone = options;
    alone.ensemble.clear();
    alone.model = result.members[m].model;
    alone.seed = result.members[m].seed;
    alone.validation_seed = options.seed;
    const TrainResult one = Trainer(alone).train(dataset, dataset.ratings);
    const Model member = member_of(result.model, m);
    expect_same_tensors(one.model.parts().tensors, member.parts().tensors, fmt::format("member {}", m + 1));
    EXPECT_EQ(one.model.parts().spec.kind, member.parts().spec.kind);
    EXPECT_EQ(one.best_epoch, result.members[m].best_epoch);
    EXPECT_EQ(static_cast<std::int32_t>(one.history.size()), result.members[m].epochs);
    EXPECT_EQ(static_cast<std::int32_t>(one.refit->history.size()), result.members[m].refit_epochs);
    EXPECT_EQ(one.validation->rmse, result.members[m].validation->rmse);
    EXPECT_EQ(one.train.rmse, result.members[m].train.rmse);
    for (std::size_t other = 0; other < m; ++other) {
      EXPECT_NE(result.members[m].seed, result.members[other].seed);
    }
  }
}

// Catches: errors of another part, or of one member; cold ratings that are left out.
TEST_P(EnsembleWays, ErrorsAreThoseOfTheMean) {
  const Dataset dataset = dataset_of(GetParam().features);
  const TrainOptions options = options_of(GetParam().ensemble, GetParam().features, GetParam().device);
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  const Split parts = hold_out(dataset.ratings, resolve(options));
  for (const auto& [metrics, ratings] :
       {std::pair(result.validation.value(), &parts.test), {result.train, &parts.train}}) {
    std::vector<RawPair> pairs;
    double squares = 0.0;
    double absolute = 0.0;
    for (std::size_t n = 0; n < ratings->ratings.size(); ++n) {
      pairs.push_back({dataset.users.id(ratings->users[n]), dataset.items.id(ratings->items[n])});
    }
    const std::vector<Prediction> predictions = result.model.predict(pairs, {GetParam().device, 2});
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      const double error = static_cast<double>(predictions[n].rating) - static_cast<double>(ratings->ratings[n]);
      squares += error * error;
      absolute += std::abs(error);
    }
    const auto count = static_cast<double>(pairs.size());
    EXPECT_EQ(metrics.ratings, ratings->size());
    EXPECT_NEAR(metrics.rmse, std::sqrt(squares / count), 1e-6);
    EXPECT_NEAR(metrics.mae, absolute / count, 1e-6);
    const Metrics evaluated = result.model.evaluate(*ratings, {GetParam().device, 2});
    EXPECT_NEAR(metrics.rmse, evaluated.rmse, 1e-7);
    EXPECT_EQ(metrics.cold_ratings, evaluated.cold_ratings);
    EXPECT_NEAR(metrics.cold_rmse, evaluated.cold_rmse, 1e-7);
  }
  EXPECT_GT(result.validation->cold_ratings, 0);
  double of_members = 0.0;
  for (const MemberResult& member : result.members) {
    of_members += member.validation->rmse / static_cast<double>(result.members.size());
  }
  EXPECT_LT(result.validation->rmse, of_members) << "of a mean it is below the mean of theirs";
}

TEST_P(EnsembleWays, ComeBackFromDisk) {
  const std::string folder =
      (fs::path(testing::TempDir()) / fmt::format("curate_ensemble_{}", GetParam().name)).string();
  fs::remove_all(folder);
  const Dataset dataset = dataset_of(GetParam().features);
  const Model model =
      Trainer(options_of(GetParam().ensemble, GetParam().features)).train(dataset, dataset.ratings).model;
  model.save(folder + "/a");
  const Model loaded = Model::load(folder + "/a");
  expect_same_models(model, loaded);
  loaded.save(folder + "/b");
  for (const char* name : {"model.safetensors", "users.tsv", "items.tsv"}) {
    EXPECT_EQ(read_file(folder + "/a/" + name), read_file(folder + "/b/" + name)) << name;
  }
  const std::vector<RawPair> pairs = all_pairs(model);
  const std::vector<Prediction> before = model.predict(pairs, {"cpu", 1});
  const std::vector<Prediction> after = loaded.predict(pairs, {"cpu", 1});
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    EXPECT_EQ(before[n].rating, after[n].rating);
    EXPECT_EQ(before[n].spread, after[n].spread);
    EXPECT_EQ(before[n].basis, after[n].basis);
  }
  fs::remove_all(folder);
}

TEST_P(EnsembleWays, AreTheSameAgain) {
  const Dataset dataset = dataset_of(GetParam().features);
  TrainOptions options = options_of(GetParam().ensemble, GetParam().features, GetParam().device);
  const TrainResult first = Trainer(options).train(dataset, dataset.ratings);
  options.threads = 1;
  const TrainResult again = Trainer(options).train(dataset, dataset.ratings);
  expect_same_models(first.model, again.model);
  EXPECT_EQ(first.validation->rmse, again.validation->rmse);
  options.seed = 2;
  const TrainResult other = Trainer(options).train(dataset, dataset.ratings);
  for (std::size_t m = 0; m < first.members.size(); ++m) {
    EXPECT_NE(first.members[m].seed, other.members[m].seed);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, EnsembleWays,
                         testing::Values(EnsembleWay{"mf", "3", false, "cpu"},
                                         EnsembleWay{"kinds", "mf:2,mlp:1,neumf:2", false, "cpu"},
                                         EnsembleWay{"features", "neumf:1,mf:2", true, "cpu"},
                                         EnsembleWay{"mf_emulated", "2", false, "cuda-emulated"},
                                         EnsembleWay{"kinds_emulated", "mf:1,neumf:1", true, "cuda-emulated"}),
                         [](const auto& way) { return std::string(way.param.name); });

// Catches: a block whose ratings are those of another one, a last block that is short, errors of a rating twice.
TEST(Ensemble, ErrorsOverManyBlocks) {
  const Dataset dataset = dataset_of(false, 3000);
  const Model model = Trainer(options_of("mf:2,mlp:1")).train(dataset, dataset.ratings).model;
  RatingTable ratings;
  ErrorSums sums;
  const Predictor predictor(model, {"cpu", 1});
  for (std::int64_t n = 0; n < 2 * kPredictionBatch + 77; ++n) {
    const auto user = static_cast<std::int32_t>(n % dataset.users.size());
    const auto item = static_cast<std::int32_t>(n / dataset.users.size() % dataset.items.size());
    ratings.users.push_back(user);
    ratings.items.push_back(item);
    ratings.ratings.push_back(static_cast<float>(n % 9) * 0.5F + 0.5F);
    add_error(sums, predictor.predict(dataset.users.id(user), dataset.items.id(item)).rating, ratings.ratings.back());
  }
  const Metrics metrics = predictor.evaluate(ratings);
  EXPECT_EQ(metrics.ratings, sums.count);
  EXPECT_NEAR(metrics.mse, sums.squared / static_cast<double>(sums.count), 1e-5);
  EXPECT_NEAR(metrics.mae, sums.absolute / static_cast<double>(sums.count), 1e-5);
}

/// mf of one factor that predicts `rating` for everything.
ModelMember constant_member(float rating) {
  ModelMember member;
  member.tensors = {
      {"user.embedding", {{1, 1}, {0.0F}}}, {"item.embedding", {{1, 1}, {0.0F}}}, {"global_mean", {{1}, {rating}}}};
  return member;
}

// Catches: a mean of clipped predictions (3 and 5 here), a mean that is not clipped, a spread of clipped ones.
TEST(Ensemble, TheMeanIsClippedAndNotItsMembers) {
  emulator::add_emulated_engine();
  for (const auto& [low, high, expected] : {std::tuple{3.0F, 9.0F, 5.0F}, {-2.0F, 4.0F, 1.0F}, {2.0F, 6.0F, 4.0F}}) {
    Model::Parts parts;
    parts.spec.kind = "ensemble";
    parts.tensors = {
        {"fallback.user", {{1}, {0.0F}}}, {"fallback.item", {{1}, {0.0F}}}, {"fallback.mean", {{1}, {3.0F}}}};
    parts.members = {constant_member(low), constant_member(high)};
    parts.users.find_or_add(RawId(1));
    parts.items.find_or_add(RawId(1));
    parts.user_counts = {1};
    parts.item_counts = {1};
    parts.scale = {0.5F, 5.0F, 0.5F};
    const Model model(parts);
    RatingTable rating;
    rating.users = {0};
    rating.items = {0};
    rating.ratings = {0.0F};
    for (const char* device : {"cpu", "cuda-emulated"}) {
      const Predictor predictor(model, {device, 1});
      for (const Prediction& prediction :
           {predictor.predict(RawId(1), RawId(1)),
            predictor.predict(std::vector<RawPair>{{RawId(1), RawId(1)}}).front(),
            predictor.predict(std::vector<RawPair>(kFewPairs + 1, {RawId(1), RawId(1)})).back()}) {
        EXPECT_EQ(prediction.rating, expected);
        EXPECT_FLOAT_EQ(prediction.spread.value(), (high - low) / std::sqrt(2.0F));
      }
      EXPECT_EQ(predictor.evaluate(rating).mae, static_cast<double>(expected));
    }
  }
}

TEST(Ensemble, OfOneIsTheModel) {
  const Dataset dataset = dataset_of(false);
  for (const auto& [text, model] :
       {std::pair("1", ModelKind::mlp), {"mlp:1", ModelKind::mf}, {"mlp", ModelKind::mlp}}) {
    TrainOptions options = options_of(text);
    options.model = model;
    TrainOptions none = options;
    none.ensemble.clear();
    none.model = ModelKind::mlp;
    EXPECT_EQ(to_toml(resolve(options)), to_toml(resolve(none)));
    const TrainResult a = Trainer(options).train(dataset, dataset.ratings);
    const TrainResult b = Trainer(none).train(dataset, dataset.ratings);
    expect_same_models(a.model, b.model);
    EXPECT_TRUE(a.members.empty());
    EXPECT_EQ(a.best_epoch, b.best_epoch);
  }
}

// Catches: progress of a member told under another one's number.
TEST(Ensemble, TellsWhichMemberIsTrained) {
  const Dataset dataset = dataset_of(false);
  std::vector<std::string> told;
  TrainEvents events;
  events.on_member = [&](std::int32_t member, std::int32_t members, const TrainOptions& options) {
    told.push_back(fmt::format("{}/{} {} {}", member, members, name_of(options.model), options.epochs.value()));
  };
  events.on_epoch = [&](const EpochRecord& record) {
    told.push_back(fmt::format("{}:{}", record.member, record.epoch));
  };
  TrainOptions options = options_of("mf:1,mlp:2");
  options.epochs = 2;
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings, events);
  EXPECT_EQ(told,
            (std::vector<std::string>{"1/3 mf 2", "1:1", "1:2", "2/3 mlp 2", "2:1", "2:2", "3/3 mlp 2", "3:1", "3:2"}));
  ASSERT_EQ(result.history.size(), 6U);
  EXPECT_EQ(result.history[3].member, 2);
  EXPECT_EQ(result.history[3].epoch, 2);
  EXPECT_EQ(result.best_epoch, 0);
}

TEST(Ensemble, WithoutAValidationPart) {
  const Dataset dataset = dataset_of(false);
  TrainOptions options = options_of("2");
  options.validation = 0.0;
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  EXPECT_FALSE(result.validation);
  EXPECT_FALSE(result.members.back().validation);
  EXPECT_EQ(result.train.ratings, dataset.ratings.size());
}

// Catches: a validation error of models that have seen the part, or of one member; members that are kept as they were
// before their refit; a training error of the first trainings' ratings.
TEST(Ensemble, RefitsItsMembersAndValidatesThemBefore) {
  const Dataset dataset = dataset_of(false, 3000);
  TrainOptions options = options_of("mf:2,neumf:1");
  const TrainResult first = Trainer(options).train(dataset, dataset.ratings);
  options.refit = true;
  std::int32_t told = 0;
  TrainEvents events;
  events.on_refit = [&](std::int32_t epochs) { told += epochs; };
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings, events);

  EXPECT_EQ(result.validation->rmse, first.validation->rmse) << "of the same models, which did not see the part";
  EXPECT_EQ(result.validation->cold_ratings, first.validation->cold_ratings);
  EXPECT_EQ(result.history.size(), first.history.size());
  const Split parts = hold_out(dataset.ratings, resolve(options));
  EXPECT_LT(result.model.evaluate(parts.test, {"cpu", 2}).rmse, result.validation->rmse) << "the part was not learnt";

  EXPECT_EQ(result.train.ratings, dataset.ratings.size());
  EXPECT_NEAR(result.train.rmse, result.model.evaluate(dataset.ratings, {"cpu", 2}).rmse, 1e-7);
  const std::vector<std::int64_t>& counts = result.model.parts().user_counts;
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), dataset.ratings.size());

  std::int32_t refit_epochs = 0;
  ASSERT_EQ(result.members.size(), 3U);
  for (std::size_t m = 0; m < result.members.size(); ++m) {
    EXPECT_FALSE(first.members[m].refit_epochs);
    EXPECT_GE(result.members[m].refit_epochs.value(), 0);
    refit_epochs += *result.members[m].refit_epochs;
    EXPECT_EQ(result.members[m].train.ratings, dataset.ratings.size());
    EXPECT_EQ(result.members[m].validation->rmse, first.members[m].validation->rmse);
  }
  EXPECT_EQ(told, refit_epochs);
  ASSERT_TRUE(result.refit);
  EXPECT_EQ(static_cast<std::int32_t>(result.refit->history.size()), refit_epochs);
  EXPECT_EQ(result.refit->history.back().member, 3);
  EXPECT_FALSE(first.refit);
}

// Catches: a baseline of another validation part, or none.
TEST(Ensemble, HasTheBaselineOfOneModel) {
  const Dataset dataset = dataset_of(false);
  TrainOptions options = options_of("mf:1,mlp:1");
  const Baseline baseline = Trainer(options).train(dataset, dataset.ratings).baseline.value();
  options.ensemble.clear();
  const TrainResult one = Trainer(options).train(dataset, dataset.ratings);
  EXPECT_EQ(baseline.validation->rmse, one.baseline->validation->rmse);
  EXPECT_EQ(baseline.user_bias, one.baseline->user_bias);
  options.validation_seed = 2;
  set_option(options, "ensemble", "2");
  EXPECT_NE(Trainer(options).train(dataset, dataset.ratings).baseline->validation->rmse, baseline.validation->rmse);
}

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const InputError& error) {
    return error.what();
  }
  return "taken";
}

TEST(EnsembleOptions, AreReadAndWritten) {
  TrainOptions options;
  for (const auto& [text, written] :
       {std::pair("8", "8"), {"mf:8,neumf:8", "mf:8,neumf:8"}, {"mlp", "mlp:1"}, {"mf,mlp:63", "mf:1,mlp:63"}}) {
    set_option(options, "ensemble", text);
    EXPECT_EQ(text_of(options.ensemble), written);
  }
  for (const char* text : {"", "0", "65", "-1", "mf:", "mf:0", "mf:x", "svd:2", "8,2", "8,mf:2", "mf:2,mf:3",
                           "mf:33,mlp:32", "mf:8;neumf:8", ",", "mf:8,", "99999999999"}) {
    EXPECT_NE(message_of([&] { set_option(options, "ensemble", text); }).find("`ensemble`"), std::string::npos) << text;
  }
}

TEST(EnsembleOptions, OfSeveralKindsAreTakenIfAllTakeThem) {
  TrainOptions options = options_of("mf:2,neumf:3");
  options.epochs.reset();
  options.dim.reset();
  const TrainOptions resolved = resolve(options);
  EXPECT_EQ(resolved.model, ModelKind::mf);
  EXPECT_FALSE(resolved.dim) << "mf has 64, neumf 32";
  EXPECT_FALSE(resolved.epochs);
  EXPECT_EQ(resolved.beta1, 0.9) << "alike in both";
  EXPECT_EQ(to_toml(resolve(resolved)), to_toml(resolved));
  const std::vector<TrainOptions> members = member_options(resolved);
  ASSERT_EQ(members.size(), 5U);
  EXPECT_EQ(members[1].dim, 64);
  EXPECT_EQ(members[1].model, ModelKind::mf);
  EXPECT_EQ(members[2].model, ModelKind::neumf);
  EXPECT_EQ(members[4].dim, 32);
  EXPECT_EQ(members[4].validation_seed, options.seed);
  options.validation_seed = 9;
  EXPECT_EQ(member_options(resolve(options))[4].validation_seed, 9U);
  options.dim = 5;
  EXPECT_EQ(member_options(resolve(options))[4].dim, 5);

  options.layers = std::vector<std::int32_t>{8};
  const std::string message = message_of([&] { resolve(options); });
  EXPECT_NE(message.find("`layers` 8: mf members of `ensemble` do not take it"), std::string::npos) << message;
  set_option(options, "ensemble", "mlp:2,neumf:2");
  EXPECT_EQ(message_of([&] { resolve(options); }), "taken") << "both have layers";
  options.factors = 4;
  EXPECT_NE(message_of([&] { resolve(options); }).find("`factors` 4: mlp members"), std::string::npos);
  options.factors.reset();
  options.device = "gpu";
  EXPECT_EQ(message_of([&] { resolve(options); }).find("members of"), std::string::npos) << "no kind takes it";
  options.device = "cpu";
  options.model = ModelKind::neumf;
  EXPECT_EQ(message_of([&] { resolve(options); }), "taken");
  set_option(options, "ensemble", "mf:2,mlp:2");
  options.layers.reset();
  EXPECT_NE(message_of([&] { resolve(options); }).find("`model` neumf: `ensemble` has no members of that kind"),
            std::string::npos);
}

TEST(EnsembleOptions, OfAPreset) {
  TrainOptions options = preset_options("notebook-mf");
  set_option(options, "ensemble", "2");
  const std::vector<TrainOptions> members = member_options(resolve(options));
  ASSERT_EQ(members.size(), 2U);
  EXPECT_EQ(members[1].dim, 3);
  EXPECT_EQ(members[1].batch, 32);
  EXPECT_TRUE(members[1].non_negative);
}

class EnsembleFiles : public testing::Test {
 protected:
  EnsembleFiles() {
    fs::remove_all(folder_);
    const Dataset dataset = dataset_of(true);
    Trainer(options_of("mf:2,mlp:1", true)).train(dataset, dataset.ratings).model.save(folder_);
  }
  ~EnsembleFiles() override { fs::remove_all(folder_); }

  /// What is said of the files after that change.
  std::string refusal(const std::function<void(SafetensorsFile&)>& change) {
    const std::string path = folder_ + "/model.safetensors";
    const std::string sound = read_file(path);
    SafetensorsFile file = read_safetensors(path);
    change(file);
    write_safetensors(path, file);
    const std::string message = message_of([&] { Model::load(folder_); });
    write_file_atomically(path, sound);
    return message;
  }

  std::string folder_ =
      (fs::path(testing::TempDir()) /
       fmt::format("curate_ensemble_files_{}", testing::UnitTest::GetInstance()->current_test_info()->name()))
          .string();
};

// Versions without ensembles know the format "curate-1" alone, and say so.
TEST_F(EnsembleFiles, HaveAFormatOfTheirOwn) {
  const SafetensorsFile file = read_safetensors(folder_ + "/model.safetensors");
  EXPECT_EQ(file.metadata.at("format"), "curate-ensemble-1");
  EXPECT_EQ(file.metadata.at("members"), "3");
  EXPECT_EQ(file.metadata.at("member.1.model"), "mf");
  EXPECT_EQ(file.metadata.at("member.3.model"), "mlp");
  EXPECT_EQ(file.tensors.count("member.3.dense.0.weight"), 1U);
  EXPECT_EQ(file.tensors.count("member.1.fallback.user"), 0U);
  EXPECT_EQ(file.tensors.count("fallback.user"), 1U);
}

// Catches: a member that is left out without a word, or loads though it is not whole.
TEST_F(EnsembleFiles, ThatAreDamagedAreRefused) {
  using File = SafetensorsFile;
  EXPECT_EQ(refusal([](File&) {}), "taken");
  const std::vector<std::pair<std::function<void(File&)>, std::string>> cases = {
      {[](File& f) { f.tensors.erase("member.2.user.embedding"); }, "member 2 of the ensemble: tensor user.embedding"},
      {[](File& f) { f.tensors.erase("member.1.item.bias"); }, "member 1 of the ensemble: "},
      {[](File& f) { f.tensors.erase("member.2.global_mean"); }, "member 2 of the ensemble: "},
      {[](File& f) { f.tensors.erase("member.3.dense.1.weight"); }, "member 3 of the ensemble: "},
      {[](File& f) { f.tensors.erase("member.2.item.genres.embedding"); }, "member 2 of the ensemble: "},
      {[](File& f) { f.tensors["member.1.user.x.embedding"] = f.tensors["member.1.user.embedding"]; },
       "member 1 of the ensemble: tensor user.x.embedding is of a feature"},
      {[](File& f) { f.tensors["member.2.item.embedding"].values[3] = NAN; }, "member 2 of the ensemble: "},
      {[](File& f) { f.tensors["fallback.user"].values[0] = INFINITY; }, "fallback.user"},
      {[](File& f) { f.tensors.erase("fallback.item"); }, "fallback.item"},
      {[](File& f) { f.metadata["members"] = "2"; }, "tensors that are of no member"},
      {[](File& f) { f.metadata["members"] = "4"; }, "member 4 of the ensemble: "},
      {[](File& f) { f.metadata["members"] = "1"; }, "number of members"},
      {[](File& f) { f.metadata["members"] = "65"; }, "number of members"},
      {[](File& f) { f.metadata["members"] = "three"; }, "number of members"},
      {[](File& f) { f.metadata.erase("members"); }, "number of members"},
      {[](File& f) { f.metadata["member.2.model"] = "svd"; }, "a model of kind 'svd'"},
      {[](File& f) { f.metadata["member.2.model"] = "ensemble"; }, "a model of kind 'ensemble'"},
      {[](File& f) { f.metadata.erase("member.3.activations"); }, "member 3 of the ensemble: "},
      {[](File& f) { f.metadata["member.3.output_max"] = "high"; }, "member.3.output_max"},
      {[](File& f) { f.metadata["model"] = "mf"; }, "the kind of an ensemble"},
      {[](File& f) { f.metadata["format"] = "curate-1"; }, "user.embedding"},
      {[](File& f) { f.metadata["format"] = "curate-ensemble-2"; }, "written as 'curate-ensemble-2'"}};
  for (std::size_t n = 0; n < cases.size(); ++n) {
    const std::string message = refusal(cases[n].first);
    EXPECT_NE(message.find(cases[n].second), std::string::npos) << n << ": " << message;
    const bool remedy = message.find("again") != std::string::npos || message.find("version") != std::string::npos;
    EXPECT_TRUE(remedy) << n << ": " << message;
  }
}

// Catches: members' epochs that a reader takes for one model's, a member that is skipped or comes back.
TEST_F(EnsembleFiles, HistoryComesBack) {
  std::vector<EpochRecord> history(5);
  for (std::size_t n = 0; n < history.size(); ++n) {
    history[n].member = n < 2 ? 1 : 2;
    history[n].epoch = static_cast<std::int32_t>(n < 2 ? n + 1 : n - 1);
    history[n].train_rmse = 1.0 / static_cast<double>(n + 1);
  }
  const std::string path = folder_ + "/history.csv";
  const std::string text = history_csv(history);
  write_file_atomically(path, text);
  const std::vector<EpochRecord> back = read_history(path);
  ASSERT_EQ(back.size(), history.size());
  for (std::size_t n = 0; n < history.size(); ++n) {
    EXPECT_EQ(back[n].member, history[n].member);
    EXPECT_EQ(back[n].epoch, history[n].epoch);
    EXPECT_EQ(back[n].train_rmse, history[n].train_rmse);
  }
  for (const auto& [from, to, expected] : {std::tuple("\n2,1,", "\n3,1,", ":4: not member 1 or the next one"),
                                           {"\n2,2,", "\n2,3,", ":5: not epoch 2"},
                                           {"\n2,2,", "\n1,2,", ":5: not member 2"},
                                           {"\n1,1,", "\n2,1,", ":2: "}}) {
    std::string broken = text;
    broken.replace(broken.find(from), std::string(from).size(), to);
    write_file_atomically(path, broken);
    const std::string message = message_of([&] { read_history(path); });
    EXPECT_NE(message.find(path + expected), std::string::npos) << message;
  }
}

TEST_F(EnsembleFiles, MetricsComeBack) {
  const Dataset dataset = dataset_of(false);
  const TrainResult result = Trainer(options_of("mf:1,mlp:1")).train(dataset, dataset.ratings);
  const std::string path = folder_ + "/metrics.json";
  const std::string text = metrics_json(result, std::nullopt);
  write_file_atomically(path, text);
  const RunMetrics metrics = read_metrics(path);
  EXPECT_EQ(metrics.members, 2);
  EXPECT_EQ(metrics.best_epoch, 0);
  EXPECT_EQ(metrics.epochs, 8);
  EXPECT_EQ(metrics.validation->rmse, result.validation->rmse);
  write_file_atomically(path, std::string(text).replace(text.find("\"members\""), 9, "\"membres\""));
  EXPECT_NE(message_of([&] { read_metrics(path); }).find("ensemble has no list of members"), std::string::npos);
}

}  // namespace
}  // namespace curate
