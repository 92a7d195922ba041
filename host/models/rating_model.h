#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "curate/model.h"
#include "curate/options.h"
#include "device/device.h"

namespace curate {

/// One epoch's ratings on the device, in the epoch's order, and what goes with them.
struct EpochView {
  RatingsView ratings;
  SegmentsView user_segments;
  SegmentsView item_segments;
  MatrixView state;  ///< [1] step_state
  MatrixView sums;   ///< [1] error_sums, of the training error
};

struct NamedParameter {
  std::string name;     ///< as in model.safetensors
  MatrixView view;      ///< [rows, cols] f32, any ld
  bool vector = false;  ///< stored with shape [rows] rather than [rows, cols]
};

/// How a model is trained, resolved from TrainOptions.
struct TrainingPlan {
  std::int64_t batch = 1;
  bool per_rating = true;  ///< one fused pass of per-rating SGD an epoch; else mini-batch steps
  OptimizerParams optimizer;
  LossKind loss = LossKind::mse;
  ScatterKind scatter = ScatterKind::segments;
  float reg = 0.0F;
};

TrainingPlan make_plan(const TrainOptions& resolved);

/// A model whose parameters live on a device. Written against device.h only; nothing here reads device memory.
class RatingModel {
 public:
  RatingModel() = default;
  RatingModel(const RatingModel&) = delete;
  RatingModel& operator=(const RatingModel&) = delete;
  virtual ~RatingModel() = default;

  virtual std::vector<NamedParameter> parameters() const = 0;

  /// Allocates what training needs.
  virtual void prepare_training(const TrainingPlan& plan) = 0;
  /// Enqueues the training of state's batch: forward, loss, backward, update. The driver advances the state.
  virtual void enqueue_step(const EpochView& epoch) = 0;
  /// Enqueues a whole epoch at once; only where the plan is per_rating.
  virtual void enqueue_epoch(const EpochView& epoch) = 0;

  /// Enqueues: adds the errors of all ratings to sums.
  virtual void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, ClipRange clip) = 0;
  /// Predictions (not clipped) for n pairs of users and items [n] i32; blocks.
  virtual std::vector<float> predict(const MatrixView& users, const MatrixView& items) = 0;

  /// All parameters, on the host.
  TensorMap download() const;
  void upload(const TensorMap& tensors);
};

/// Shapes of the mf model's parameters.
struct MfShape {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t dim = 0;
  bool biases = true;
};

std::unique_ptr<RatingModel> make_mf(Device& device, const MfShape& shape);

/// The model of `kind` with the given parameters on a device. Throws InputError where a tensor is missing or misshapen.
std::unique_ptr<RatingModel> make_model(Device& device, const std::string& kind, const TensorMap& tensors);

/// Freshly drawn parameters, by options.init and options.seed; biases 0, global_mean as given.
TensorMap initial_parameters(const TrainOptions& resolved, std::int64_t users, std::int64_t items, double global_mean);

}  // namespace curate
