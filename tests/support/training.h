#pragma once

#include "models/rating_model.h"
#include "solvers/mini_batch.h"
#include "solvers/optimizer.h"

namespace curate::test {

/// Readies a model for gradients, and an optimizer for its steps.
inline Optimizer prepare(RatingModel& model, const MiniBatchOptions& plan) {
  model.prepare_gradients(plan.gradients);
  const Trainables trainables = model.trainables();
  return {*trainables.tables.front().weights->embedding().device, trainables, plan.optimizer};
}

}  // namespace curate::test
