// What is planned of a training's memory against what the training takes.

#include "train/memory_estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "curate/error.h"
#include "curate/trainer.h"
#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/engine.h"
#include "tests/support/features.h"
#include "train/baseline.h"

namespace curate {
namespace {

struct EstimatedWay {
  const char* name;
  void (*set)(TrainOptions& options);
  bool on_cpu = true;
};

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

std::vector<EstimatedWay> estimated_ways() {
  return {EstimatedWay{"mf_deterministic", [](TrainOptions& options) { options.deterministic = true; }},
          EstimatedWay{"mf_rate_decay", [](TrainOptions& options) { options.rate_decay = 0.02; }},
          EstimatedWay{"mf_patience",
                       [](TrainOptions& options) {
                         options.patience = 1;
                         options.epochs = 3;
                       }},
          EstimatedWay{"mlp_adam_deterministic",
                       [](TrainOptions& options) {
                         options.model = ModelKind::mlp;
                         options.optimizer = OptimizerChoice::adam;
                         options.deterministic = true;
                         options.epochs = 2;
                       }},
          EstimatedWay{"mf_hot_items",
                       [](TrainOptions& options) {
                         MfKernelOptions kernel;
                         kernel.hot_items = 20;
                         kernel.split = 16;
                         options.sgd_kernel = kernel;
                       },
                       false},
          EstimatedWay{"mf_f16_deterministic",
                       [](TrainOptions& options) {
                         options.precision = EmbeddingPrecision::f16;
                         options.deterministic = true;
                       },
                       false},
          EstimatedWay{"mlp_products_in_bf16",
                       [](TrainOptions& options) {
                         options.model = ModelKind::mlp;
                         options.products = ProductPrecision::bf16;
                         options.layers = {160, 64};
                         options.batch = 512;
                       },
                       false},
          EstimatedWay{"mf", [](TrainOptions&) {}},
          EstimatedWay{"mf_log", [](TrainOptions& options) { options.transform = TransformKind::log; }},
          EstimatedWay{"mf_adam", [](TrainOptions& options) { options.optimizer = OptimizerChoice::adam; }},
          EstimatedWay{"mf_adagrad", [](TrainOptions& options) { options.optimizer = OptimizerChoice::adagrad; }},
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
                         options.units = UnitsKind::raw;
                         options.validation = 0.0;  // with a slice the start may be gone back to, which is not planned
                         options.dim = 3;
                       }},
          EstimatedWay{"mf_of_wide_rows",
                       [](TrainOptions& options) {
                         options.dim = 512;  // whose copies on the way to and from the host take the most
                         options.validation = 0.0;
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
          EstimatedWay{"ensemble",
                       [](TrainOptions& options) {
                         options.ensemble = {{std::nullopt, 3}};
                       }},
          EstimatedWay{"ensemble_of_kinds",
                       [](TrainOptions& options) {
                         options.ensemble = {{ModelKind::mf, 2}, {ModelKind::neumf, 2}};
                         options.features = "age,tags";
                       }},
          EstimatedWay{"ensemble_that_is_largest_in_the_end",
                       [](TrainOptions& options) {
                         options.ensemble = {{ModelKind::mlp, 12}};
                         options.dim = 96;
                         options.layers = {16};
                         options.batch = 64;
                       }},
          EstimatedWay{"mf_f16",
                       [](TrainOptions& options) {
                         options.precision = EmbeddingPrecision::f16;
                         options.dim = 13;
                       },
                       false},
          EstimatedWay{"mf_bf16_features",
                       [](TrainOptions& options) {
                         options.precision = EmbeddingPrecision::bf16;
                         options.features = "tags";
                         options.dim = 12;
                       },
                       false},
          EstimatedWay{"neumf_f16",
                       [](TrainOptions& options) {
                         options.precision = EmbeddingPrecision::f16;
                         options.model = ModelKind::neumf;
                         options.user_dim = 5;
                         options.item_dim = 16;
                         options.layers = {132, 32};  // wider than what a GPU fuses
                       },
                       false}};
}

struct EstimatedCase {
  EstimatedWay way;
  std::string device;
};

void PrintTo(const EstimatedCase& estimated, std::ostream* out) {
  *out << estimated.way.name << " on " << estimated.device;
}

std::vector<EstimatedCase> estimated_cases() {
  std::vector<EstimatedCase> cases;
  for (const EstimatedWay& way : estimated_ways()) {
    if (way.on_cpu) {
      cases.push_back({way, "cpu"});
    }
    // What is freed is free at once, as in the pool of a GPU.
    cases.push_back({way, "cuda-emulated:forward,eager"});
  }
  return cases;
}

TrainOptions options_of(const EstimatedWay& way, const std::string& device) {
  TrainOptions options;
  options.epochs = 1;
  options.device = device;
  options.threads = 2;
  way.set(options);
  return resolve(options);
}

Dataset dataset_of(const TrainOptions& options, std::int32_t users, std::int32_t items, std::int64_t ratings) {
  SyntheticOptions synthetic;
  synthetic.users = users;
  synthetic.items = items;
  synthetic.ratings = ratings;
  Dataset dataset = generate_dataset(synthetic).dataset;
  if (!options.features.empty()) {
    dataset.features = features_of(dataset);
    if (options.features == "tags") {
      dataset.features.erase(dataset.features.begin());
    }
  }
  return dataset;
}

/// Counts alone: nothing that a feature or a rating says.
TrainingSize counts_of(const Dataset& dataset) {
  TrainingSize size = {dataset.users.size(), dataset.items.size(), dataset.ratings.size(), dataset.scale,
                       sources_of(dataset.features)};
  for (FeatureSource& feature : size.features) {
    feature.data = nullptr;
  }
  return size;
}

class MemoryEstimateTest : public testing::TestWithParam<EstimatedCase> {};

// Catches: a buffer that is not planned, or planned and not taken; a size that depends on what the data say; memory of
// the engine that gpu_memory.h does not count, or counts twice.
TEST_P(MemoryEstimateTest, IsWhatTrainingTakes) {
  emulator::add_emulated_engine();
  const TrainOptions options = options_of(GetParam().way, GetParam().device);
  const bool gpu = GetParam().device != "cpu";
  const Dataset dataset = gpu ? dataset_of(options, 130, 60, 1500) : dataset_of(options, 700, 330, 20000);
  emulator::reset_most_bytes_in_use();
  const std::size_t before = emulator::bytes_in_use();
  const auto device = make_device(options.device, options.threads);
  const MemoryEstimate estimate = estimate_memory(*device->make_measuring(), options, counts_of(dataset));
  EXPECT_EQ(device->allocated_bytes(), 0U) << "planning takes memory of the device";

  const Trained trained = train_with_baseline(*device, options, dataset, dataset.ratings);
  EXPECT_EQ(estimate.array_bytes(), static_cast<std::int64_t>(trained.result.device_bytes));
  EXPECT_GE(estimate.scratch, 0);
  EXPECT_GT(estimate.host, estimate.data_set);
  for (const MeasuringDevice::Part& part : estimate.arrays) {
    EXPECT_GT(part.bytes, 0) << part.label;
    EXPECT_NE(part.label, "other") << "a buffer without a label";
  }
  if (gpu) {
    const auto taken = static_cast<std::int64_t>(emulator::most_bytes_in_use() - before);
    // Above it by what gpu_memory.h has from above: the sort, the libraries' workspace and their trials.
    constexpr std::int64_t kSort = 1 << 20;
    const bool library = is_network(options.model) || !options.ensemble.empty();
    EXPECT_GE(estimate.device_bytes(), taken);
    EXPECT_LE(estimate.device_bytes(), taken + kSort + (library ? std::int64_t{48} << 20U : 0));
    // Without a device to ask layers go one by one, which takes no less.
    EXPECT_GE(estimate_memory(*make_measuring_gpu(), options, counts_of(dataset)).array_bytes(),
              estimate.array_bytes());
  } else {
    EXPECT_EQ(estimate_memory(*make_measuring_cpu(2), options, counts_of(dataset)).array_bytes(),
              estimate.array_bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, MemoryEstimateTest, testing::ValuesIn(estimated_cases()), [](const auto& estimated) {
  return std::string(estimated.param.way.name) + (estimated.param.device == "cpu" ? "_cpu" : "_emulated");
});

/// The same counts as that data set, and other ratings: three users have nearly all of them, and some that are held out
/// are of users that training does not see.
Dataset crowded(const Dataset& even) {
  Dataset dataset = even;
  const auto count = static_cast<std::size_t>(dataset.ratings.size());
  for (std::size_t n = 0; n < count; ++n) {
    dataset.ratings.users[n] = static_cast<std::int32_t>(n % 200 == 0 ? n / 200 + 5 : n % 3);
    dataset.ratings.items[n] = static_cast<std::int32_t>(n / 3 % 1000);
    dataset.ratings.ratings[n] = n % 7 == 0 ? 4.0F : 4.5F;
  }
  return dataset;
}

// Catches: a plan as long as its runs, ratings packed by what they are, room for the warm ratings alone.
TEST(MemoryEstimate, DependsOnCountsAlone) {
  for (const int threads : {1, 3}) {
    for (const bool deterministic : {false, true}) {
      TrainOptions options;
      options.epochs = 1;
      options.device = "cpu";
      options.threads = threads;
      options.deterministic = deterministic;
      options.validation = 0.2;
      options = resolve(options);
      // More than one group of items.
      const Dataset even = dataset_of(options, 2000, 1000, 150000);
      const auto planned = estimate_memory(*make_measuring_cpu(threads), options, counts_of(even)).array_bytes();
      for (const Dataset& dataset : {even, crowded(even)}) {
        const TrainResult result = Trainer(options).train(dataset, dataset.ratings);
        EXPECT_EQ(static_cast<std::int64_t>(result.device_bytes), planned) << threads << ", " << deterministic;
      }
    }
  }
}

// The scale is all that is known of ratings.
TEST(MemoryEstimate, RatingsOffTheGridTakeTwiceAsMuch) {
  emulator::add_emulated_engine();
  for (const std::string device : {"cpu", "cuda-emulated"}) {
    TrainOptions options;
    options.epochs = 1;
    options.device = device;
    options.threads = 1;
    options = resolve(options);
    const Dataset halves = dataset_of(options, 130, 60, 1500);
    Dataset any = halves;
    any.ratings.ratings.front() = 3.7F;
    any.scale.step = 0.0F;
    const auto planned = [&](const Dataset& dataset) {
      return estimate_memory(*make_device(device, 1)->make_measuring(), options, counts_of(dataset)).array_bytes();
    };
    const auto taken = [&](const Dataset& dataset) {
      return static_cast<std::int64_t>(Trainer(options).train(dataset, dataset.ratings).device_bytes);
    };
    EXPECT_EQ(planned(any), taken(any)) << device;
    EXPECT_EQ(planned(halves), taken(halves)) << device;
    EXPECT_GE(planned(any) - planned(halves), 4 * 1400) << device;
    // All that is off the grid may lie in the part that is held out: then half of the room is left.
    Dataset wide = halves;
    wide.scale.step = 0.0F;
    EXPECT_EQ(planned(wide), taken(wide)) << device;
  }
}

// Adam's moments beside the gradient, the users' and items' rows padded to 16 bytes.
TEST(MemoryEstimate, SaysWhatArraysAreFor) {
  TrainOptions options;
  options.validation = 0.0;
  const TrainingSize size = {1000, 500, 100000, {0.5F, 5.0F, 0.5F}};
  const auto cpu = [&] { return estimate_memory(*make_measuring_cpu(1), resolve(options), size); };
  const MemoryEstimate sgd = cpu();
  EXPECT_EQ(sgd.array_bytes("optimizer"), 0);
  EXPECT_EQ(sgd.array_bytes("batches"), 0);
  EXPECT_EQ(sgd.array_bytes("best_epoch"), 0);
  EXPECT_EQ(sgd.array_bytes("parameters"), 4 * 1500 * 68 + 4);
  EXPECT_EQ(sgd.array_bytes("transfers"), 0) << "the model comes back when nothing is beside it";
  EXPECT_NEAR(static_cast<double>(sgd.array_bytes("ratings")), 1.6e6 + 12.0 * 1000, 200.0);
  EXPECT_GE(sgd.scratch, 4 * 500 * 65);
  const MemoryEstimate few = estimate_memory(*make_measuring_cpu(1), resolve(options), {1000, 500, 1000, size.scale});
  EXPECT_EQ(few.array_bytes("transfers"), 4 * 1000 * 64);
  options.optimizer = OptimizerChoice::adam;
  const MemoryEstimate adam = cpu();
  EXPECT_EQ(adam.array_bytes("parameters"), 4 * 1500 * 68 + 4);
  EXPECT_EQ(adam.array_bytes("gradients"), 4 * 1500 * 68);
  EXPECT_EQ(adam.array_bytes("optimizer"), 2 * 4 * 1500 * 68);
  EXPECT_EQ(adam.array_bytes("segments"), 2 * (12 * 100000 + 4 * 98));
  EXPECT_EQ(adam.array_bytes("batches"), 8 * 1024 * (2 * 68 + 1));
  EXPECT_NEAR(static_cast<double>(adam.array_bytes("ratings")), 2.8e6, 200.0);
  EXPECT_GE(adam.scratch, 2400000);
  const MemoryEstimate gpu = estimate_memory(*make_measuring_gpu(), resolve(options), size);
  EXPECT_EQ(gpu.array_bytes(), adam.array_bytes());
  EXPECT_GE(gpu.scratch, 2400000 + (16 << 20));
}

TEST(MemoryEstimate, CountsRowsOfWholeTiles) {
  TrainOptions options;
  options.model = ModelKind::mlp;
  options.optimizer = OptimizerChoice::adam;  // whose batches stay as they are
  const auto batches = [&options](std::int32_t batch) {
    options.batch = batch;
    return estimate_memory(*make_measuring_gpu(), resolve(options), {1000, 500, 100000, {0.5F, 5.0F, 0.5F}})
        .array_bytes("batches");
  };
  EXPECT_EQ(batches(513), batches(640));
  EXPECT_EQ(batches(640) - batches(512), batches(768) - batches(640));
}

TEST(MemoryEstimate, TakesTheSmallest) {
  TrainOptions options;
  options.optimizer = OptimizerChoice::adam;
  for (const std::int64_t ratings : {1, 2}) {
    const MemoryEstimate estimate = estimate_memory(*make_measuring_cpu(1), resolve(options), {1, 1, ratings});
    EXPECT_GT(estimate.array_bytes(), 0);
    EXPECT_LT(estimate.array_bytes(), 10000);
  }
  EXPECT_THROW(estimate_memory(*make_measuring_cpu(1), resolve(options), {1, 1, 0}), InputError);
}

TEST(MemoryEstimate, RefusesWhatTheEngineDoes) {
  TrainOptions options;
  options.precision = EmbeddingPrecision::f16;
  EXPECT_THROW(estimate_memory(*make_measuring_cpu(1), resolve(options), {10, 10, 50}), InputError);
  EXPECT_NO_THROW(estimate_memory(*make_measuring_gpu(), resolve(options), {10, 10, 50}));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A million ratings, in a process of its own: what the system says that it took.
TEST(MemoryEstimate, OfTheHostIsWhatAProcessTakes) {
  for (const std::string way : {"mf", "mf_adam", "mlp"}) {
    std::FILE* const child = ::popen(("'" CURATE_MEMORY_CHILD "' " + way).c_str(), "r");
    ASSERT_NE(child, nullptr);
    double planned = 0.0;
    double taken = 0.0;
    const int read = std::fscanf(child, "%lf %lf", &planned, &taken);
    ASSERT_EQ(::pclose(child), 0) << way;
    ASSERT_EQ(read, 2) << way;
    if (taken == 0.0) {
      GTEST_SKIP() << "the system does not let the peak of a process begin anew";
    }
    EXPECT_NEAR(planned, taken, 0.1 * taken) << way;
  }
}
#endif

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
