#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "curate/model.h"
#include "curate/options.h"
#include "device/device.h"
#include "models/parameters.h"

namespace curate {

/// One epoch's ratings on the device, in the epoch's order, and what goes with them.
struct EpochView {
  RatingsView ratings;  ///< of mini-batches
  SegmentsView user_segments;
  SegmentsView item_segments;
  MatrixView state;                   ///< [1] step_state
  MatrixView sums;                    ///< [1] error_sums, of the training error
  const MfEpochPlan* plan = nullptr;  ///< of per-rating SGD, which has no need of the ratings above
};

/// How a model is trained, resolved from TrainOptions.
struct TrainingPlan {
  std::int64_t batch = 1;
  bool per_rating = true;     ///< one fused pass of per-rating SGD an epoch; else mini-batch steps
  OptimizerParams optimizer;  ///< of embeddings, damped SGD as Adam: l2 is 0, reg is what counts
  /// Of what all users and items share, features' embeddings and dense layers; without: optimizer. l2 is 0, feature_reg
  /// and dense_reg are what counts.
  std::optional<OptimizerParams> shared_optimizer;
  bool dense_updates = false;  ///< optimizers step on every embedding row (as Keras does), not only on the batch's
  LossKind loss = LossKind::mse;
  ScatterKind scatter = ScatterKind::segments;
  float rate_decay = 0.0F;       ///< per_rating: MfSgdParams::rate_decay
  MfKernelOptions kernel;        ///< per_rating
  float reg = 0.0F;              ///< lambda per rating, of embeddings (mf: and of biases)
  std::vector<float> dropout;    ///< mlp: after the embedding of user and item; missing ones are 0
  float feature_dropout = 0.0F;  ///< mlp: after the embedding of every feature
  float feature_reg = 0.0F;      ///< feature_reg * |w|^2 of all features' embeddings is added to the mean loss
  float dense_dropout = 0.0F;    ///< mlp: after every hidden layer
  float dense_reg = 0.0F;        ///< mlp: dense_reg * |W|^2 of every dense layer is added to the mean loss of the batch
  ProductPrecision products = ProductPrecision::f32;  ///< mlp: see Device::prepare_dense
  bool fuse_layers = true;  ///< mlp: all layers as one operation where Device::plan_dense_stack has a way
};

TrainingPlan make_plan(const TrainOptions& resolved);

/// The optimizer of features' embeddings.
OptimizerParams feature_optimizer(const TrainingPlan& plan);
/// The optimizer of dense weights, which are not kept non-negative.
OptimizerParams dense_optimizer(const TrainingPlan& plan);

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
  /// Gradients by the names of their parameters, all zero outside a step. Only after prepare_training.
  virtual std::vector<NamedParameter> gradients() const = 0;
  /// What the optimizer keeps from step to step; only after prepare_training.
  virtual std::vector<NamedParameter> slots() const = 0;
  /// Enqueues forward, loss and backward of state's batch: gradients() then hold the gradient of the batch's objective,
  /// but for the L2 of dense weights, which the optimizer's step adds.
  virtual void enqueue_gradients(const EpochView& epoch) = 0;
  /// Enqueues the optimizer's step, which sets the gradients to zero again.
  virtual void enqueue_update(const EpochView& epoch) = 0;
  /// Enqueues the training of state's batch. The driver advances the state.
  void enqueue_step(const EpochView& epoch) {
    enqueue_gradients(epoch);
    enqueue_update(epoch);
  }
  /// Enqueues a whole epoch at once; only where the plan is per_rating.
  virtual void enqueue_epoch(const EpochView& epoch) = 0;

  /// Frees what training needs. From here on products are not rounded, as in a model that was loaded.
  virtual void end_training() = 0;

  /// Enqueues: adds the errors of all ratings to sums.
  virtual void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, ClipRange clip) = 0;
  /// Predictions (not clipped) for n pairs of users and items [n] i32; blocks.
  virtual std::vector<float> predict(const MatrixView& users, const MatrixView& items) = 0;

  /// All parameters, on the host.
  TensorMap download() const { return download_parameters(parameters()); }
  void upload(const TensorMap& tensors) { upload_parameters(parameters(), tensors); }
};

/// Shapes of the mf model's parameters.
struct MfShape {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t dim = 0;
  bool biases = true;
  DType storage = DType::f32;  ///< of users' and items' embeddings; all else is f32
};

/// Features in mini-batches only.
std::unique_ptr<RatingModel> make_mf(Device& device, const MfShape& shape, const std::vector<Feature>& features);

/// Shapes of the parameters of mlp and neumf.
struct MlpShape {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t user_dim = 0;
  std::int64_t item_dim = 0;
  std::vector<std::int64_t> layers;        ///< outputs of every dense layer, the last is 1
  std::vector<Activation> activations;     ///< one per layer
  std::vector<std::int64_t> feature_dims;  ///< of every feature's embedding
  std::int64_t factors = 0;                ///< of the dot product that neumf adds; 0: none
  DType storage = DType::f32;              ///< of users' and items' embeddings and factors; all else is f32
};

std::unique_ptr<RatingModel> make_mlp(Device& device, const MlpShape& shape, const std::vector<Feature>& features);

/// Whether a model of that kind has layers.
bool is_network(const std::string& kind);

/// The shapes that the tensors say. Throw InputError where a tensor is missing or they do not fit together.
MfShape mf_shape_of(const ModelSpec& spec, const TensorMap& tensors);
MlpShape mlp_shape_of(const ModelSpec& spec, const TensorMap& tensors);

/// How options.precision has embeddings stored.
DType storage_of(const TrainOptions& resolved);

/// Throws InputError where the device does not train as the options ask: how it stores embeddings, rounds products, or
/// goes through ratings.
void check_device(Device& device, const TrainOptions& resolved);

/// The model with the given parameters on a device. Throws InputError where a tensor is missing or misshapen.
std::unique_ptr<RatingModel> make_model(Device& device, const ModelSpec& spec, const TensorMap& tensors,
                                        DType storage = DType::f32);

/// What the options say about the model, for ratings on `scale`, but for its features.
ModelSpec model_spec(const TrainOptions& resolved, const RatingScale& scale);

/// Columns of a feature's embedding in a network where options.feature_dim does not say: 2 (values)^(1/4), rounded up,
/// at most 16 (values^(1/4): TensorFlow's guide to feature columns).
std::int64_t default_feature_dim(std::int64_t values);

/// By options.feature_dim, of every feature in a network; in mf options.dim. Throws InputError where that names a
/// feature that is not there.
std::vector<std::int64_t> feature_dims(const TrainOptions& resolved, const std::vector<Feature>& features);

/// Freshly drawn parameters, by options.init and options.seed.
///   mf: factors as options.init says, biases 0, global_mean as given.
///   mlp: embeddings likewise, dense weights Glorot uniform (Glorot, Bengio 2010, eq. 16), dense biases 0, but for the
///   last one where options.global_mean asks for a first prediction near global_mean.
///   neumf: factors as embeddings.
/// Features' embeddings in mf start at 0, in networks like the others.
TensorMap initial_parameters(const TrainOptions& resolved, const ModelSpec& spec, std::int64_t users,
                             std::int64_t items, double global_mean);

}  // namespace curate
