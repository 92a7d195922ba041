#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "curate/export.h"

namespace curate {

/// All that decides a training run apart from its data. Values marked "auto" (-1, "", batch 0) are filled in by
/// resolve(), by model and optimizer; what only the mlp model has must stay "auto" for others.
struct CURATE_API TrainOptions {
  std::string preset;  ///< "", "notebook-mf" or "notebook-mlp"; set by preset_options
  /// mf (matrix factorization), mlp (a network over embeddings), neumf (that and a dot product; what is said of mlp
  /// holds for it too)
  std::string model = "mf";
  /// sgd, adagrad, adam, or sgd+adam: users' and items' vectors by SGD, what they share (features' embeddings, dense
  /// layers) by Adam; auto: mf sgd, with features and in mlp sgd+adam
  std::string optimizer;
  std::string loss = "mse";     ///< mse, mae
  std::int32_t dim = -1;        ///< factors, 1..1024; mlp: columns of both embeddings; auto: mf 64, mlp 32
  std::int32_t user_dim = -1;   ///< mlp: columns of the user's embedding; auto: dim
  std::int32_t item_dim = -1;   ///< mlp: columns of the item's embedding; auto: dim
  std::string layers;           ///< mlp: widths of the hidden layers, "100,50,20", or "none"; auto
  std::string activations;      ///< mlp: linear, relu, tanh or sigmoid, one for all hidden layers or one for each
  std::string output;           ///< mlp: linear, relu, or sigmoid scaled to the ratings' range; auto
  std::string dropout;          ///< mlp: rate after the embeddings, one for both or "user,item"; auto
  double dense_dropout = -1.0;  ///< mlp: rate after every hidden layer; auto
  std::int32_t factors = -1;    ///< neumf: factors of the dot product; auto: dim
  std::string features;         ///< of users and items, as add_features takes them; they must be in the data set then
  std::string feature_dim;      ///< mlp: columns of features' embeddings, "8" or "genres=8,age=4"; auto: by their size
  double feature_dropout = -1.0;  ///< mlp: rate after every feature's embedding; auto
  double feature_reg = -1.0;      ///< L2 of features' embeddings: feature_reg * |w|^2 added to the mean loss; auto
  std::int32_t epochs = -1;       ///< auto
  double learning_rate = -1.0;    ///< auto: by optimizer and batch
  double adam_lr = -1.0;          ///< sgd+adam: learning rate of Adam; auto
  /// Mini-batch SGD of users' and items' vectors, and of their biases: an element whose gradient g, summed over the
  /// batch, has had root mean square s in its latest steps moves by lr * g / batch / (1 + damping * s), 0 or more; 0:
  /// plain SGD; auto: by batch
  double damping = -1.0;
  double rate_decay = 0.0;    ///< batch 1: rows of n ratings learn at lr / sqrt(1 + rate_decay n (epochs so far + 1/2))
  std::string schedule;       ///< constant, linear (falls to zero over the epochs); auto: linear
  double warmup = 0.0;        ///< mini-batches: epochs, 0 to epochs, over which all learning rates rise linearly
  double reg = -1.0;          ///< L2 per rating: reg * |row|^2 for every embedding row (mf: biases too) a rating uses
  double dense_reg = -1.0;    ///< mlp: L2 of the dense weights: dense_reg * |W|^2 added to the mean loss; auto
  std::string products;       ///< mlp, CUDA: rounding of what wide layers multiply: f32, tf32, bf16; auto: f32
  double weight_decay = 0.0;  ///< decoupled (AdamW): w -= lr * weight_decay * w with every step; not biases
  /// 1: per-rating SGD (mf); more: mini-batches, of SGD without damping up to an eighth smaller where few ratings would
  /// be left for the last one; auto: mf 1 with sgd, else 1024; mlp 512
  std::int64_t batch = 0;
  bool biases = true;           ///< mf: user and item biases
  bool global_mean = true;      ///< mf: the mean training rating is added; mlp: the first predictions are near it
  bool non_negative = false;    ///< factors (mlp: embeddings) are kept >= 0
  std::string init = "normal";  ///< embeddings: normal (deviation init_scale), uniform (-init_scale .. init_scale)
  double init_scale = -1.0;     ///< auto
  bool dense_updates = false;   ///< the optimizer steps on every embedding row at every step, as in Keras
  double beta1 = -1.0;          ///< Adam: decay of the first moment a step, 0 to below 1; auto: by batch
  double beta2 = -1.0;          ///< Adam: decay of the second moment a step, 0 to below 1; auto: by batch
  double epsilon = 1e-8;        ///< Adam, Adagrad
  double validation = 0.05;     ///< fraction of the training ratings held out to choose the epoch; 0: none
  std::int32_t patience = 0;    ///< stop after so many epochs without improvement; 0: never stop early
  bool clip = true;             ///< clamp predictions to the rating scale when evaluating and predicting
  std::uint64_t seed = 1;
  std::string device = "auto";  ///< auto, cpu, cuda, cuda:N (the GPU numbered N)
  std::int32_t threads = 0;     ///< CPU threads; 0: all
  /// Storage of users' and items' embeddings: f32, or on a GPU f16 or bf16 (arithmetic, biases, what features and dense
  /// layers have, and the saved model are f32)
  std::string precision = "f32";
  /// Per-rating SGD on a GPU, to be measured: lanes=N threads to a rating, ahead=N rows on their way, split=N ratings
  /// of a user learnt in one piece, hot=N items gathered in shared memory, reductions=vector or scalar; auto
  std::string sgd_kernel;
  bool deterministic = false;  ///< same bits whatever the number of threads and the order of execution
};

/// Names that preset_options takes.
CURATE_API std::vector<std::string> preset_names();

/// Options of a preset. Throws InputError for an unknown name.
CURATE_API TrainOptions preset_options(const std::string& name);

/// Fills in what is "auto" and checks every value. Throws InputError naming the option and the remedy.
CURATE_API TrainOptions resolve(const TrainOptions& options);

/// Every option as `key = value` lines of TOML, in the order above.
CURATE_API std::string to_toml(const TrainOptions& options);

}  // namespace curate
