#include "kernels/context.h"

#include <algorithm>

#include "kernels/clip.cuh"
#include "kernels/error_sums.cuh"
#include "kernels/mf_rows.cuh"

namespace curate::cuda {
namespace {

/// *sums += the errors of *mean + user_bias[u] + item_bias[i] + <user[u, :], item[i, :]>, made ratings and clamped, of
/// all ratings. user [users, dim], item [items, dim] of T; biases maybe absent; users [count] i32 in [0, users), items
/// likewise; ratings [count] f32. A group of lanes takes a rating, in strides of the grid; shuffles add up. Per rating
/// 8 dim + 20 bytes (4 dim + 20 in 16 bits), 2 dim flops. Deterministic for a size of grid.
template <typename T, int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    sum_squared_error_kernel(ErrorSums* sums, Factors<const T, const float> tables, const float* mean,
                             const std::int32_t* users, const std::int32_t* items, const float* ratings,
                             std::int64_t count, ErrorScale scale, RowShare share, ErrorScratch* scratch) {
  const std::int64_t thread = global_thread();
  const std::int64_t lane = share.lane(thread);
  ErrorSums own;
  // Bounded by the warp's first rating, so that all of its lanes meet in the shuffles.
  const std::int64_t of_warp = share.row(thread / 32 * 32);
  const std::int64_t in_warp = share.row(thread) - of_warp;
  for (std::int64_t first = of_warp; first < count; first += share.row(grid_threads())) {
    const std::int64_t n = first + in_warp;
    const bool there = n < count;
    const std::int64_t u = there ? users[n] : 0;
    const std::int64_t i = there ? items[n] : 0;
    float sum = there ? partial_dot<kVector>(tables.user.row(u), tables.item.row(i), share, lane) : 0.0F;
    sum = group_sum(sum, share.lane_bits);
    if (there && lane == 0) {
      add_error(own, clamp_to(to_rating(sum + base_of(tables, mean, u, i), scale.units), scale.clip),
                to_rating(ratings[n], scale.units));
    }
  }
  add_over_grid(sums, own, scratch);
}

}  // namespace

void enqueue(const ops::SumSquaredError& operation, const Context& context) {
  const int vector = vector_width(operation.tables.user.cols, operation.tables.user, operation.tables.item);
  const RowShare share = share_rows(operation.tables.user.cols, vector);
  Geometry geometry = geometry_for_rows(operation.ratings.users.rows, share);
  geometry.blocks = std::min<std::int64_t>(geometry.blocks, ErrorScratch::kMostBlocks);
  with_element(operation.tables.user.dtype, [&](auto element) {
    using T = decltype(element);
    launch("sum_squared_error", context.stream, geometry,
           vector == 4 ? sum_squared_error_kernel<T, 4> : sum_squared_error_kernel<T, 1>,
           pointer_of<ErrorSums>(operation.sums), factors_of<const T, const float>(operation.tables),
           pointer_of<const float>(operation.tables.mean), pointer_of<const std::int32_t>(operation.ratings.users),
           pointer_of<const std::int32_t>(operation.ratings.items), pointer_of<const float>(operation.ratings.ratings),
           operation.ratings.users.rows, operation.scale, share, context.error_scratch);
  });
}

}  // namespace curate::cuda
