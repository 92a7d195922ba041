#pragma once

#include "solvers/solver.h"

namespace curate {

struct PerRatingOptions {
  MfSgdParams sgd;
  float row_reg = 0.0F;  ///< L2 of factors once an epoch
  MfPlanOptions plan;
};

/// For ratings on that scale.
PerRatingOptions per_rating_options(const TrainOptions& resolved, const RatingScale& scale);

/// SGD on one rating after the other, an epoch in one operation: see ops::MfSgdEpoch. An epoch counts as one step,
/// so the learning rate stays the same during it. Throws std::invalid_argument for a model with features.
std::unique_ptr<Solver> make_per_rating_sgd(Device& device, Factorization& model, const SolverData& data,
                                            const PerRatingOptions& options);

}  // namespace curate
