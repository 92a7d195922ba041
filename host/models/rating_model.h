#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "curate/model.h"
#include "curate/options.h"
#include "device/device.h"
#include "models/feature_source.h"
#include "models/parameters.h"
#include "models/trainables.h"

namespace curate {

/// The batches of one epoch on the device, and what goes with them.
struct EpochView {
  RatingsView ratings;  ///< in the epoch's order
  SegmentsView user_segments;
  SegmentsView item_segments;
  MatrixView state;  ///< [1] step_state
  MatrixView sums;   ///< [1] error_sums, of the training error
};

/// Which gradients of a batch are taken, and how.
struct GradientOptions {
  std::int64_t batch = 1;  ///< ratings at most
  LossKind loss = LossKind::mse;
  float reg = 0.0F;              ///< lambda per rating, of users' and items' embeddings (mf: and of biases)
  std::vector<float> dropout;    ///< mlp: after the embedding of user and item; missing ones are 0
  float feature_dropout = 0.0F;  ///< mlp: after the embedding of every feature
  float dense_dropout = 0.0F;    ///< mlp: after every hidden layer
  ScatterKind scatter = ScatterKind::segments;
  ProductPrecision products = ProductPrecision::f32;  ///< mlp: see ops::PrepareDense
  bool fuse_layers = true;  ///< mlp: all layers as one operation if ops::LayOutDenseStack has a way
};

/// What a Scorer says of pairs.
struct Scores {
  std::vector<float> ratings;  ///< not clipped
  std::vector<float> spreads;  ///< of an ensemble: see Prediction::spread; else empty
};

/// What scores pairs on a device.
class Scorer {
 public:
  Scorer() = default;
  Scorer(const Scorer&) = delete;
  Scorer& operator=(const Scorer&) = delete;
  virtual ~Scorer() = default;

  /// Enqueues: adds the errors of all ratings to sums.
  virtual void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, const ErrorScale& scale) = 0;
  /// Predictions (not clipped) for n pairs of users and items [n] i32; blocks.
  virtual std::vector<float> predict(const MatrixView& users, const MatrixView& items) = 0;
  /// Likewise, with what an ensemble's members differ by.
  virtual Scores score(const MatrixView& users, const MatrixView& items) { return {predict(users, items), {}}; }

  /// Those whose mean an ensemble predicts; else none.
  virtual std::span<const std::unique_ptr<Scorer>> members() const { return {}; }

  /// The parameters of mf as they lie on the device; nothing of other models, and nothing with features, whose vectors
  /// are added to those of many rows.
  virtual std::optional<MfTables> tables() const { return std::nullopt; }
};

/// A model whose parameters live on a device. Written against device.h only; nothing here reads device memory.
class RatingModel : public Scorer {
 public:
  virtual std::vector<NamedParameter> parameters() const = 0;

  /// Allocates what gradients need.
  virtual void prepare_gradients(const GradientOptions& options) = 0;
  /// Frees it. From here on products are not rounded, as in a model that was loaded.
  virtual void end_gradients() = 0;

  // Between prepare_gradients() and end_gradients().

  /// Gradients by the names of their parameters, all zero outside a step.
  virtual std::vector<NamedParameter> gradients() const = 0;
  /// What an optimizer steps on. Its step sets the gradients to zero again.
  virtual Trainables trainables() const = 0;
  /// Enqueues forward, loss and backward of state's batch. gradients() then hold the gradient of the batch's objective,
  /// except for the L2 of features and dense weights, which the optimizer's step adds.
  virtual void enqueue_gradients(const EpochView& epoch) = 0;

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

/// A model whose prediction is mean + user_bias + item_bias + <user, item>.
class Factorization : public RatingModel {
 public:
  std::optional<MfTables> tables() const override = 0;
};

std::unique_ptr<Factorization> make_mf(Device& device, const MfShape& shape,
                                       const std::vector<FeatureSource>& features);

/// Shapes of the parameters of mlp and neumf.
struct MlpShape {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t user_dim = 0;
  std::int64_t item_dim = 0;
  std::vector<std::int64_t> layers = {};        ///< outputs of every dense layer, the last is 1
  std::vector<Activation> activations = {};     ///< one per layer
  std::vector<std::int64_t> feature_dims = {};  ///< of every feature's embedding
  std::int64_t factors = 0;                     ///< of the dot product that neumf adds; 0: none
  bool product = false;                         ///< that of the embeddings is added; both have as many columns
  DType storage = DType::f32;                   ///< of users' and items' embeddings and factors; all else is f32
};

std::unique_ptr<RatingModel> make_mlp(Device& device, const MlpShape& shape,
                                      const std::vector<FeatureSource>& features);

/// Whether a model of that kind has layers.
bool is_network(const std::string& kind);

/// Whether it is the bias model, which a device has as mf with one factor that is 0.
bool is_bias(const ModelSpec& spec);

/// The shapes that the tensors say. Throw InputError if a tensor is missing or they do not fit together.
MfShape mf_shape_of(const ModelSpec& spec, const TensorMap& tensors);
MlpShape mlp_shape_of(const ModelSpec& spec, const TensorMap& tensors);

/// Outputs of every dense layer of a network, the last one's too.
std::vector<std::int64_t> layer_widths(const TrainOptions& resolved);

/// How options.precision has embeddings stored.
DType storage_of(const TrainOptions& resolved);

/// The model that the options describe, for ratings on `scale`; its parameters are 0, or undefined.
std::unique_ptr<RatingModel> make_new_model(Device& device, const TrainOptions& resolved, const RatingScale& scale,
                                            std::int64_t users, std::int64_t items,
                                            const std::vector<FeatureSource>& features);

/// The model with the given parameters on a device. Throws InputError if a tensor is missing or misshapen.
std::unique_ptr<RatingModel> make_model(Device& device, const ModelSpec& spec, const TensorMap& tensors,
                                        DType storage = DType::f32);

/// What scores with the given parameters on a device. It reads them where they are if the device shares the host's
/// memory and lays them out in the same way; they have to outlive it. Throws as make_model does.
std::unique_ptr<Scorer> make_scorer(Device& device, const ModelSpec& spec, const TensorMap& tensors);

/// What make_scorer() makes of that model once it is trained, by sizes alone: to plan memory by.
std::unique_ptr<Scorer> make_planned_scorer(Device& device, const TrainOptions& resolved, const RatingScale& scale,
                                            std::int64_t users, std::int64_t items,
                                            const std::vector<FeatureSource>& features);

/// The model that the options describe, for ratings on `scale`; without its features.
ModelSpec model_spec(const TrainOptions& resolved, const RatingScale& scale);

/// Columns of a feature's embedding in a network if options.feature_dim does not say: 2 (values)^(1/4), rounded up,
/// at most 16 (values^(1/4): TensorFlow's guide to feature columns).
std::int64_t default_feature_dim(std::int64_t values);

/// Columns of every feature's embedding: in a network by options.feature_dim, in mf options.dim. Throws InputError if
/// feature_dim names a feature that is not there.
std::vector<std::int64_t> feature_dims(const TrainOptions& resolved, const std::vector<FeatureSource>& features);

/// The parameters `first` without what tells pairs apart: of mf the biases alone, of a network its last bias alone.
TensorMap flat_parameters(TensorMap first, const ModelSpec& spec);

/// Freshly drawn parameters, by options.init and options.seed.
///   mf: factors as options.init says, biases 0, global_mean as given.
///   mlp: embeddings likewise, dense weights Glorot uniform (Glorot, Bengio 2010, eq. 16), dense biases 0, but for the
///   last one if options.global_mean asks for a first prediction near global_mean.
///   neumf: factors as embeddings.
/// Features' embeddings in mf start at 0, in networks like the others.
TensorMap initial_parameters(const TrainOptions& resolved, const ModelSpec& spec, std::int64_t users,
                             std::int64_t items, double global_mean);

}  // namespace curate
