// Runs of earlier versions stay readable, and predict what they have predicted.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "curate/dataset.h"
#include "curate/model.h"
#include "runs/run_config.h"
#include "runs/run_history.h"
#include "runs/run_metrics.h"
#include "support/atomic_file.h"

namespace curate {
namespace {

std::string fixtures() {
  const char* const folder = std::getenv("CURATE_TEST_FIXTURES");
  return std::string(folder != nullptr ? folder : CURATE_TEST_FIXTURES) + "/runs-of-1c35ff2/";
}

struct OldRun {
  const char* name;
  const char* model;
  std::int32_t epochs;
  std::size_t features = 0;
  bool clip = true;
};

void PrintTo(const OldRun& run, std::ostream* out) {
  *out << run.name;
}

class OldRuns : public testing::TestWithParam<OldRun> {
 protected:
  static std::string folder() { return fixtures() + GetParam().name; }
};

TEST_P(OldRuns, PredictWhatTheyDid) {
  const Model model = Model::load(folder());
  EXPECT_EQ(model.parts().spec.kind, GetParam().model);
  EXPECT_EQ(model.parts().spec.features.size(), GetParam().features);
  EXPECT_EQ(model.parts().clip, GetParam().clip);
  const std::vector<RawPair> pairs = read_pairs(fixtures() + "pairs.csv");
  const std::vector<Prediction> predictions = model.predict(pairs, {"cpu", 1});
  std::istringstream lines(read_file(folder() + "/predictions.csv"));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    ASSERT_TRUE(std::getline(lines, line));
    const std::string expected = fmt::format("{},{},{:.4f},{},", pairs[n].user.text(), pairs[n].item.text(),
                                             predictions[n].rating, name_of(predictions[n].basis));
    EXPECT_TRUE(line.starts_with(expected)) << expected << " beside " << line;
  }
}

TEST_P(OldRuns, HaveTheErrorsTheyHad) {
  const Model model = Model::load(folder());
  const Dataset dataset = read_dataset(fixtures() + "data");
  const Metrics metrics = model.evaluate(model.translate(dataset, dataset.ratings), {"cpu", 2});
  const auto expected = nlohmann::json::parse(read_file(folder() + "/evaluation.json"));
  EXPECT_EQ(metrics.ratings, expected.at("ratings").get<std::int64_t>());
  EXPECT_EQ(metrics.cold_ratings, expected.at("cold_ratings").get<std::int64_t>());
  EXPECT_NEAR(metrics.rmse, expected.at("rmse").get<double>(), 1e-6);
  EXPECT_NEAR(metrics.mae, expected.at("mae").get<double>(), 1e-6);
  EXPECT_NEAR(metrics.cold_rmse, expected.at("cold_rmse").get<double>(), 1e-6);
}

// All that a run says of itself, down to options that can be trained with again.
TEST_P(OldRuns, TellHowTheyWereTrained) {
  const RunConfig config = read_config(folder() + "/config.toml");
  EXPECT_EQ(name_of(config.options.model), GetParam().model);
  EXPECT_EQ(config.options.epochs, GetParam().epochs);
  EXPECT_EQ(config.options.clip, GetParam().clip);
  EXPECT_EQ(config.options.units, UnitsKind::raw);
  EXPECT_FALSE(config.options.refit);
  TrainOptions again = resolve(config.options);
  EXPECT_EQ(again.row_reg.value_or(0.0), 0.0);
  again.row_reg.reset();  // newer than the run
  EXPECT_EQ(to_toml(again), to_toml(config.options));
  const std::vector<EpochRecord> history = read_history(folder() + "/history.csv");
  const RunMetrics metrics = read_metrics(folder() + "/metrics.json");
  EXPECT_EQ(metrics.epochs, static_cast<std::int32_t>(history.size()));
  EXPECT_LE(metrics.epochs, GetParam().epochs);
  ASSERT_TRUE(metrics.test.has_value());
  EXPECT_GT(metrics.test->rmse, 0.5);
  EXPECT_GT(history.back().train_rmse, 0.5);
}

INSTANTIATE_TEST_SUITE_P(Runs, OldRuns,
                         testing::Values(OldRun{"mf", "mf", 3}, OldRun{"mf-features", "mf", 2, 1, false},
                                         OldRun{"mlp-features", "mlp", 4, 2}, OldRun{"neumf", "neumf", 2},
                                         OldRun{"folds/fold-1", "mf", 2}, OldRun{"folds/fold-2", "mf", 2}),
                         [](const testing::TestParamInfo<OldRun>& run) {
                           std::string name = run.param.name;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return c == '-' || c == '/'; }, '_');
                           return name;
                         });

}  // namespace
}  // namespace curate
