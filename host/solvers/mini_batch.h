#pragma once

#include "solvers/optimizer.h"
#include "solvers/solver.h"

namespace curate {

struct MiniBatchOptions {
  GradientOptions gradients;
  OptimizerOptions optimizer;
};

MiniBatchOptions mini_batch_options(const TrainOptions& resolved);

/// The options for that many ratings: a batch has all of them at most. SGD's learning rate, by default in proportion to
/// the batch asked for, goes down with it. dense_reg, unless given, is 40 over the ratings, at most 0.01.
TrainOptions fit_to_ratings(const TrainOptions& resolved, std::int64_t ratings);

/// Steps of an optimizer on the gradients of batches. Every epoch draws another order (ops::Permute), and its steps
/// are replays of one graph.
std::unique_ptr<Solver> make_mini_batch(Device& device, RatingModel& model, const SolverData& data,
                                        const MiniBatchOptions& options);

}  // namespace curate
