#include "device/cpu/mf_sgd_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "device/cpu/mf_epoch_plan.h"
#include "tests/reference/mf_sgd_epoch.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

struct Case {
  std::int64_t dim = 16;
  std::int64_t users = 60;
  std::int64_t items = 40;
  std::int64_t ratings = 1000;
  bool grid = true;
  Biases biases;
  bool non_negative = false;
  float reg = 0.05F;
  float rate_decay = 0.0F;
  float learning_rate = 0.02F;

  std::string label() const {
    return "dim " + std::to_string(dim) + ", " + std::to_string(items) + " items" + (grid ? ", grid" : "") +
           biases.label() + (non_negative ? ", non-negative" : "") + ", reg " + std::to_string(reg) + ", rate decay " +
           std::to_string(rate_decay);
  }
};

/// Two epochs by a kernel and by the sequential reference in the order that the plan names for it.
void expect_reference(const cpu::MfSgdKernel& kernel, const Case& of) {
  RandomInputs inputs(91);
  HostMf host = random_mf(inputs, of.users, of.items, of.dim, of.biases);
  for (std::vector<float>* factors : {&host.user, &host.item}) {
    for (float& value : *factors) {
      value = (of.non_negative ? std::abs(value) : value) / static_cast<float>(of.dim);
    }
  }
  HostRatings given{inputs.skewed_indices(of.ratings, of.users), inputs.skewed_indices(of.ratings, of.items),
                    inputs.ratings(of.ratings)};
  for (float& rating : given.ratings) {
    rating = of.grid ? std::round(2.0F * rating) / 2.0F : rating;
  }
  const auto device = make_device("cpu", 1);
  const DeviceRatings ratings(*device, given);
  const DeviceMf tables(*device, host, 3);
  ThreadPool pool(1);
  MfPlanOptions options;
  options.keep_order = true;
  const cpu::MfEpochPlan plan(*device, ratings.view(), of.users, of.items, options, 1, 1, pool);
  const MfSgdParams params{of.reg, of.non_negative, of.rate_decay};

  ErrorSums sums;
  reference::Mf expected = reference::to_reference(host);
  ErrorSums expected_sums;
  for (const std::int64_t epoch : {0, 1}) {
    StepState state = batch_state(of.ratings, of.ratings, 0, of.learning_rate);
    state.epoch = epoch;
    cpu::mf_sgd_epoch(pool, tables.tables(), sums, plan, params, state, kernel);
    HostRatings ordered;
    for (const std::int32_t k : plan.order(epoch, of.dim, of.non_negative, kernel)) {
      ordered.users.push_back(given.users.at(static_cast<std::size_t>(k)));
      ordered.items.push_back(given.items.at(static_cast<std::size_t>(k)));
      ordered.ratings.push_back(given.ratings.at(static_cast<std::size_t>(k)));
    }
    reference::mf_sgd_epoch(expected, expected_sums, ordered.users, ordered.items, ordered.ratings, params,
                            static_cast<double>(of.learning_rate), epoch);
  }
  ASSERT_TRUE(gradient_close(tables.user.values(), expected.user.values, 1e-4, of.label() + ", user"));
  ASSERT_TRUE(gradient_close(tables.item.values(), expected.item.values, 1e-4, of.label() + ", item"));
  if (of.biases.user) {
    ASSERT_TRUE(gradient_close(tables.user_bias.values(), expected.user_bias.values, 1e-4, of.label() + ", user bias"));
  }
  if (of.biases.item) {
    ASSERT_TRUE(gradient_close(tables.item_bias.values(), expected.item_bias.values, 1e-4, of.label() + ", item bias"));
  }
  ASSERT_TRUE(tables.padding_intact()) << of.label();
  ASSERT_EQ(sums.count, expected_sums.count);
  ASSERT_NEAR(sums.squared, expected_sums.squared, 1e-4 * expected_sums.squared) << of.label();
}

/// The kernels by the floats of their vectors. A machine has those that its instructions allow, the narrow ones first.
class MfSgdBlock : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const std::vector<cpu::MfSgdKernel> kernels = cpu::mf_sgd_kernels();
    const std::size_t place = GetParam() == 4 ? 0 : GetParam() == 8 ? 1 : 2;
    if (place < kernels.size()) {
      kernel_ = kernels[place];
      return;
    }
    const std::string problem =
        std::string("this machine has no ") + (GetParam() == 8 ? "AVX2, FMA and BMI2" : "AVX-512");
#if defined(__x86_64__)
    const char* const ci = std::getenv("CI");
    if (GetParam() == 8 && ci != nullptr && std::string(ci) == "true") {
      FAIL() << problem << "; with CI=true it has to";
    }
#endif
    GTEST_SKIP() << problem;
  }

  const cpu::MfSgdKernel& kernel() const {
    return kernel_;
  }

 private:
  cpu::MfSgdKernel kernel_{};
};
INSTANTIATE_TEST_SUITE_P(widths, MfSgdBlock, testing::Values(4, 8, 16), testing::PrintToStringParamName());

// The kernels for other machines, which nothing else here runs. Catches what the tests of mf_sgd_epoch do, in each.
TEST_P(MfSgdBlock, matches_the_sequential_reference) {
  for (const std::int64_t dim : {1, 3, 4, 8, 16, 20, 32, 33, 48, 64, 65, 80, 96, 100, 128, 200}) {
    for (const Biases& biases : all_biases()) {
      for (const bool grid : {true, false}) {
        Case of;
        of.dim = dim;
        of.biases = biases;
        of.grid = grid;
        expect_reference(kernel(), of);
        if (HasFatalFailure()) {
          return;
        }
        of.non_negative = true;
        expect_reference(kernel(), of);
        of.rate_decay = 0.03F;
        expect_reference(kernel(), of);
        of.non_negative = false;
        expect_reference(kernel(), of);
      }
    }
  }
}

// Lanes that want the same item at once, of a group and of different ones, in every way that rows have. Catches items
// that are read before they have learnt, or learn twice.
TEST_P(MfSgdBlock, items_that_meet_match_the_sequential_reference) {
  for (const std::int64_t dim : {16, 32, 64, 80, 200}) {
    for (const std::int64_t items : {3, 10, 100, 400}) {
      for (const bool biased : {false, true}) {
        Case of;
        of.dim = dim;
        of.items = items;
        of.users = 150;
        of.ratings = 2000;
        of.biases = {biased, biased};
        expect_reference(kernel(), of);
        if (HasFatalFailure()) {
          return;
        }
        of.grid = biased;
        of.rate_decay = 0.03F;
        expect_reference(kernel(), of);
        of.non_negative = true;
        expect_reference(kernel(), of);
      }
    }
  }
}

// Rows are kept divided by a power of 1 - lr * reg, which must not run out of float's range: long runs that shrink
// fast, and that change sign.
TEST_P(MfSgdBlock, rows_survive_any_regularization) {
  for (const std::int64_t dim : {16, 32, 64}) {
    for (const float reg : {0.0F, 1.0F, 25.0F, 45.0F, 60.0F}) {
      Case of;
      of.dim = dim;
      of.users = 14;  // runs of 300 and more
      of.ratings = 5000;
      of.reg = reg;
      of.biases = {true, true};
      expect_reference(kernel(), of);
    }
  }
}

}  // namespace
}  // namespace curate::test
