#pragma once

#include <cmath>

#include "curate/dataset.h"
#include "support/thread_pool.h"

namespace curate {

/// Whether a rating lies on the grid 0, 0.5, 1, ...
inline bool is_half_star(float rating) {
  return std::trunc(2.0F * rating) == 2.0F * rating;
}

/// Whether a rating lies on the grid 0, 1, 2, ...
inline bool is_whole_star(float rating) {
  return std::trunc(rating) == rating;
}

/// Whether detect_scale finds such a step.
inline bool is_scale_step(float step) {
  return step == 0.0F || step == 0.5F || step == 1.0F;
}

/// The scale of ratings that were read: the smallest, the largest, and the step of the grid that all lie on. At least
/// one rating.
RatingScale detect_scale(const Column<float>& ratings, ThreadPool& pool);

}  // namespace curate
