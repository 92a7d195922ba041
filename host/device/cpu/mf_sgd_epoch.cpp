#include <vector>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/mf_epoch_plan.h"

namespace curate::cpu {
std::vector<MfSgdKernel> mf_sgd_kernels() {
  std::vector<MfSgdKernel> kernels = {mf_sgd_block_4};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    kernels.push_back(mf_sgd_block_8);
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    kernels.push_back(mf_sgd_block_16);
  }
#endif
  return kernels;
}

void mf_sgd_epoch(ThreadPool& pool, const MfTables& tables, ErrorSums& sums, const MfEpochPlan& plan,
                  const MfSgdParams& params, const StepState& state) {
  if (plan.ratings() == 0) {
    return;
  }
  static const MfSgdKernel kernel = mf_sgd_kernels().back();
  const std::int32_t blocks = plan.blocks();
  const auto set_tables = [&](MfSgdBlock& block) {
    const auto user = resolve<float>(tables.user);
    const auto item = resolve<float>(tables.item);
    const auto user_bias = resolve<float>(tables.user_bias);
    const auto item_bias = resolve<float>(tables.item_bias);
    block.user = user.data;
    block.item = item.data;
    block.user_bias = user_bias.row_or_null(0);
    block.item_bias = item_bias.row_or_null(0);
    block.user_ld = static_cast<std::size_t>(user.ld);
    block.item_ld = static_cast<std::size_t>(item.ld);
    block.user_bias_ld = static_cast<std::size_t>(user_bias.ld);
    block.item_bias_ld = static_cast<std::size_t>(item_bias.ld);
    block.dim = static_cast<std::size_t>(user.cols);
    block.mean = *resolve<const float>(tables.mean).data;
    block.learning_rate = state.learning_rate;
    block.reg = params.reg;
    block.non_negative = params.non_negative;
  };
  for (std::int32_t round = 0; round < blocks; ++round) {
    std::vector<ErrorSums> pieces(static_cast<std::size_t>(blocks));
    pool.run(blocks, [&](std::int64_t group) {
      const auto user_group = static_cast<std::int32_t>(group);
      const std::int32_t item_group = (user_group + round) % blocks;
      std::vector<std::uint32_t> order;
      MfSgdBlock block = plan.block(user_group, item_group, state.epoch, order);
      set_tables(block);
      MfSgdErrors errors;
      kernel(block, errors);
      pieces[static_cast<std::size_t>(group)] = {errors.squared, errors.absolute, errors.absolute_whole_stars,
                                                 plan.block_ratings(user_group, item_group)};
    });
    add_pieces(sums, pieces);
  }
}

}  // namespace curate::cpu
