#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "device/device.h"
#include "tests/reference/mf_sgd_epoch.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/mf_traffic.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

using MfSgdEpochTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(MfSgdEpochTest);

TEST(MfSgdEpochReference, hand_computed) {
  reference::Mf mf = reference::to_reference({1, 1, 1, {1.0F}, {2.0F}, {0.5F}, {-0.5F}, 3.0F});
  ErrorSums sums;
  const MfSgdParams params{0.5F, false};
  // Prediction 3 + 0.5 - 0.5 + 1 * 2 = 5, e = -1.
  EXPECT_EQ(reference::mf_sgd_epoch(mf, sums, {0}, {0}, {4.0F}, params, 0.1), (std::vector<double>{5.0}));
  EXPECT_DOUBLE_EQ(mf.user_bias(0, 0), 0.5 + 0.1 * (-1.0 - 0.25));
  EXPECT_DOUBLE_EQ(mf.item_bias(0, 0), -0.5 + 0.1 * (-1.0 + 0.25));
  EXPECT_DOUBLE_EQ(mf.user(0, 0), 1.0 + 0.1 * (-2.0 - 0.5));
  EXPECT_DOUBLE_EQ(mf.item(0, 0), 2.0 + 0.1 * (-1.0 - 1.0));
  EXPECT_DOUBLE_EQ(sums.squared, 1.0);
  EXPECT_DOUBLE_EQ(sums.absolute, 1.0);
  EXPECT_DOUBLE_EQ(sums.absolute_whole_stars, 1.0);
  EXPECT_EQ(sums.count, 1);
}

TEST(MfSgdEpochReference, hand_computed_second_rating_sees_the_first) {
  reference::Mf mf = reference::to_reference({1, 2, 1, {1.0F}, {2.0F, 1.0F}, {}, {}, 0.0F});
  ErrorSums sums;
  const MfSgdParams params{0.0F, true};
  // First: prediction 2, e = -2: user 1 - 0.5 * 4 -> 0, item 2 - 0.5 * 2 = 1. Second: prediction 0, e = 3.
  EXPECT_EQ(reference::mf_sgd_epoch(mf, sums, {0, 0}, {0, 1}, {0.0F, 3.0F}, params, 0.5),
            (std::vector<double>{2.0, 0.0}));
  EXPECT_EQ(mf.user.values, (std::vector<double>{1.5}));
  EXPECT_EQ(mf.item.values, (std::vector<double>{1.0, 1.0}));
}

struct Epoch {
  std::int64_t users = 40;
  std::int64_t items = 30;
  std::int64_t dim = 16;
  std::int64_t ratings = 600;
  std::int64_t padding = 0;
  Biases biases;
  MfSgdParams params;
  float learning_rate = 0.05F;
  std::uint64_t seed = 81;
  bool deterministic = false;
  MfKernelOptions kernel;
  std::int32_t blocks = 0;
  std::int32_t turns = 0;
  std::int64_t epoch = 0;
  bool grid = false;            ///< half-stars
  std::int64_t batch_size = 0;  ///< of the state, which is at its batch 3; 0: all ratings are its batch 0

  std::string label() const {
    return "dim " + std::to_string(dim) + ", " + std::to_string(ratings) + " ratings" + biases.label() + ", reg " +
           std::to_string(params.reg) + (params.non_negative ? ", non-negative" : "") + ", padding " +
           std::to_string(padding) + ", blocks " + std::to_string(blocks) + ", turns " + std::to_string(turns) +
           ", epoch " + std::to_string(this->epoch) + (grid ? ", half-stars" : "") + ", seed " + std::to_string(seed);
  }
};

/// Ratings that repeat users and items all the time.
HostRatings random_ratings(RandomInputs& inputs, const Epoch& epoch) {
  HostRatings ratings{inputs.skewed_indices(epoch.ratings, epoch.users),
                      inputs.skewed_indices(epoch.ratings, epoch.items), inputs.ratings(epoch.ratings)};
  for (float& rating : ratings.ratings) {
    rating = epoch.grid ? std::round(2.0F * rating) / 2.0F : rating;
  }
  return ratings;
}

HostRatings in_order(const HostRatings& ratings, const std::vector<std::int32_t>& order) {
  HostRatings ordered;
  for (const std::int32_t k : order) {
    ordered.users.push_back(ratings.users.at(static_cast<std::size_t>(k)));
    ordered.items.push_back(ratings.items.at(static_cast<std::size_t>(k)));
    ordered.ratings.push_back(ratings.ratings.at(static_cast<std::size_t>(k)));
  }
  return ordered;
}

/// On a GPU only a single worker has an order, unless the plan is a deterministic one.
MfPlanOptions kept_order(const Device& device, std::int32_t blocks, std::uint64_t seed = 1, std::int32_t turns = 0,
                         bool deterministic = false) {
  MfPlanOptions options;
  options.seed = seed;
  options.deterministic = deterministic;
  options.blocks = deterministic || device.info().name.starts_with("cpu") ? blocks : 1;
  options.turns = turns;
  options.keep_order = true;
  return options;
}

void expect_epoch(Device& device, const Epoch& epoch) {
  RandomInputs inputs(epoch.seed);
  HostMf host = random_mf(inputs, epoch.users, epoch.items, epoch.dim, epoch.biases);
  if (epoch.params.non_negative) {
    for (std::vector<float>* factors : {&host.user, &host.item}) {
      for (float& value : *factors) {
        value = std::abs(value);
      }
    }
  }
  const HostRatings given = random_ratings(inputs, epoch);
  const DeviceMf tables(device, host, epoch.padding);
  const DeviceRatings device_ratings(device, given);
  MfPlanOptions options = kept_order(device, epoch.blocks, epoch.seed, epoch.turns, epoch.deterministic);
  options.kernel = epoch.kernel;
  const auto plan = device.run(ops::PlanMfEpoch{device_ratings.view(), epoch.users, epoch.items, options});
  std::vector<std::int32_t> order = plan->order(epoch.epoch, epoch.dim, epoch.params.non_negative);
  const HostRatings ratings = in_order(given, order);
  // Each rating once.
  std::sort(order.begin(), order.end());
  std::vector<std::int32_t> all(given.users.size());
  std::iota(all.begin(), all.end(), 0);
  ASSERT_EQ(order, all) << epoch.label();
  // Sums go on from the epoch before.
  ErrorSums expected_sums{1.0, 2.0, 3.0, 4};
  const DeviceMatrix<ErrorSums> sums = on_device(device, expected_sums);
  StepState at = epoch_state(epoch.ratings, epoch.learning_rate, epoch.epoch);
  if (epoch.batch_size > 0) {
    at = batch_state(epoch.ratings, epoch.batch_size, 3, epoch.learning_rate);
  }
  const DeviceMatrix<StepState> state = on_device(device, at);
  device.enqueue(ops::MfSgdEpoch{tables.tables(), sums.view(), plan.get(), epoch.params, state.view()});

  reference::Mf expected = reference::to_reference(host);
  const std::vector<double> predictions =
      reference::mf_sgd_epoch(expected, expected_sums, ratings.users, ratings.items, ratings.ratings, epoch.params,
                              static_cast<double>(epoch.learning_rate), epoch.epoch);
  const std::string label = epoch.label();
  ASSERT_TRUE(gradient_close(tables.user.values(), expected.user.values, 1e-4, label + ", user"));
  ASSERT_TRUE(gradient_close(tables.item.values(), expected.item.values, 1e-4, label + ", item"));
  if (epoch.biases.user) {
    ASSERT_TRUE(gradient_close(tables.user_bias.values(), expected.user_bias.values, 1e-4, label + ", user bias"));
  }
  if (epoch.biases.item) {
    ASSERT_TRUE(gradient_close(tables.item_bias.values(), expected.item_bias.values, 1e-4, label + ", item bias"));
  }
  ASSERT_TRUE(tables.padding_intact()) << label;
  EXPECT_EQ(device.read<float>(tables.mean.view()), host.mean) << label;

  const auto got = device.read<ErrorSums>(sums.view());
  ASSERT_EQ(got.count, expected_sums.count) << label;
  ASSERT_TRUE(all_close(std::vector<double>{got.squared}, std::vector<double>{expected_sums.squared}, {0.0, 1e-4},
                        label + ", squared error"));
}

// Catches: q updated with the new p, a stale row where an item repeats in the lanes of a step, ratings left out or
// taken twice, an order other than the plan's, the regularizer missed on factors or biases or scaled, e of the wrong
// sign, errors summed after the update, sums overwritten, a projection of the biases, tails and ld.
TEST_P(MfSgdEpochTest, matches_the_sequential_reference) {
  for (const std::int64_t dim : {1, 2, 3, 7, 16, 17, 64, 100, 128, 300, 512}) {
    for (const Biases& biases : all_biases()) {
      Epoch epoch;
      epoch.dim = dim;
      epoch.biases = biases;
      epoch.padding = biases.user ? 3 : 0;
      epoch.ratings = dim > 64 ? 200 : 600;
      // Long rows are long vectors: larger steps would diverge and blow up every rounding error.
      epoch.learning_rate = dim > 64 ? 0.02F : 0.05F;
      epoch.params = {0.1F, false};
      epoch.seed += static_cast<std::uint64_t>(dim);
      expect_epoch(device(), epoch);
      epoch.params = {0.0F, true};
      expect_epoch(device(), epoch);
    }
  }
}

// Every width of a row that has a way of its own, with and without a remainder; packed ratings and others.
TEST_P(MfSgdEpochTest, matches_for_every_dim_and_kind_of_rating) {
  for (const std::int64_t dim : {4, 8, 15, 16, 32, 33, 48, 64, 80, 96, 128, 130}) {
    for (const bool grid : {false, true}) {
      for (const bool biased : {false, true}) {
        Epoch epoch;
        epoch.dim = dim;
        epoch.grid = grid;
        epoch.biases = {biased, biased};
        epoch.ratings = 400;
        epoch.learning_rate = 0.02F;
        epoch.params = {0.1F, false};
        expect_epoch(device(), epoch);
      }
    }
  }
}

TEST_P(MfSgdEpochTest, matches_for_any_number_of_blocks_turns_and_epoch) {
  for (const std::int32_t blocks : {1, 2, 3, 8, 64}) {
    for (const std::int64_t number : {0, 1, 2, 7}) {
      Epoch epoch;
      epoch.blocks = blocks;
      epoch.turns = number == 1 ? 3 : static_cast<std::int32_t>(number);
      epoch.epoch = number;
      epoch.grid = number != 2;
      epoch.ratings = 1500;
      epoch.users = 120;
      epoch.items = 70;
      epoch.learning_rate = 0.02F;
      epoch.params = {0.05F, false};
      expect_epoch(device(), epoch);
    }
  }
}

TEST_P(MfSgdEpochTest, matches_with_rates_that_decay) {
  for (const std::int64_t dim : {8, 32, 33, 64, 128, 200}) {
    for (const Biases& biases : all_biases()) {
      for (const std::int64_t number : {0, 3}) {
        Epoch epoch;
        epoch.dim = dim;
        epoch.biases = biases;
        epoch.epoch = number;
        epoch.blocks = 2;
        epoch.grid = number == 0;
        epoch.learning_rate = 0.05F;
        epoch.params = {0.1F, number == 3 && !biases.user, 0.05F};
        expect_epoch(device(), epoch);
      }
    }
  }
}

// Every pair of lanes wants the same row at once: few items, many users.
TEST_P(MfSgdEpochTest, matches_where_items_repeat_in_every_step) {
  for (const std::int64_t dim : {16, 64}) {
    for (const std::int64_t items : {1, 2, 3, 5, 10}) {
      Epoch epoch;
      epoch.dim = dim;
      epoch.items = items;
      epoch.users = 300;
      epoch.ratings = 900;
      epoch.grid = true;
      epoch.learning_rate = 0.02F;
      epoch.params = {0.1F, false};
      expect_epoch(device(), epoch);
    }
  }
}

// What is on a grid of half-stars from anywhere is packed; what only looks like it is not: both have to come out right.
TEST_P(MfSgdEpochTest, ratings_of_any_kind_keep_their_value) {
  for (const std::vector<float>& values : {std::vector<float>{-3.0F, 124.5F, 0.0F},
                                           {-3.0F, 125.0F, 0.0F},
                                           {0.25F, 0.75F, 5.25F},
                                           {0.0F, 0.3F},
                                           {1e15F, -1e15F},
                                           {16777216.0F, 16777217.0F, 3.5F},
                                           {7.0F}}) {
    HostRatings given;
    for (std::size_t k = 0; k < values.size(); ++k) {
      given.users.push_back(static_cast<std::int32_t>(k));
      given.items.push_back(0);
      given.ratings.push_back(values[k]);
    }
    const auto count = static_cast<std::int64_t>(values.size());
    const HostMf host{count, 1, 1, std::vector<float>(values.size(), 0.0F), {0.0F}, {}, {}, 0.0F};
    const DeviceMf tables(device(), host);
    const DeviceRatings ratings(device(), given);
    const auto plan = device().run(ops::PlanMfEpoch{ratings.view(), count, 1});
    const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
    const DeviceMatrix<StepState> state = on_device(device(), epoch_state(count, 0.0F));
    device().enqueue(ops::MfSgdEpoch{tables.tables(), sums.view(), plan.get(), {}, state.view()});
    double expected = 0.0;
    for (const float value : values) {
      expected += static_cast<double>(value) * static_cast<double>(value);
    }
    EXPECT_NEAR(device().read<ErrorSums>(sums.view()).squared, expected, 1e-6 * expected) << values[0];
  }
}

// Epochs go through the ratings in different orders, seeds too; the same ones in the same.
TEST_P(MfSgdEpochTest, orders_differ_by_epoch_and_seed) {
  RandomInputs inputs(85);
  Epoch epoch;
  const DeviceRatings ratings(device(), random_ratings(inputs, epoch));
  const auto plan = [&](std::uint64_t seed) {
    return device().run(ops::PlanMfEpoch{ratings.view(), epoch.users, epoch.items, kept_order(device(), 2, seed)});
  };
  const std::vector<std::int32_t> first = plan(1)->order(0, 16, false);
  EXPECT_EQ(plan(1)->order(0, 16, false), first);
  EXPECT_NE(plan(1)->order(1, 16, false), first);
  EXPECT_NE(plan(2)->order(0, 16, false), first);
  EXPECT_TRUE(device().run(ops::PlanMfEpoch{ratings.view(), epoch.users, epoch.items})->order(0, 16, false).empty());
}

TEST_P(MfSgdEpochTest, matches_for_few_ratings) {
  for (const std::int64_t ratings : {1, 2, 3, 5, 33, 65, 257, 513}) {
    Epoch epoch;
    epoch.ratings = ratings;
    epoch.params = {0.1F, false};
    expect_epoch(device(), epoch);
  }
}

// Catches: a table of one user or one item, whose every update depends on the one before.
TEST_P(MfSgdEpochTest, matches_when_all_ratings_are_of_one_user_or_item) {
  Epoch epoch;
  epoch.params = {0.1F, false};
  epoch.learning_rate = 0.02F;
  epoch.users = 1;
  expect_epoch(device(), epoch);
  epoch.items = 1;
  expect_epoch(device(), epoch);
  epoch.users = 50;
  expect_epoch(device(), epoch);
}

TEST_P(MfSgdEpochTest, no_ratings_change_nothing) {
  RandomInputs inputs(84);
  const HostMf host = random_mf(inputs, 3, 4, 5, {});
  const DeviceMf tables(device(), host);
  const DeviceRatings ratings(device(), {});
  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{1.0, 2.0, 3.0, 4});
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(0, 1, 0, 0.1F));
  const auto plan = device().run(ops::PlanMfEpoch{ratings.view(), 3, 4});
  device().enqueue(ops::MfSgdEpoch{tables.tables(), sums.view(), plan.get(), {0.1F, true}, state.view()});
  EXPECT_TRUE(bits_equal(tables.user.values(), host.user, "user"));
  EXPECT_TRUE(bits_equal(tables.item.values(), host.item, "item"));
  EXPECT_EQ(device().read<ErrorSums>(sums.view()).squared, 1.0);
  EXPECT_EQ(device().read<ErrorSums>(sums.view()).count, 4);
}

// The epoch is all of the ratings, however far the state's batch reaches.
TEST_P(MfSgdEpochTest, takes_all_ratings_whatever_the_batch) {
  for (const std::int64_t batch_size : {32, 33, 64}) {  // batch 3 has 4 ratings, 1 and none
    Epoch epoch;
    epoch.ratings = 100;
    epoch.batch_size = batch_size;
    epoch.params = {0.1F, false};
    expect_epoch(device(), epoch);
  }
}

TEST_P(MfSgdEpochTest, matches_for_any_number_of_threads) {
  for (const auto& other : devices_by_threads()) {
    SCOPED_TRACE(testing::Message() << other->info().threads << " threads");
    Epoch epoch;
    epoch.ratings = 3000;
    epoch.users = 200;
    epoch.items = 100;
    epoch.params = {0.02F, false};
    epoch.learning_rate = 0.01F;
    for (const std::int32_t blocks : {0, 5}) {
      epoch.blocks = blocks;
      expect_epoch(*other, epoch);
    }
  }
}

/// Tables after two epochs of so many ratings that they are cut into blocks.
std::vector<float> after_epochs(Device& device, const MfPlanOptions& options) {
  Epoch epoch;
  epoch.users = 2000;
  epoch.items = 700;
  epoch.ratings = 150000;
  epoch.grid = true;
  RandomInputs inputs(86);
  const HostMf host = random_mf(inputs, epoch.users, epoch.items, 8, {});
  const DeviceMf tables(device, host);
  const DeviceRatings ratings(device, random_ratings(inputs, epoch));
  const auto plan = device.run(ops::PlanMfEpoch{ratings.view(), epoch.users, epoch.items, options});
  const DeviceMatrix<ErrorSums> sums = on_device(device, ErrorSums{});
  for (std::int64_t number = 0; number < 2; ++number) {
    const DeviceMatrix<StepState> state = on_device(device, epoch_state(epoch.ratings, 0.01F, number));
    device.enqueue(ops::MfSgdEpoch{tables.tables(), sums.view(), plan.get(), {0.02F, false}, state.view()});
    device.synchronize();
  }
  // What every run leaves out would be the same in all of them.
  EXPECT_EQ(device.read<ErrorSums>(sums.view()).count, 2 * epoch.ratings);
  std::vector<float> values = tables.user.values();
  const std::vector<float> items = tables.item.values();
  values.insert(values.end(), items.begin(), items.end());
  values.push_back(static_cast<float>(device.read<ErrorSums>(sums.view()).squared));
  return values;
}

TEST_P(MfSgdEpochTest, deterministic_plans_give_the_same_bits_on_any_number_of_threads) {
  MfPlanOptions options;
  options.deterministic = true;
  const std::vector<float> expected = after_epochs(device(), options);
  for (const auto& other : devices_by_threads()) {
    EXPECT_TRUE(bits_equal(after_epochs(*other, options), expected, "tables"));
  }
  if (GetParam().starts_with("cpu")) {
    // Without, they are the same on the same number of threads.
    EXPECT_TRUE(bits_equal(after_epochs(device(), {}), after_epochs(device(), {}), "tables"));
  }
}

/// Ways of a GPU to go through the ratings, see MfKernelOptions.
std::vector<MfKernelOptions> kernel_variants() {
  std::vector<MfKernelOptions> variants;
  for (const std::int32_t lanes : {1, 4, 16, 32}) {
    for (const std::int32_t ahead : {1, 2, 4}) {
      variants.push_back({lanes, ahead, 0, 0, ahead == 2});
    }
  }
  for (const std::int32_t hot : {1, 7, 1000}) {
    variants.push_back({hot == 7 ? 4 : 0, 0, 16, hot, hot == 1});
  }
  return variants;
}

// Catches: a rating that is left out or taken twice at the end of a user's, stale rows among those on their way, packs
// that a lane does not have, changes of hot items that nobody adds or that their own block does not see.
TEST_P(MfSgdEpochTest, variants_of_the_kernel_match_the_sequential_reference) {
  for (const MfKernelOptions& kernel : kernel_variants()) {
    for (const std::int64_t dim : {8, 64, 128}) {
      Epoch epoch;
      epoch.dim = dim;
      epoch.kernel = kernel;
      epoch.grid = true;
      epoch.ratings = 300;
      epoch.learning_rate = 0.02F;
      epoch.params = {0.1F, dim == 8 && kernel.lanes == 4};
      expect_epoch(device(), epoch);
    }
  }
}

// With steps so small that their order does not matter, those of all workers at once have to add up to the sequential
// ones. Catches: updates lost between workers, pieces of a user or blocks with hot items.
TEST_P(MfSgdEpochTest, no_update_is_lost_among_workers) {
  std::vector<MfKernelOptions> kernels = kernel_variants();
  kernels.resize(kernels.size() - 1);
  kernels.push_back({0, 0, 16, 0, false});
  kernels.push_back({8, 1, 32, 20, true});
  for (const MfKernelOptions& kernel : kernels) {
    Epoch epoch;
    epoch.users = 12;
    epoch.items = 25;
    epoch.dim = 32;
    epoch.ratings = 900;
    epoch.grid = true;
    RandomInputs inputs(epoch.seed);
    const HostMf host = random_mf(inputs, epoch.users, epoch.items, epoch.dim, {true, true});
    const HostRatings given = random_ratings(inputs, epoch);
    const DeviceMf tables(device(), host);
    const DeviceRatings ratings(device(), given);
    MfPlanOptions options;
    options.kernel = kernel;
    const auto plan = device().run(ops::PlanMfEpoch{ratings.view(), epoch.users, epoch.items, options});
    const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
    constexpr float kRate = 5e-6F;
    const DeviceMatrix<StepState> state = on_device(device(), epoch_state(epoch.ratings, kRate));
    device().enqueue(ops::MfSgdEpoch{tables.tables(), sums.view(), plan.get(), {0.1F, false}, state.view()});
    EXPECT_EQ(device().read<ErrorSums>(sums.view()).count, epoch.ratings);

    reference::Mf expected = reference::to_reference(host);
    ErrorSums expected_sums;
    reference::mf_sgd_epoch(expected, expected_sums, given.users, given.items, given.ratings, {0.1F, false},
                            static_cast<double>(kRate));
    const auto change = [](const auto& after, const std::vector<float>& before) {
      std::vector<double> difference;
      for (std::size_t k = 0; k < before.size(); ++k) {
        difference.push_back(static_cast<double>(after[k]) - static_cast<double>(before[k]));
      }
      return difference;
    };
    const auto close = [&](const std::vector<float>& got, const std::vector<double>& sequential,
                           const std::vector<float>& before, const char* what) {
      const std::vector<double> moved = change(got, before);
      return gradient_close(std::vector<float>(moved.begin(), moved.end()), change(sequential, before), 0.02,
                            epoch.label() + ", lanes " + std::to_string(kernel.lanes) + ", " + what);
    };
    EXPECT_TRUE(close(tables.user.values(), expected.user.values, host.user, "user"));
    EXPECT_TRUE(close(tables.item.values(), expected.item.values, host.item, "item"));
    EXPECT_TRUE(close(tables.user_bias.values(), expected.user_bias.values, host.user_bias, "user bias"));
    EXPECT_TRUE(close(tables.item_bias.values(), expected.item_bias.values, host.item_bias, "item bias"));
  }
}

// Many workers and yet the sequential algorithm: catches rows that two blocks of a round share, ratings of a block in
// another order, an item that is rated twice in a row, the end of a user's ratings.
TEST_P(MfSgdEpochTest, deterministic_plans_match_the_sequential_reference) {
  for (const std::int32_t blocks : {0, 1, 3, 16}) {
    for (const std::int64_t number : {0, 1, 2}) {
      for (const std::int64_t dim : {7, 16, 64, 300}) {
        Epoch epoch;
        epoch.deterministic = true;
        epoch.blocks = blocks;
        epoch.epoch = number;
        epoch.dim = dim;
        epoch.grid = number == 1;
        epoch.users = 90;
        epoch.ratings = 1100;
        epoch.learning_rate = 0.02F;
        epoch.biases = {number != 1, number != 2};
        epoch.params = {0.05F, number == 2, number == 0 ? 0.0F : 0.01F};
        expect_epoch(device(), epoch);
      }
    }
  }
}

// More groups than a block has workers, and than there are items. Catches: a round that is left out, groups past the
// first ones that nobody takes, a block's number that wraps around.
TEST_P(MfSgdEpochTest, deterministic_plans_of_many_groups_match_the_sequential_reference) {
  for (const std::int32_t blocks : {17, 40}) {
    Epoch epoch;
    epoch.deterministic = true;
    epoch.blocks = blocks;
    epoch.epoch = blocks % 2;
    epoch.dim = blocks == 17 ? 7 : 16;
    epoch.grid = blocks == 40;
    epoch.users = 130;
    epoch.items = 30;
    epoch.ratings = 1100;
    epoch.learning_rate = 0.02F;
    epoch.params = {0.05F, false};
    expect_epoch(device(), epoch);
  }
}

// The bytes that the prediction of an epoch's time stands on. Catches: a row that is read again, written where it is
// reduced, or moved with its padding.
TEST(MfSgdEpochTraffic, is_a_row_read_and_a_row_reduced_for_every_rating) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::int64_t dim : {32, 64, 128}) {
      for (const bool biases : {false, true}) {
        const MfTraffic bytes = count_mf_traffic(dim, dtype, biases);
        const std::int64_t row = dim * static_cast<std::int64_t>(size_of(dtype)) + (biases ? 4 : 0);
        EXPECT_EQ(bytes.read, (bytes.ratings + bytes.users) * row + MfTraffic::kOwnRead);
        EXPECT_EQ(bytes.written, bytes.users * row);
        EXPECT_EQ(bytes.reduced, bytes.ratings * row + 4 * bytes.users + MfTraffic::kOwnReduced);
        // Four bytes a rating, and of a user where its piece is; every lane reads them.
        const std::int64_t lanes = std::min<std::int64_t>(32, dim * static_cast<std::int64_t>(size_of(dtype)) / 16);
        EXPECT_EQ(bytes.plan, lanes * (4 * bytes.ratings + 20 * bytes.users));
      }
    }
  }
}

// Needs no reference: epochs on ratings that a factorization made must find it again.
TEST_P(MfSgdEpochTest, epochs_fit_ratings_that_factors_explain) {
  constexpr std::int64_t kUsers = 30;
  constexpr std::int64_t kItems = 20;
  RandomInputs inputs(83);
  const HostMf truth = random_mf(inputs, kUsers, kItems, 2, {});
  HostRatings ratings;
  const reference::Mf exact = reference::to_reference(truth);
  for (std::int32_t u = 0; u < kUsers; ++u) {
    for (std::int32_t i = 0; i < kItems; ++i) {
      ratings.users.push_back(u);
      ratings.items.push_back(i);
      ratings.ratings.push_back(static_cast<float>(reference::predict(exact, u, i)));
    }
  }
  HostMf start = random_mf(inputs, kUsers, kItems, 4, {});
  for (std::vector<float>* factors : {&start.user, &start.item}) {
    for (float& value : *factors) {
      value *= 0.3F;
    }
  }
  const DeviceMf tables(device(), start);
  const DeviceRatings device_ratings(device(), ratings);
  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{});
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(ratings.size(), ratings.size(), 0, 0.05F));
  const auto plan = device().run(ops::PlanMfEpoch{device_ratings.view(), kUsers, kItems});
  for (int epoch = 0; epoch < 100; ++epoch) {
    device().zero(sums.view());
    device().enqueue(ops::MfSgdEpoch{tables.tables(), sums.view(), plan.get(), {}, state.view()});
  }
  const auto got = device().read<ErrorSums>(sums.view());
  EXPECT_EQ(got.count, ratings.size());
  EXPECT_LT(std::sqrt(got.squared / static_cast<double>(got.count)), 0.01);
}

}  // namespace
}  // namespace curate::test
