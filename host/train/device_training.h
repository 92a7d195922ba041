#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "curate/dataset.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "solvers/device_ratings.h"
#include "solvers/solver.h"
#include "train/evaluator.h"

namespace curate {

/// All that the memory of a training follows from, besides the options.
struct TrainingSize {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t ratings = 0;  ///< the validation slice included
  RatingScale scale = {};
  std::vector<FeatureSource> features = {};
  bool timestamps = true;  ///< of the ratings on the host
  RatingUnits units = {};  ///< that they are learnt in
  BiasRidges bias_ridges = {};
};

/// Ratings of the validation slice; 0 if the fraction comes to less than one.
std::int64_t held_out_ratings(std::int64_t ratings, const TrainOptions& resolved);

/// What a training takes from the host, in its units, asked for once each, in this order. Where memory is only planned,
/// nothing is uploaded.
class TrainingData {
 public:
  TrainingData() = default;
  TrainingData(const TrainingData&) = delete;
  TrainingData& operator=(const TrainingData&) = delete;
  virtual ~TrainingData() = default;

  virtual void load_parameters(RatingModel& model) = 0;
  virtual void load_ratings(DeviceRatings& ratings) = 0;
  virtual void load_validation(Evaluator& validation) = 0;
};

/// A copy of a model's parameters on its device.
class Snapshot {
 public:
  void take(Device& device, const RatingModel& model);
  bool taken() const { return !buffers_.empty(); }
  /// With the values of the copy.
  std::vector<NamedParameter> parameters(const RatingModel& model) const;
  void restore(Device& device, RatingModel& model) const;

 private:
  MatrixView dense_view(std::size_t p, const NamedParameter& parameter) const;

  std::vector<Buffer> buffers_;
};

/// A training as its device has it: model, ratings, solver, validation slice and the best epoch's parameters. It knows
/// its data by their sizes alone, so that the same calls on a MeasuringDevice say what memory they take.
class DeviceTraining {
 public:
  /// `resolved` as resolve() returns them. The device has to outlive it.
  DeviceTraining(Device& device, const TrainOptions& resolved, const TrainingSize& size, TrainingData& data);

  /// Trains one epoch (from 0) and waits for it. Errors are in ratings' own units, here and below.
  EpochRecord train_epoch(std::int32_t epoch, const Solver::Progress& progress);

  bool has_validation() const { return validation_.has_value(); }
  Metrics validate() { return validation_->evaluate(*model_); }

  /// Learning rates are `factor` times what they were. The optimizer starts anew, and no epoch is the best any more;
  /// the model's parameters are the caller's.
  void restart(double factor);

  /// Keeps the model's parameters as those of the best epoch.
  void keep_best() { best_.take(*device_, *model_); }
  double base_rate() const { return static_cast<double>(schedule_.base); }
  void set_base_rate(double rate) { schedule_.base = static_cast<float>(rate); }
  void forget_best() { best_ = {}; }
  bool has_best() const { return best_.taken(); }
  /// None before keep_best().
  std::vector<NamedParameter> best() const { return best_.parameters(*model_); }

  /// Of the model as it is, on the ratings trained on.
  Metrics errors_on_training();

  /// Makes the best epoch's parameters the model's, if some were kept, and gives the errors on the ratings trained on.
  /// The last call but those of the model: all else is freed, so that the model goes to the host when its device has
  /// nothing beside it.
  Metrics finish();

  RatingModel& model() const { return *model_; }
  std::unique_ptr<RatingModel> take_model() { return std::move(model_); }
  const Solver& solver() const { return *solver_; }

  StepState step_state() const { return device_->read<StepState>(state()); }
  void set_step_state(const StepState& step) { device_->upload(state(), std::span<const StepState>(&step, 1)); }

 private:
  MatrixView state() const { return state_.view(DType::step_state, 1); }
  MatrixView sums() const { return sums_.view(DType::error_sums, 1); }

  Device* device_;
  std::uint64_t seed_;
  ErrorScale scale_;
  std::unique_ptr<RatingModel> model_;
  std::optional<DeviceRatings> ratings_;
  Buffer state_;
  Buffer sums_;
  std::unique_ptr<Solver> solver_;
  std::int64_t steps_ = 0;  ///< of an epoch
  LearningRateSchedule schedule_;
  std::optional<Evaluator> validation_;
  Snapshot best_;
};

}  // namespace curate
