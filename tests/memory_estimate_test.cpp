// The estimate of a training run's memory against what the run took.

#include "train/memory_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "curate/trainer.h"
#include "device/device.h"
#include "tests/emulator/engine.h"
#include "tests/support/features.h"

namespace curate {
namespace {

struct EstimatedWay {
  const char* name;
  void (*set)(TrainOptions& options);
};

void PrintTo(const EstimatedWay& way, std::ostream* out) {
  *out << way.name;
}

/// Named as the ways' options name them: an item has up to three tags.
std::vector<Feature> features_of(const Dataset& dataset) {
  std::vector<std::vector<std::int32_t>> ages;
  std::vector<std::vector<std::int32_t>> tags;
  for (std::int32_t user = 0; user < dataset.users.size(); ++user) {
    ages.push_back({user % 8});
  }
  for (std::int32_t item = 0; item < dataset.items.size(); ++item) {
    tags.emplace_back();
    for (std::int32_t tag = 0; tag <= item % 3; ++tag) {
      tags.back().push_back((7 * item + tag) % 1001);
    }
  }
  // More values than there are users or items, whose array is the largest that comes back.
  return {test::make_feature("age", FeatureSide::user, 8, ages),
          test::make_feature("tags", FeatureSide::item, 1001, tags)};
}

class MemoryEstimateTest : public testing::TestWithParam<EstimatedWay> {};

TEST_P(MemoryEstimateTest, IsWhatTrainingTakes) {
  emulator::add_emulated_engine();
  SyntheticOptions synthetic;
  synthetic.users = 700;
  synthetic.items = 330;
  synthetic.ratings = 20000;
  Dataset dataset = generate_dataset(synthetic).dataset;
  TrainOptions options;
  options.epochs = 1;
  options.device = "cpu";
  options.threads = 2;
  GetParam().set(options);
  options = resolve(options);
  if (!options.features.empty()) {
    dataset.features = features_of(dataset);
    if (options.features == "tags") {
      dataset.features.erase(dataset.features.begin());
    }
  }
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  const MemoryEstimate estimate = estimate_memory(
      options, {dataset.users.size(), dataset.items.size(), dataset.ratings.size(), dataset.ratings.has_timestamps(),
                options.device.starts_with("cuda"), feature_sizes(options, dataset.features)});
  const auto taken = static_cast<double>(result.device_bytes);
  EXPECT_NEAR(static_cast<double>(estimate.arrays()), taken, 0.005 * taken);
  EXPECT_GT(estimate.cpu(), estimate.arrays());
  EXPECT_GE(estimate.gpu(), estimate.arrays());
  EXPECT_GT(estimate.host, 3 * 20 * dataset.ratings.size());
}

INSTANTIATE_TEST_SUITE_P(
    Ways, MemoryEstimateTest,
    testing::Values(EstimatedWay{"mf", [](TrainOptions&) {}},
                    EstimatedWay{"mf_adam", [](TrainOptions& options) { options.optimizer = OptimizerChoice::adam; }},
                    EstimatedWay{"mf_adagrad",
                                 [](TrainOptions& options) { options.optimizer = OptimizerChoice::adagrad; }},
                    EstimatedWay{"mf_sgd_batches",
                                 [](TrainOptions& options) {
                                   options.batch = 100;
                                   options.dim = 5;
                                   options.biases = false;
                                   options.validation = 0.0;
                                 }},
                    EstimatedWay{"mf_one_batch",
                                 [](TrainOptions& options) {
                                   options.batch = 100000;
                                   options.validation = 0.3;
                                   options.dim = 3;
                                 }},
                    EstimatedWay{"mf_without_validation", [](TrainOptions& options) { options.validation = 0.0; }},
                    EstimatedWay{"mlp", [](TrainOptions& options) { options.model = ModelKind::mlp; }},
                    EstimatedWay{"mlp_of_odd_widths",
                                 [](TrainOptions& options) {
                                   options.model = ModelKind::mlp;
                                   options.optimizer = OptimizerChoice::adagrad;
                                   options.user_dim = 5;
                                   options.item_dim = 9;
                                   options.layers = {101, 50, 7};
                                   options.dense_dropout = 0.2;
                                   options.batch = 3000;
                                 }},
                    EstimatedWay{"mlp_of_padded_batches",
                                 [](TrainOptions& options) {
                                   options.model = ModelKind::mlp;
                                   options.batch = 6401;  // buffers of 6528 rows
                                   options.layers = {300};
                                 }},
                    EstimatedWay{"mlp_without_layers",
                                 [](TrainOptions& options) {
                                   options.model = ModelKind::mlp;
                                   options.optimizer = OptimizerChoice::sgd;
                                   options.layers = std::vector<std::int32_t>();
                                   options.validation = 0.0;
                                 }},
                    EstimatedWay{"mf_features", [](TrainOptions& options) { options.features = "age,tags"; }},
                    EstimatedWay{"mf_features_of_items",
                                 [](TrainOptions& options) {
                                   options.features = "tags";
                                   options.optimizer = OptimizerChoice::sgd;
                                   options.biases = false;
                                   options.dim = 6;
                                   options.validation = 0.0;
                                 }},
                    EstimatedWay{"mlp_features",
                                 [](TrainOptions& options) {
                                   options.model = ModelKind::mlp;
                                   options.features = "age,tags";
                                 }},
                    EstimatedWay{"mlp_features_of_odd_widths",
                                 [](TrainOptions& options) {
                                   options.model = ModelKind::mlp;
                                   options.features = "age,tags";
                                   options.feature_dim = {{"age", 3}, {"tags", 33}};
                                   options.optimizer = OptimizerChoice::adagrad;
                                   options.feature_dropout = 0.2;
                                 }},
                    EstimatedWay{"neumf", [](TrainOptions& options) { options.model = ModelKind::neumf; }},
                    EstimatedWay{"neumf_features",
                                 [](TrainOptions& options) {
                                   options.model = ModelKind::neumf;
                                   options.features = "age,tags";
                                   options.optimizer = OptimizerChoice::sgd;
                                   options.factors = 5;
                                   options.dense_dropout = 0.1;
                                   options.batch = 3000;
                                 }},
                    EstimatedWay{"mf_f16",
                                 [](TrainOptions& options) {
                                   options.device = "cuda-emulated";
                                   options.precision = EmbeddingPrecision::f16;
                                   options.dim = 13;
                                 }},
                    EstimatedWay{"mf_bf16_features",
                                 [](TrainOptions& options) {
                                   options.device = "cuda-emulated";
                                   options.precision = EmbeddingPrecision::bf16;
                                   options.features = "tags";
                                   options.dim = 12;
                                 }},
                    EstimatedWay{"neumf_f16",
                                 [](TrainOptions& options) {
                                   options.device = "cuda-emulated";
                                   options.precision = EmbeddingPrecision::f16;
                                   options.model = ModelKind::neumf;
                                   options.user_dim = 5;
                                   options.item_dim = 16;
                                   options.layers = {132, 32};  // wider than what a GPU fuses
                                 }}),
    [](const auto& way) { return std::string(way.param.name); });

TEST(MemoryEstimate, FollowsTheFormulas) {
  TrainOptions options;
  options.validation = 0.0;
  const TrainingSize size = {1000, 500, 100000, true};
  const MemoryEstimate sgd = estimate_memory(resolve(options), size);
  EXPECT_EQ(sgd.segments, 0);
  EXPECT_EQ(sgd.optimizer, 0);
  EXPECT_EQ(sgd.batches, 0);
  EXPECT_EQ(sgd.parameters, 4 * 1500 * 68 + 4);
  EXPECT_NEAR(static_cast<double>(sgd.ratings), 1.6e6 + 8.0 * 1000, 200.0);
  EXPECT_EQ(sgd.best, 4 * 1000 * 64);
  EXPECT_EQ(sgd.scratch, 4 * 500 * 65);
  options.optimizer = OptimizerChoice::adam;
  const MemoryEstimate adam = estimate_memory(resolve(options), size);
  EXPECT_EQ(adam.parameters, sgd.parameters);
  EXPECT_NEAR(static_cast<double>(adam.ratings), 2.8e6, 200.0);
  EXPECT_EQ(adam.scratch, 2400000);
  EXPECT_EQ(adam.gpu_scratch, 2400000 + (16 << 20));
  EXPECT_EQ(sgd.gpu_scratch, 3200000 + (16 << 20) + 36 * 1000 + 8 * 500);
  EXPECT_EQ(adam.optimizer, 3 * 4 * 1500 * 68);
  EXPECT_EQ(adam.segments, 2 * (12 * 100000 + 4 * 98));
  EXPECT_EQ(adam.batches, 8 * 1024 * (2 * 68 + 1));
}

TEST(MemoryEstimate, CountsRowsOfWholeTiles) {
  TrainOptions options;
  options.model = ModelKind::mlp;
  const auto batches = [&options](std::int32_t batch) {
    options.batch = batch;
    return estimate_memory(resolve(options), {1000, 500, 100000, true}).batches;
  };
  EXPECT_EQ(batches(513), batches(640));
  EXPECT_EQ(batches(640) - batches(512), batches(768) - batches(640));
  EXPECT_EQ(batches(384) - batches(383), (batches(640) - batches(512)) / 128) << "short ones are as they are";
}

// A GPU that works on all layers at once keeps no values of the hidden ones.
TEST(MemoryEstimate, IsAnUpperBoundOfWhatFusedLayersTake) {
  emulator::add_emulated_engine();
  SyntheticOptions synthetic;
  synthetic.users = 70;
  synthetic.items = 33;
  synthetic.ratings = 500;
  const Dataset dataset = generate_dataset(synthetic).dataset;
  TrainOptions options;
  options.model = ModelKind::mlp;
  options.epochs = 1;
  options.device = "cuda-emulated";
  options.user_dim = 8;
  options.item_dim = 8;
  options.layers = {12, 5};
  options = resolve(options);
  const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
  const MemoryEstimate estimate = estimate_memory(
      options, {dataset.users.size(), dataset.items.size(), dataset.ratings.size(), dataset.ratings.has_timestamps()});
  const std::int64_t batch = std::min<std::int64_t>(options.batch.value(), 475);
  const std::int64_t hidden = 4 * (12 + 8) * (2 * batch + 16384);
  EXPECT_NEAR(static_cast<double>(result.device_bytes), static_cast<double>(estimate.arrays() - hidden), 200.0);
}

TEST(MemoryEstimate, TakesTheSmallest) {
  TrainOptions options;
  options.optimizer = OptimizerChoice::adam;
  for (const std::int64_t ratings : {0, 1, 2}) {
    const MemoryEstimate estimate = estimate_memory(resolve(options), {1, 1, ratings, false});
    EXPECT_GT(estimate.cpu(), 0);
    EXPECT_LT(estimate.cpu(), 10000);
  }
}

TEST(DeviceMemory, CountsWhatBuffersHold) {
  const auto device = make_device("cpu", 1);
  EXPECT_EQ(device->allocated_bytes(), 0U);
  {
    const Buffer first = device->allocate(1000);
    Buffer second = device->allocate(500);
    EXPECT_EQ(device->allocated_bytes(), 1500U);
    const Buffer moved = std::move(second);
    EXPECT_EQ(device->allocated_bytes(), 1500U);
    const Buffer none = device->allocate(0);
  }
  EXPECT_EQ(device->allocated_bytes(), 0U);
  EXPECT_EQ(device->peak_bytes(), 1500U);
}

}  // namespace
}  // namespace curate
