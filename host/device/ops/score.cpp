#include "device/ops/score.h"

#include "device/checks.h"

namespace curate::ops {

void RatingLoss::check(const Device& device) const {
  const Checker check(device, kName);
  check.vector("prediction", prediction, DType::f32, prediction.rows);
  check.vector("grad", grad, DType::f32, prediction.rows);
  check.vector("ratings", ratings, DType::f32, ratings.rows);
  check.sums(sums);
  check.state(state);
}

void RatingErrors::check(const Device& device) const {
  const Checker check(device, kName);
  check.sums(sums);
  check.vector("prediction", prediction, DType::f32, prediction.rows);
  check.vector("ratings", ratings, DType::f32, ratings.rows);
  check.state(state);
}

void SumSquaredError::check(const Device& device) const {
  const Checker check(device, kName);
  tables.check(check);
  check.sums(sums);
  check.ratings("ratings", ratings, ratings.users.rows);
}

}  // namespace curate::ops
