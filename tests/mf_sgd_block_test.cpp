#include "device/cpu/mf_sgd_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "device/cpu/mf_epoch_plan.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

/// A block of everything, once through a kernel: users' and items' rows, biases, sums.
std::vector<double> run(cpu::MfSgdKernel kernel, std::int64_t dim, bool grid, bool biased, bool non_negative,
                        std::int64_t padding) {
  constexpr std::int64_t kUsers = 60;
  constexpr std::int64_t kItems = 40;
  constexpr std::int64_t kRatings = 1000;
  RandomInputs inputs(91);
  HostRatings host{inputs.skewed_indices(kRatings, kUsers), inputs.skewed_indices(kRatings, kItems),
                   inputs.ratings(kRatings)};
  for (float& rating : host.ratings) {
    rating = grid ? std::round(2.0F * rating) / 2.0F : rating;
  }
  const auto device = make_device("cpu", 1);
  const DeviceRatings ratings(*device, host);
  ThreadPool pool(1);
  const cpu::MfEpochPlan plan(*device, ratings.view(), kUsers, kItems, {}, 1, pool);
  std::vector<std::uint32_t> order;
  const std::int64_t ld = dim + padding;
  std::vector<float> user(static_cast<std::size_t>(kUsers * ld), 77.0F);
  std::vector<float> item(static_cast<std::size_t>(kItems * ld), 77.0F);
  for (std::vector<float>* table : {&user, &item}) {
    const std::int64_t rows = static_cast<std::int64_t>(table->size()) / ld;
    const std::vector<float> values = inputs.ratings(rows * dim);
    for (std::int64_t k = 0; k < rows * dim; ++k) {
      (*table)[static_cast<std::size_t>(k / dim * ld + k % dim)] =
          (values[static_cast<std::size_t>(k)] - 2.0F) / static_cast<float>(2 * dim);
    }
  }
  std::vector<float> user_bias(kUsers, 0.1F);
  std::vector<float> item_bias(kItems, -0.2F);
  cpu::MfSgdErrors errors;
  for (const std::int64_t epoch : {0, 1}) {
    cpu::MfSgdBlock block = plan.block(0, 0, epoch, order);
    block.user = user.data();
    block.item = item.data();
    block.user_bias = biased ? user_bias.data() : nullptr;
    block.item_bias = biased ? item_bias.data() : nullptr;
    block.user_ld = static_cast<std::size_t>(ld);
    block.item_ld = static_cast<std::size_t>(ld);
    block.user_bias_ld = 1;
    block.item_bias_ld = 1;
    block.dim = static_cast<std::size_t>(dim);
    block.mean = 3.0F;
    block.learning_rate = 0.02F;
    block.reg = 0.05F;
    block.non_negative = non_negative;
    kernel(block, errors);
  }
  std::vector<double> all;
  for (const std::vector<float>* table : {&user, &item, &user_bias, &item_bias}) {
    all.insert(all.end(), table->begin(), table->end());
  }
  all.insert(all.end(),
             {errors.squared / kRatings, errors.absolute / kRatings, errors.absolute_whole_stars / kRatings});
  return all;
}

// The kernels for other machines, which nothing else here runs.
TEST(MfSgdBlock, kernels_of_all_widths_agree) {
  const std::vector<cpu::MfSgdKernel> kernels = cpu::mf_sgd_kernels();
  for (const std::int64_t dim : {1, 3, 4, 8, 16, 20, 32, 33, 64, 128}) {
    for (const bool grid : {true, false}) {
      for (const bool biased : {true, false}) {
        for (const bool non_negative : {true, false}) {
          const std::vector<double> expected = run(kernels.front(), dim, grid, biased, non_negative, 3);
          for (std::size_t k = 1; k < kernels.size(); ++k) {
            const std::vector<double> got = run(kernels[k], dim, grid, biased, non_negative, 3);
            ASSERT_EQ(got.size(), expected.size());
            for (std::size_t n = 0; n < got.size(); ++n) {
              // A prediction between two stars may fall to either side.
              const double tolerance = n + 1 == got.size() ? 3e-3 : 1e-4 * (std::abs(expected[n]) + 0.1);
              ASSERT_NEAR(got[n], expected[n], tolerance)
                  << "kernel " << k << ", dim " << dim << ", grid " << grid << ", biased " << biased
                  << ", non-negative " << non_negative << ", value " << n;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace curate::test
