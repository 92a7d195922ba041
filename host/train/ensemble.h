#pragma once

#include <vector>

#include "curate/dataset.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "device/device.h"
#include "train/training_session.h"

namespace curate {

/// The options of every member of an ensemble, resolved: its kind, a seed of its own, and the validation part of all.
/// The first one's seed is the ensemble's. `resolved` as resolve() returns them, with an ensemble.
std::vector<TrainOptions> member_options(const TrainOptions& resolved);

/// Trains one model, as train() does, or an ensemble, one member after the other. While one is trained the finished
/// ones are on the host; in the end all are ready on the device, for the errors of their mean. `biases` are good for
/// every member, as all hold out the same part. Throws as train() does.
Trained train_models(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
                     const TrainEvents& events = {}, const StartBiases& biases = {});

}  // namespace curate
