#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "curate/export.h"

namespace curate {

/// All that decides a training run apart from its data. Values marked "auto" (-1, 0 or "") are filled in by
/// resolve().
struct CURATE_API TrainOptions {
  std::string preset;             ///< "" or "notebook-mf"; set by apply_preset
  std::string model = "mf";       ///< mf
  std::string optimizer = "sgd";  ///< sgd, adagrad, adam
  std::string loss = "mse";       ///< mse, mae
  std::int32_t dim = 64;          ///< factors, 1..1024
  std::int32_t epochs = 20;
  double learning_rate = -1.0;  ///< auto: by optimizer and batch
  std::string schedule;         ///< constant, linear (falls to zero over the epochs); auto: linear
  double reg = -1.0;            ///< lambda per rating, for factors and biases; auto
  std::int64_t batch = 0;       ///< 1: per-rating SGD; more: mini-batches; auto: 1 with sgd, else 1024
  bool biases = true;           ///< user and item biases
  bool global_mean = true;      ///< mean of the training ratings added to every prediction
  bool non_negative = false;    ///< factors are kept >= 0
  std::string init = "normal";  ///< normal (standard deviation init_scale), uniform (-init_scale .. init_scale)
  double init_scale = 0.02;
  bool dense_updates = false;  ///< Adam, Adagrad and SGD touch every row at every step, as in Keras
  double beta1 = 0.9;          ///< Adam
  double beta2 = 0.999;        ///< Adam
  double epsilon = 1e-8;       ///< Adam, Adagrad
  double validation = 0.05;    ///< fraction of the training ratings held out to choose the epoch; 0: none
  std::int32_t patience = 0;   ///< stop after so many epochs without improvement; 0: never stop early
  bool clip = true;            ///< clamp predictions to the rating scale when evaluating and predicting
  std::uint64_t seed = 1;
  std::string device = "auto";  ///< auto, cpu, cuda
  std::int32_t threads = 0;     ///< CPU threads; 0: all
  std::string precision = "f32";
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
