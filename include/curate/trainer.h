#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/export.h"
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
};

/// Called from train(), in its thread; any may be empty. An exception from one of them ends the training and leaves
/// train().
struct CURATE_API TrainEvents {
  /// What is done next that takes a while: "setting up", "training", "evaluating".
  std::function<void(const char* phase)> on_phase;
  std::function<void(const EpochRecord&)> on_epoch;  ///< after every epoch
  /// Before a member of an ensemble is trained: which one (from 1), of how many, with which options.
  std::function<void(std::int32_t member, std::int32_t members, const TrainOptions& options)> on_member;
  /// Ratings of the running epoch that were handed to the device so far, and in all.
  std::function<void(std::int32_t epoch, std::int64_t done, std::int64_t total)> on_progress;
};

/// A member of an ensemble, by itself.
struct CURATE_API MemberResult {
  ModelKind model = ModelKind::mf;
  std::uint64_t seed = 0;
  std::int32_t epochs = 0;      ///< that were trained
  std::int32_t best_epoch = 0;  ///< from 1
  Metrics train;
  std::optional<Metrics> validation;
  double seconds = 0.0;
};

/// `train` and `validation` are the errors of `model` on the ratings trained on, and on the slice held out of them
/// if there is one.
struct CURATE_API TrainResult {
  Model model;  ///< of the best epoch
  /// One record per epoch; fewer than TrainOptions::epochs if patience ran out. Of an ensemble those of all members,
  /// one after the other.
  std::vector<EpochRecord> history;
  std::int32_t best_epoch = 0;  ///< from 1; of an ensemble 0: each member has its own
  Metrics train;
  std::optional<Metrics> validation;
  double seconds = 0.0;                    ///< from the first upload to the last epoch
  std::string device;                      ///< "cpu", ...
  std::size_t device_bytes = 0;            ///< the most memory that arrays on the device held at once
  std::vector<MemberResult> members = {};  ///< of an ensemble; else empty
};

/// Trains models with one set of options. train() keeps no state: it may be called again.
class CURATE_API Trainer {
 public:
  /// Options are resolved; throws InputError if they make no sense.
  explicit Trainer(const TrainOptions& options);

  const TrainOptions& options() const { return options_; }

  /// Trains on `train`: dataset.ratings or a part of them. Its ids must be dense ids of `dataset`; nothing checks that.
  /// Throws InputError for no ratings, more than 2^31 - 1, or a device that is not here; DeviceError if it fails;
  /// Error when training diverges (a non-finite error).
  TrainResult train(const Dataset& dataset, const RatingTable& train, const TrainEvents& events = {}) const;

 private:
  TrainOptions options_;
};

}  // namespace curate
