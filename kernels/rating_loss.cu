#include "kernels/context.h"

#include <algorithm>

#include "kernels/clip.cuh"
#include "kernels/error_sums.cuh"
#include "kernels/rows.cuh"

namespace curate::cuda {
namespace {

/// With e = prediction[b] - ratings[batch_begin + b]: grad[b] = 2 e / batch_count (mse) or sign(e) / batch_count (mae),
/// and *sums += e, for b < batch_count.
/// grad, prediction [batch] f32; ratings [n] f32. One thread a rating, in strides of the grid. 12 bytes a rating.
/// Deterministic for a size of grid.
__global__ void __launch_bounds__(kBlockThreads)
    rating_loss_kernel(float* grad, ErrorSums* sums, const float* prediction, const float* ratings, LossKind kind,
                       const StepState* state, ErrorScratch* scratch) {
  const std::int64_t count = state->batch_count;
  const float scale = count == 0 ? 0.0F : 1.0F / static_cast<float>(count);
  ErrorSums own;
  for (std::int64_t b = global_thread(); b < count; b += grid_threads()) {
    const float rating = ratings[state->batch_begin + b];
    const float error = prediction[b] - rating;
    add_error(own, prediction[b], rating);
    if (kind == LossKind::mse) {
      grad[b] = 2.0F * error * scale;
    } else {
      // A NaN error must stay one: a comparison would hide it.
      grad[b] = error > 0.0F ? scale : (error < 0.0F ? -scale : error * scale);
    }
  }
  add_over_grid(sums, own, scratch);
}

/// *sums += the errors of prediction[b], made a rating and clamped, against ratings[batch_begin + b], for b <
/// batch_count. prediction [batch] f32; ratings [n] f32. One thread a rating, in strides of the grid. 8 bytes a rating.
/// Deterministic for a size of grid.
__global__ void __launch_bounds__(kBlockThreads)
    rating_errors_kernel(ErrorSums* sums, const float* prediction, const float* ratings, ErrorScale scale,
                         const StepState* state, ErrorScratch* scratch) {
  ErrorSums own;
  for (std::int64_t b = global_thread(); b < state->batch_count; b += grid_threads()) {
    add_error(own, clamp_to(to_rating(prediction[b], scale.units), scale.clip),
              to_rating(ratings[state->batch_begin + b], scale.units));
  }
  add_over_grid(sums, own, scratch);
}

Geometry geometry_for_sums(std::int64_t count) {
  return {std::min<std::int64_t>(divide_up(count, kBlockThreads), ErrorScratch::kMostBlocks)};
}

}  // namespace

void enqueue(const ops::RatingLoss& operation, const Context& context) {
  launch("rating_loss", context.stream, geometry_for_sums(operation.prediction.rows), rating_loss_kernel,
         pointer_of<float>(operation.grad), pointer_of<ErrorSums>(operation.sums),
         pointer_of<const float>(operation.prediction), pointer_of<const float>(operation.ratings), operation.kind,
         pointer_of<const StepState>(operation.state), context.error_scratch);
}

void enqueue(const ops::RatingErrors& operation, const Context& context) {
  launch("rating_errors", context.stream, geometry_for_sums(operation.prediction.rows), rating_errors_kernel,
         pointer_of<ErrorSums>(operation.sums), pointer_of<const float>(operation.prediction),
         pointer_of<const float>(operation.ratings), operation.scale, pointer_of<const StepState>(operation.state),
         context.error_scratch);
}

}  // namespace curate::cuda
