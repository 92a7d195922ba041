#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/export.h"
#include "curate/kinds.h"
#include "curate/metrics.h"
#include "curate/model.h"
#include "curate/options.h"

namespace curate {

/// One pass over the training ratings. Errors are in the ratings' own unit.
struct CURATE_API EpochRecord {
  std::int32_t epoch = 0;   ///< from 1
  double seconds = 0.0;     ///< of training, without validation
  double train_rmse = 0.0;  ///< of the predictions made while training, before each update
  /// Nothing without a validation slice.
  std::optional<double> validation_rmse;
  double learning_rate = 0.0;  ///< at the start of the epoch
  double ratings_per_second = 0.0;
  bool best = false;        ///< lowest validation RMSE so far (or the latest epoch, without validation)
  std::int32_t member = 0;  ///< of an ensemble, whose one is trained, from 1; 0: of one model
  // With TrainOptions::transform epochs are judged by errors of logarithms, see Metrics::log_rmse; nothing else has
  // them. train_rmse is then of the model after the epoch, and train_log_rmse of the predictions made while training.
  std::optional<double> train_log_rmse = {};
  std::optional<double> validation_log_rmse = {};
};

/// A training that went wrong. It starts over with half the learning rates, three times at most.
struct CURATE_API Divergence {
  DivergenceKind kind = DivergenceKind::not_finite;
  std::int32_t epoch = 0;      ///< that it was noticed in, from 1
  double rmse = 0.0;           ///< of the training ratings, or of the validation slice; with a transform of logarithms
  double limit = 0.0;          ///< that it is above: of `grew` and `above_start`
  double learning_rate = 0.0;  ///< at the start of the training
  /// That it starts over with; nothing if it was given up. The best epoch so far is kept then, or the start.
  std::optional<double> next_rate;
  std::int32_t member = 0;  ///< of an ensemble, whose training it was, from 1; 0: of one model
};

/// Called from train(), in its thread; any may be empty. An exception from one of them ends the training and leaves
/// train().
struct CURATE_API TrainEvents {
  /// What is done next that takes a while: "setting up", "training", "evaluating".
  std::function<void(const char* phase)> on_phase;
  std::function<void(const EpochRecord&)> on_epoch;      ///< after every epoch
  std::function<void(const Divergence&)> on_divergence;  ///< instead of on_epoch; epochs count from 1 again
  /// The number of epochs is chosen: the refit comes, of so many. Epochs count from 1 again.
  std::function<void(std::int32_t epochs)> on_refit;
  /// Before a member of an ensemble is trained: which one (from 1), of how many, with which options.
  std::function<void(std::int32_t member, std::int32_t members, const TrainOptions& options)> on_member;
  /// Ratings of the running epoch that were handed to the device so far, and in all.
  std::function<void(std::int32_t epoch, std::int64_t done, std::int64_t total)> on_progress;
};

/// The bias model of the same training ratings, as `model` bias gives it: what a model should beat. Its prediction is
/// global_mean + user_bias[user] + item_bias[item], by dense ids of the data set.
struct CURATE_API Baseline {
  std::optional<Metrics> validation;  ///< on the validation slice, without the help of its ratings
  /// Trainer::train has no test part and leaves it empty.
  std::optional<Metrics> test;
  float global_mean = 0.0F;
  std::vector<float> user_bias;  ///< [users]
  std::vector<float> item_bias;  ///< [items]
  double user_ridge = 0.0;       ///< lambda_u; infinity: users do not differ, and all of user_bias is 0
  double item_ridge = 0.0;       ///< lambda_i
  double seconds = 0.0;          ///< that the fit took
};

/// The second training, on all training ratings: see TrainOptions::refit.
struct CURATE_API Refit {
  std::vector<EpochRecord> history;  ///< of an ensemble those of all members, one after the other
  double seconds = 0.0;              ///< of TrainResult::seconds
};

/// A member of an ensemble, by itself. Errors are of the same models as those of TrainResult.
struct CURATE_API MemberResult {
  ModelKind model = ModelKind::mf;
  std::uint64_t seed = 0;
  std::int32_t epochs = 0;      ///< that were trained, without the refit
  std::int32_t best_epoch = 0;  ///< from 1; 0: what the training started from
  Metrics train;
  std::optional<Metrics> validation;
  std::optional<std::int32_t> refit_epochs;  ///< nothing without a refit
  double seconds = 0.0;
};

/// `train` is the error of `model` on the ratings trained on. `validation` is that on the slice held out of them, if
/// there is one, of the model that did not see it (of an ensemble the mean of the models that did not).
struct CURATE_API TrainResult {
  Model model;  ///< of the best epoch, or of the refit
  /// One record per epoch; fewer than TrainOptions::epochs if patience ran out. Of an ensemble those of all members,
  /// one after the other.
  std::vector<EpochRecord> history;
  /// From 1. 0: none was better than what the training started from, which is what the model is: mf with biases and
  /// without features starts from the bias model, all else from the mean. Of an ensemble 0: each member has its own.
  std::int32_t best_epoch = 0;
  Metrics train;
  std::optional<Metrics> validation;
  std::optional<Refit> refit;
  std::vector<Divergence> divergences;     ///< in their order
  double seconds = 0.0;                    ///< from the first upload to the last epoch
  std::string device;                      ///< "cpu", ...
  std::size_t device_bytes = 0;            ///< the most memory that arrays on the device held at once
  std::vector<MemberResult> members = {};  ///< of an ensemble; else empty
  /// Nothing if the model is the bias model.
  std::optional<Baseline> baseline = {};
};

/// Trains models with one set of options. train() keeps no state: it may be called again.
class CURATE_API Trainer {
 public:
  /// Options are resolved; throws InputError if they make no sense.
  explicit Trainer(const TrainOptions& options);

  const TrainOptions& options() const { return options_; }

  /// Trains on `train`: dataset.ratings or a part of them. Its ids must be dense ids of `dataset`; nothing checks that.
  /// Throws InputError for no ratings, more than 2^31 - 1, or a device that is not here; DeviceError if it fails.
  TrainResult train(const Dataset& dataset, const RatingTable& train, const TrainEvents& events = {}) const;

 private:
  TrainOptions options_;
};

}  // namespace curate
