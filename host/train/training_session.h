#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "curate/dataset.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "solvers/bias_ridge.h"
#include "solvers/solver.h"

namespace curate {

/// What a training gives, and the model where it was trained.
struct Trained {
  TrainResult result;
  std::unique_ptr<Scorer> resident;  ///< its parameters are those of result.model
};

/// Throws InputError if the device does not train as the options ask: how it stores embeddings, rounds products, or
/// goes through ratings.
void check_device(Device& device, const TrainOptions& resolved);

/// Takes the validation slice off the training ratings; none if the fraction comes to less than one rating.
Split hold_out(const RatingTable& ratings, const TrainOptions& resolved);

/// Throws InputError for none, and for more than one run can hold.
void check_ratings(std::int64_t ratings);

/// All that the epochs to come depend on, besides the options and the data.
struct SessionState {
  TensorMap parameters;  ///< of the model
  TensorMap slots;       ///< of the optimizer
  StepState step;        ///< after the latest epoch
  std::vector<EpochRecord> history;
  TensorMap best;                          ///< parameters of the best epoch so far; none without a validation slice
  std::optional<Metrics> best_validation;  ///< and its errors there
  std::int32_t best_epoch = 0;             ///< from 1
  std::vector<Divergence> divergences;     ///< and so the learning rates
  double seconds = 0.0;                    ///< that the training has taken
};

/// One training, epoch by epoch, on a device that stays open. The device and the data set have to outlive it.
class TrainingSession {
 public:
  /// Takes the validation slice off `ratings`, and puts the rest and a new model on the device. `resolved` as resolve()
  /// returns them; the device is the one given, whatever they name. Throws as Trainer::train does.
  /// `biases`: of the bias model for the same ratings without the slice, if they are known.
  TrainingSession(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
                  const BiasFit* biases = nullptr);
  ~TrainingSession();

  /// Whether no epoch is left: all were trained, or patience ran out.
  bool done() const;

  /// Trains the next epoch and waits for it. Only while not done(). Nothing if the training diverged, which is then the
  /// last of divergences(): the next step is the first epoch again, or the session is done.
  std::optional<EpochRecord> step(const Solver::Progress& progress = {});

  /// So far.
  const std::vector<Divergence>& divergences() const;

  /// Between two epochs. Blocks.
  SessionState state() const;

  /// Goes on from that state. A session of the same options and data, on the same kind of device with the same number
  /// of threads, then gives what the session that gave the state would have given, to the bit if training is
  /// deterministic. Throws InputError if the state is of another model or optimizer.
  void restore(const SessionState& state);

  /// The model of the best epoch. After at least one step; the last call to the session.
  Trained finish();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Bias models that trainings start from, if they are known.
struct StartBiases {
  std::optional<BiasFit> held_out;  ///< of the ratings without the validation slice
  std::optional<BiasFit> all;
};

/// Sees the model that did not see the validation slice, before a refit takes its place.
using SeeChosen = std::function<void(const Trained& chosen)>;

/// Steps through a whole training, and through its refit. `resolved` and what is thrown as in TrainingSession, `events`
/// as in Trainer::train.
Trained train(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
              const TrainEvents& events = {}, const StartBiases& biases = {}, const SeeChosen& see_chosen = {});

}  // namespace curate
