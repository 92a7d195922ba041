#pragma once

#include "solvers/optimizer.h"
#include "solvers/solver.h"

namespace curate {

struct MiniBatchOptions {
  GradientOptions gradients;
  OptimizerOptions optimizer;
};

MiniBatchOptions mini_batch_options(const TrainOptions& resolved);

/// Steps of an optimizer on the gradients of batches, which every epoch draws in another order (Device::permute). The
/// steps of an epoch are replays of one graph.
std::unique_ptr<Solver> make_mini_batch(Device& device, RatingModel& model, const SolverData& data,
                                        const MiniBatchOptions& options);

}  // namespace curate
