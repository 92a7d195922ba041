#pragma once

#include <optional>
#include <vector>

#include "device/device.h"
#include "models/parameters.h"
#include "models/rating_model.h"
#include "models/trainables.h"

namespace curate {

/// What an optimizer steps on, and how.
struct OptimizerOptions {
  OptimizerParams rows;  ///< users' and items' embeddings; damped SGD as Adam. l2 is 0: GradientOptions::reg counts
  /// What all users and items share, features' embeddings and dense layers; without: rows. l2 is 0.
  std::optional<OptimizerParams> shared;
  bool dense_updates = false;  ///< steps on every embedding row (as Keras does), not only on the batch's
  float feature_reg = 0.0F;    ///< feature_reg * |w|^2 of all features' embeddings is added to the mean loss
  float dense_reg = 0.0F;      ///< dense_reg * |W|^2 of every dense layer is added to the mean loss of the batch

  /// Of features' embeddings.
  OptimizerParams features() const;
  /// Of dense weights, which are not kept non-negative.
  OptimizerParams dense() const;
};

/// Steps on the trainables of a model, which has to outlive it, and owns what is kept from step to step.
class Optimizer {
 public:
  Optimizer(Device& device, const Trainables& trainables, const OptimizerOptions& options);

  /// Moments, all zero at first.
  std::vector<NamedParameter> slots() const;

  /// Enqueues one step with the gradients of the state's batch, and sets them to zero. Biases are not decayed, nor kept
  /// non-negative in tables, nor regularized in layers.
  void enqueue_step(const EpochView& epoch);

 private:
  struct Table {
    TrainableTable trainable;
    OptimizerParams params;
    bool every_row;
    EmbeddingRows first_moment;
    EmbeddingRows second_moment;

    /// The same view of weights, gradients and moments.
    TrainedTable trained(MatrixView (EmbeddingRows::*view)() const) const;
  };
  struct Layer {
    TrainableLayer trainable;
    OptimizerParams params;
    Buffer first_moment;  ///< of the weight and, after it, of the bias
    Buffer second_moment;
  };

  void step_on(const Table& table, const EpochView& epoch);
  void step_on(const Layer& layer, const MatrixView& state);

  Device* device_;
  std::vector<Table> tables_;
  std::vector<Layer> layers_;
};

}  // namespace curate
