#pragma once

#include <cstdint>
#include <vector>

#include "curate/dataset.h"
#include "curate/model.h"
#include "curate/options.h"
#include "device/ops/score.h"
#include "device/rating_units.h"
#include "solvers/bias_ridge.h"
#include "solvers/solver.h"

namespace curate {

// What a training starts from, and how the bias model is written in a model's parameters. All options are resolved.

/// Whether users' and items' biases are those of the bias model at first.
bool starts_from_biases(const TrainOptions& options);

/// Whether the bias model is among the models: `mf` has its biases, networks put them into a dot product. Not with
/// features, which say what the validation slice does not ask for: the ratings of ids that have none.
bool contains_bias_model(const TrainOptions& options);

/// Makes flat_parameters(), in those units, the bias model's. Of models that contain it.
void put_biases(TensorMap& tensors, const TrainOptions& options, const BiasFit& fit, const RatingUnits& units);

/// RMSE of the bias model's predictions, clipped. Offsets of cold ids are 0.
double error_of_biases(const RatingTable& ratings, const BiasFit& fit, ClipRange clip);

/// The ridges that a bias model was fitted with, which its biases keep in training.
BiasRidges ridges_of(const BiasFit& fit);

/// Sets embeddings of ids without a training rating to zero: they are never updated, and the vectors of features alone
/// should stand for such a row.
void clear_unseen(TensorMap& tensors, const char* side, const std::vector<std::int64_t>& counts);

}  // namespace curate
