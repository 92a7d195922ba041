#include "train/memory_estimate.h"

#include <algorithm>
#include <numeric>

#include "curate/column.h"
#include "models/learning_units.h"
#include "train/fallback.h"
#include "train/training_session.h"

namespace curate {
namespace {

using Held = MeasuringDevice::Held;
constexpr auto kHost = MeasuringDevice::Place::host;

/// An id in a map from what it was called, about.
constexpr std::int64_t kIdBytes = 48;

std::size_t bytes_of_ratings(std::int64_t ratings, bool timestamps) {
  const auto column = [ratings](std::size_t size) { return column_bytes(static_cast<std::size_t>(ratings) * size); };
  return 2 * column(sizeof(std::int32_t)) + column(sizeof(float)) + (timestamps ? column(sizeof(std::int64_t)) : 0);
}

std::size_t bytes_of_parameters(const RatingModel& model) {
  std::size_t bytes = 0;
  for (const NamedParameter& parameter : model.parameters()) {
    bytes += static_cast<std::size_t>(parameter.view.rows * parameter.view.cols) * sizeof(float);
  }
  return bytes;
}

/// What TrainingSession holds on the host, where there are sizes alone.
class PlannedData : public TrainingData {
 public:
  PlannedData(MeasuringDevice& device, const TrainingSize& size, std::int64_t held_out)
      : device_(&device),
        held_out_(held_out),
        train_(device, kHost, bytes_of_ratings(size.ratings - held_out, size.timestamps)),
        test_(device, kHost, held_out == 0 ? 0 : bytes_of_ratings(held_out, size.timestamps)),
        fallback_(device, kHost, Fallback::bytes(size.users, size.items)) {}

  void load_parameters(RatingModel& model) override {
    const Held drawn(*device_, kHost, bytes_of_parameters(model));
    stage_parameters(model.parameters());
  }
  void load_ratings(DeviceRatings& /*ratings*/) override { train_ = {}; }
  void load_validation(Evaluator& /*validation*/) override {
    // Sorted by what predicts them, in vectors that grow.
    const Held parts(*device_, kHost, 2 * bytes_of_ratings(held_out_, false));
    test_ = {};
  }

 private:
  MeasuringDevice* device_;
  std::int64_t held_out_;
  Held train_;
  Held test_;
  Held fallback_;
};

}  // namespace

std::int64_t MemoryEstimate::array_bytes() const {
  return std::accumulate(arrays.begin(), arrays.end(), std::int64_t{0},
                         [](std::int64_t sum, const MeasuringDevice::Part& part) { return sum + part.bytes; });
}

std::int64_t MemoryEstimate::array_bytes(std::string_view what) const {
  const auto found =
      std::find_if(arrays.begin(), arrays.end(), [&](const MeasuringDevice::Part& part) { return part.label == what; });
  return found == arrays.end() ? 0 : found->bytes;
}

MemoryEstimate estimate_memory(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& asked) {
  TrainingSize size = asked;
  size.units.transform = transform_of(resolved, size.scale);
  check_ratings(size.ratings);
  check_device(device, resolved);
  const std::int64_t ids = size.users + size.items;
  const std::size_t id_bytes = static_cast<std::size_t>(ids * kIdBytes);
  const std::size_t data_set = bytes_of_ratings(size.ratings, size.timestamps) + id_bytes;
  const Held given(device, kHost, data_set);
  const auto go_through = [&](const TrainOptions& options) {
    PlannedData data(device, size, held_out_ratings(size.ratings, options));
    DeviceTraining training(device, options, size, data);
    training.train_epoch(0, {});
    const bool validated = training.has_validation();
    if (validated) {
      training.validate();
      training.keep_best();
    }
    training.finish();
    // The model with the ids and what cold ones fall back to.
    const Held model(device, kHost,
                     bytes_of_parameters(training.model()) + id_bytes + Fallback::bytes(size.users, size.items));
    stage_parameters(training.model().parameters());
    return validated;
  };
  if (go_through(resolved) && resolved.refit) {
    TrainOptions refit = resolved;
    refit.validation = 0.0;
    go_through(refit);
  }
  MemoryEstimate estimate;
  estimate.arrays = device.parts();
  std::erase_if(estimate.arrays, [](const MeasuringDevice::Part& part) { return part.bytes == 0; });
  estimate.scratch = static_cast<std::int64_t>(device.most_on_engine()) - estimate.array_bytes();
  estimate.host = static_cast<std::int64_t>(device.most_on_host()) -
                  (device.has_own_memory() ? 0 : static_cast<std::int64_t>(device.most_on_engine()));
  estimate.data_set = static_cast<std::int64_t>(data_set);
  return estimate;
}

}  // namespace curate
