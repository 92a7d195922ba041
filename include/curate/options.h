#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "curate/export.h"
#include "curate/kinds.h"

namespace curate {

/// All options of a training run. resolve() fills in what is not given (an empty optional or list), by model and
/// optimizer. What only networks have must not be given for other models. option_table() has range, unit and default of
/// every option.
struct CURATE_API TrainOptions {
  std::string preset;                        ///< "", "notebook-mf" or "notebook-mlp"; set by preset_options
  ModelKind model = ModelKind::mf;           ///< what is said of mlp below holds for neumf too
  std::optional<OptimizerChoice> optimizer;  ///< default: mf sgd; with features, and in mlp, sgd_and_adam
  LossKind loss = LossKind::mse;
  /// What ratings are learnt in. All that follows is meant in it: learning rates, L2, init_scale.
  UnitsKind units = UnitsKind::spread;
  /// log: log(1 + rating - lowest rating) is learnt, and predictions are mapped back. For ratings with heavy tails.
  TransformKind transform = TransformKind::none;
  std::optional<std::int32_t> dim;       ///< factors; mlp: columns of both embeddings; 1..1024, default: mf 64, mlp 32
  std::optional<std::int32_t> user_dim;  ///< mlp: columns of the user's embedding; default: dim
  std::optional<std::int32_t> item_dim;  ///< mlp: columns of the item's embedding; default: dim
  /// mlp: widths of the hidden layers, default 64, 32. An empty vector means that there are none: `layers.reset()` is
  /// what leaves them to resolve(), `layers = std::vector<std::int32_t>()` what leaves them out.
  std::optional<std::vector<std::int32_t>> layers;
  std::vector<ActivationKind> activations;  ///< mlp: one for all hidden layers or one for each; default: relu
  std::optional<ActivationKind> output;  ///< mlp: linear (the default), relu, or sigmoid scaled to the ratings' range
  std::optional<DropoutRates> dropout;   ///< mlp: after the embeddings; default: 0.4 for both, with product 0.5
  std::optional<double> dense_dropout;   ///< mlp: rate after every hidden layer; default: 0
  std::optional<std::int32_t> factors;   ///< neumf: factors of the dot product; default: dim
  /// mlp: the dot product of a user's and an item's embedding, after their dropout, is added to the output: NeuMF whose
  /// two parts share their embeddings (He et al. 2017, section 3.4). Needs user_dim = item_dim and a linear output.
  /// Default: on if they are so and units is spread.
  std::optional<bool> product;
  std::string features;  ///< of users and items, as add_features takes them; they must be in the data set then
  std::vector<FeatureDim> feature_dim;    ///< mlp: columns of features' embeddings; default: by their size
  std::optional<double> feature_dropout;  ///< mlp: rate after every feature's embedding; default: 0
  std::optional<double> feature_reg;      ///< L2 of features' embeddings: feature_reg * |w|^2 added to the mean loss
  std::optional<std::int32_t> epochs;     ///< passes over the training ratings, at most; default: mf 20, mlp 25
  std::optional<double> learning_rate;    ///< default: by optimizer and batch
  std::optional<double> adam_lr;          ///< sgd_and_adam: learning rate of Adam; default: mf 0.004, mlp 0.005
  /// Mini-batch SGD of users' and items' vectors and biases: an element moves by lr * g / batch / (1 + damping * s),
  /// with g its gradient summed over the batch and s the root mean square of g in the latest steps; 0: plain SGD.
  /// Default: 0.1 for batches above 1024, else none.
  std::optional<double> damping;
  double rate_decay = 0.0;  ///< batch 1: rows of n ratings learn at lr / sqrt(1 + rate_decay n (epochs so far + 1/2))
  ScheduleKind schedule = ScheduleKind::linear;
  double warmup = 0.0;        ///< mini-batches: epochs, 0 to epochs, over which all learning rates rise linearly
  std::optional<double> reg;  ///< L2 per rating: reg * |row|^2 for every embedding row (mf: biases too) a rating uses
  /// mlp: L2 of the dense weights: dense_reg * |W|^2 added to the mean loss; default: by the number of ratings.
  std::optional<double> dense_reg;
  std::optional<ProductPrecision> products;  ///< mlp, CUDA: rounding of what wide layers multiply; default: f32
  /// Per-rating SGD: L2 of a user's or item's factors once an epoch, whatever the number of its ratings; default: 3 if
  /// ratings are learnt in units of their spread, else 0.
  std::optional<double> row_reg;
  double weight_decay = 0.0;  ///< decoupled (AdamW): w -= lr * weight_decay * w with every step; not biases
  /// 1: per-rating SGD (mf); more: mini-batches. SGD without damping takes up to an eighth less if few ratings would be
  /// left for the last batch. Default: mf 1 with sgd, else 1024; mlp 512.
  std::optional<std::int64_t> batch;
  bool biases = true;                ///< mf: user and item biases
  bool global_mean = true;           ///< mf: the mean training rating is added; mlp: the first predictions are near it
  bool non_negative = false;         ///< factors (mlp: embeddings) are kept >= 0
  InitKind init = InitKind::normal;  ///< embeddings: normal (deviation init_scale), uniform (-init_scale .. init_scale)
  std::optional<double> init_scale;  ///< default: mf 0.02, mlp 0.05
  bool dense_updates = false;        ///< the optimizer steps on every embedding row at every step, as in Keras
  std::optional<double> beta1;       ///< Adam: decay of the first moment a step, 0 to below 1; default: by batch
  std::optional<double> beta2;       ///< Adam: decay of the second moment a step, 0 to below 1; default: by batch
  double epsilon = 1e-8;             ///< Adam, Adagrad
  double validation = 0.05;          ///< fraction of the training ratings held out to choose the epoch; 0: none
  /// Trains once more, on the validation slice too, for as many epochs as the slice chose; without a slice of no
  /// effect.
  bool refit = true;
  std::int32_t patience = 0;  ///< stop after so many epochs without improvement; 0: never stop early
  bool clip = true;           ///< clamp predictions to the rating scale when evaluating and predicting
  std::uint64_t seed = 1;
  std::optional<std::uint64_t> validation_seed;  ///< chooses the validation part; default: seed
  /// Several models, whose predictions' mean is the prediction: numbers of members by kind, 1 to 64 in all. Members
  /// have seeds of their own and one validation part. Empty: one model.
  std::vector<EnsemblePart> ensemble;
  std::string device = "auto";  ///< auto, cpu, cuda, cuda:N (the GPU numbered N)
  std::int32_t threads = 0;     ///< CPU threads; 0: all
  /// Storage of users' and items' embeddings, on a GPU; biases, what features and dense layers have, and the saved
  /// model are f32.
  EmbeddingPrecision precision = EmbeddingPrecision::f32;
  std::optional<MfKernelOptions> sgd_kernel;  ///< per-rating SGD on a GPU: how an epoch is done; default: by the GPU
  bool deterministic = false;                 ///< same bits whatever the number of threads and the order of execution
};

/// Names that preset_options takes.
CURATE_API std::vector<std::string> preset_names();

/// Options of a preset. Throws InputError for an unknown name.
CURATE_API TrainOptions preset_options(const std::string& name);

/// Fills in what is not given and checks every value. Of an ensemble of several kinds it fills in what all of them
/// have alike, and `model` is the first one; of a single member it makes one model. Throws InputError naming the option
/// and the remedy.
CURATE_API TrainOptions resolve(const TrainOptions& options);

/// Every option as `key = value` lines of TOML, in the order above.
CURATE_API std::string to_toml(const TrainOptions& options);

}  // namespace curate
