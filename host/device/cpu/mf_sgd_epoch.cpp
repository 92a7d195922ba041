#include <algorithm>
#include <cmath>
#include <vector>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/mf_epoch_plan.h"

namespace curate::cpu {

std::vector<MfSgdKernel> mf_sgd_kernels() {
  std::vector<MfSgdKernel> kernels = {{mf_sgd_block_4, mf_sgd_lanes_4}};
#if defined(__x86_64__) && !defined(CURATE_NARROW_VECTORS_ALONE)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    kernels.push_back({mf_sgd_block_8, mf_sgd_lanes_8});
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    kernels.push_back({mf_sgd_block_16, mf_sgd_lanes_16});
  }
#endif
  return kernels;
}

namespace {

/// The factor of a row's learning rate, see ops::MfSgdEpoch.
float rate_of(float rate_decay, std::int64_t ratings, std::int64_t epoch) {
  const double seen = static_cast<double>(ratings) * (static_cast<double>(epoch) + 0.5);
  return static_cast<float>(1.0 / std::sqrt(1.0 + static_cast<double>(rate_decay) * seen));
}

/// body(slot, item) for every slot with an item, on all threads.
template <typename Body>
void for_slots(ThreadPool& pool, const MfEpochPlan& plan, const Body& body) {
  const std::vector<std::int32_t>& items = plan.item_of_slot();
  pool.parallel_for(static_cast<std::int64_t>(items.size()), 1024, [&](std::int64_t begin, std::int64_t end) {
    for (auto slot = static_cast<std::size_t>(begin); slot < static_cast<std::size_t>(end); ++slot) {
      if (items[slot] >= 0) {
        body(slot, items[slot]);
      }
    }
  });
}

}  // namespace

void mf_sgd_epoch(ThreadPool& pool, const MfTables& tables, ErrorSums& sums, const MfEpochPlan& plan,
                  const MfSgdParams& params, const StepState& state, const MfSgdKernel& kernel) {
  if (plan.ratings() == 0) {
    return;
  }
  const auto user = resolve<float>(tables.user);
  const auto item = resolve<float>(tables.item);
  const auto user_bias = resolve<float>(tables.user_bias);
  const auto item_bias = resolve<float>(tables.item_bias);
  const auto dim = static_cast<std::size_t>(user.cols);
  const std::size_t stride = mf_row_stride(dim);
  const MfEpochPlan::ItemRows item_rows = plan.item_rows(stride);
  const bool item_biased = !tables.item_bias.empty();
  for_slots(pool, plan, [&](std::size_t slot, std::int32_t row) {
    float* const copy = item_rows.rows + slot * stride;
    std::copy_n(item.row(row), dim, copy);
    std::fill_n(copy + dim, stride - dim, 0.0F);  // a training that diverged has left NaN there
    item_rows.biases[slot] = item_biased ? *item_bias.row(row) : 0.0F;
  });

  std::vector<float> user_rates;
  std::vector<float> item_rates;
  if (params.rate_decay > 0.0F) {
    user_rates.resize(static_cast<std::size_t>(plan.users()));
    std::transform(plan.user_counts().begin(), plan.user_counts().end(), user_rates.begin(),
                   [&](std::int64_t count) { return rate_of(params.rate_decay, count, state.epoch); });
    item_rates.resize(plan.item_of_slot().size());
    for_slots(pool, plan, [&](std::size_t slot, std::int32_t row) {
      item_rates[slot] = rate_of(params.rate_decay, plan.item_counts()[static_cast<std::size_t>(row)], state.epoch);
    });
  }

  MfSgdBlock shared;
  shared.user = user.data;
  shared.user_ld = static_cast<std::size_t>(user.ld);
  shared.user_bias = user_bias.row_or_null(0);
  shared.user_bias_ld = static_cast<std::size_t>(user_bias.ld);
  shared.item = item_rows.rows;
  shared.item_bias = item_biased || !tables.user_bias.empty() ? item_rows.biases : nullptr;
  shared.item_biases_learn = item_biased;
  shared.user_rates = user_rates.empty() ? nullptr : user_rates.data();
  shared.item_rates = user_rates.empty() ? nullptr : item_rates.data();
  shared.stride = stride;
  shared.dim = dim;
  shared.mean = *resolve<const float>(tables.mean).data;
  shared.learning_rate = state.learning_rate;
  shared.reg = params.reg;
  shared.non_negative = params.non_negative;
  const std::int32_t blocks = plan.blocks();
  for (std::int32_t round = 0; round < plan.rounds(); ++round) {
    std::vector<ErrorSums> pieces(static_cast<std::size_t>(blocks));
    pool.run(blocks, [&](std::int64_t worker) {
      const auto [user_group, item_group] = plan.groups_of(round, static_cast<std::int32_t>(worker));
      std::vector<MfSgdRun> runs;
      Column<float> lane_rows(kMfSgdMostLanes * stride);
      MfSgdBlock block = shared;
      plan.set_ratings(block, user_group, item_group, state.epoch, runs);
      block.lane_rows = lane_rows.data();
      MfSgdErrors errors;
      kernel.run(block, errors);
      pieces[static_cast<std::size_t>(worker)] = {errors.squared, 0.0, 0.0, plan.block_ratings(user_group, item_group)};
    });
    add_pieces(sums, pieces);
  }

  for_slots(pool, plan, [&](std::size_t slot, std::int32_t row) {
    std::copy_n(item_rows.rows + slot * stride, dim, item.row(row));
    if (item_biased) {
      *item_bias.row(row) = item_rows.biases[slot];
    }
  });
}

void run(const ops::MfSgdEpoch& operation, Context& context) {
  static const MfSgdKernel kKernel = mf_sgd_kernels().back();
  mf_sgd_epoch(context.pool, operation.tables, error_sums(operation.sums),
               static_cast<const MfEpochPlan&>(*operation.plan), operation.params, step_state(operation.state),
               kKernel);
}

}  // namespace curate::cpu
