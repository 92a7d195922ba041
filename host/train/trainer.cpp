#include "curate/trainer.h"

#include "device/device.h"
#include "train/ensemble.h"

namespace curate {

Trainer::Trainer(const TrainOptions& options) : options_(resolve(options)) {}

TrainResult Trainer::train(const Dataset& dataset, const RatingTable& ratings, const TrainEvents& events) const {
  const auto device = make_device(options_.device, options_.threads);
  return train_models(*device, options_, dataset, ratings, events).result;
}

}  // namespace curate
