#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

constexpr std::int64_t kGrain = 4096;

CURATE_SIMD_CLONES
float dot(const float* p, const float* q, std::int64_t dim) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t k = 0; k < dim; ++k) {
    sum += p[k] * q[k];
  }
  return sum;
}

}  // namespace

void sum_squared_error(ThreadPool& pool, ErrorSums& sums, const MfTables& tables, const RatingsView& ratings,
                       ClipRange clip) {
  const auto user = resolve<const float>(tables.user);
  const auto item = resolve<const float>(tables.item);
  const auto user_bias = resolve<const float>(tables.user_bias);
  const auto item_bias = resolve<const float>(tables.item_bias);
  const float mean = *resolve<const float>(tables.mean).data;
  const auto* users = resolve<const std::int32_t>(ratings.users).data;
  const auto* items = resolve<const std::int32_t>(ratings.items).data;
  const auto* values = resolve<const float>(ratings.ratings).data;
  const std::int64_t count = ratings.users.rows;
  std::vector<ErrorSums> pieces(static_cast<std::size_t>((count + kGrain - 1) / kGrain));
  pool.parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ErrorSums& piece = pieces[static_cast<std::size_t>(begin / kGrain)];
    for (std::int64_t n = begin; n < end; ++n) {
      float base = mean;
      base += user_bias.empty() ? 0.0F : *user_bias.row(users[n]);
      base += item_bias.empty() ? 0.0F : *item_bias.row(items[n]);
      const float prediction = base + dot(user.row(users[n]), item.row(items[n]), user.cols);
      add_error(piece, clamp_to(prediction, clip), values[n]);
    }
  });
  add_pieces(sums, pieces);
}

}  // namespace curate::cpu
