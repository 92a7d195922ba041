#include "train/memory_estimate.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "curate/column.h"
#include "models/batch_walk.h"
#include "models/ensemble.h"
#include "models/learning_units.h"
#include "train/baseline.h"
#include "train/ensemble.h"
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

/// Of users and items on the host.
std::size_t id_bytes(const TrainingSize& size) {
  return static_cast<std::size_t>((size.users + size.items) * kIdBytes);
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

namespace {

/// Goes through the training of a model, or of a member of an ensemble: the first training's model predicts the
/// validation part then. Gives the bytes of its parameters.
std::size_t plan_once(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& size, bool is_member) {
  const std::int64_t held_out = held_out_ratings(size.ratings, resolved);
  PlannedData data(device, size, held_out);
  std::unique_ptr<RatingModel> trained;
  std::size_t parameters = 0;
  Held model;
  {
    DeviceTraining training(device, resolved, size, data);
    // What an epoch takes comes beside the best one so far from the second on.
    for (std::int32_t epoch = 0; epoch < std::min(2, resolved.epochs.value()); ++epoch) {
      training.train_epoch(epoch, {});
      if (training.has_validation()) {
        training.validate();
        training.keep_best();
      }
    }
    training.finish();
    // The model with the ids and what cold ones fall back to.
    parameters = bytes_of_parameters(training.model());
    model = Held(device, kHost, parameters + id_bytes(size) + Fallback::bytes(size.users, size.items));
    stage_parameters(training.model().parameters());
    trained = training.take_model();
  }
  if (is_member && held_out > 0) {
    const MemoryLabel label(device, "ratings");
    const DeviceRatings validation(device, held_out);
    trained->predict(validation.view().users, validation.view().items);
  }
  return parameters;
}

/// With its refit.
std::size_t plan_training(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& size,
                          bool is_member) {
  check_device(device, resolved);
  const std::size_t parameters = plan_once(device, resolved, size, is_member);
  if (resolved.refit && held_out_ratings(size.ratings, resolved) > 0) {
    TrainOptions refit = resolved;
    refit.validation = 0.0;
    plan_once(device, refit, size, false);
  }
  return parameters;
}

/// An ensemble: its members one after the other, then all of them on the device for their errors.
void plan_ensemble(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& size) {
  const std::vector<TrainOptions> members = member_options(resolved);
  std::vector<Held> finished;
  for (const TrainOptions& member : members) {
    finished.emplace_back(device, kHost, plan_training(device, member, size, true));
  }
  const std::int64_t trained = resolved.refit ? size.ratings : size.ratings - held_out_ratings(size.ratings, resolved);
  const Held split(device, kHost, resolved.refit ? 0 : bytes_of_ratings(size.ratings, size.timestamps));
  const Held model(device, kHost, id_bytes(size) + Fallback::bytes(size.users, size.items));
  std::vector<std::unique_ptr<Scorer>> scorers;
  {
    const MemoryLabel label(device, "parameters");
    for (const TrainOptions& member : members) {
      scorers.push_back(make_planned_scorer(device, member, size.scale, size.users, size.items, size.features));
    }
  }
  // Sorted by what predicts them, as Evaluator has them.
  const Held parts(device, kHost, 2 * bytes_of_ratings(trained, false));
  const MemoryLabel label(device, "ratings");
  const DeviceRatings ratings(device, trained);
  const Buffer sums = device.allocate_array<ErrorSums>(1);
  // Networks keep their buffers from the first block on, beside what mf members take in the second. Further ones take
  // no more.
  make_ensemble(device, std::move(scorers))
      ->enqueue_errors(sums.view(DType::error_sums, 1), ratings.view(0, std::min(trained, 2 * kPredictionBatch)),
                       ClipRange{});
}

/// Fitted on the host.
void plan_baseline(MeasuringDevice& device, const TrainingSize& size) {
  const Held split(device, kHost, bytes_of_ratings(size.ratings, size.timestamps));
  const Held fit(device, kHost, baseline_bytes(size.ratings, size.users, size.items));
}

/// The bias model is put on the device, solved.
void plan_bias_model(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& size) {
  const MemoryLabel label(device, "parameters");
  const std::unique_ptr<RatingModel> model = make_new_model(device, resolved, size.scale, size.users, size.items, {});
  const Held held(device, kHost,
                  bytes_of_parameters(*model) + id_bytes(size) + Fallback::bytes(size.users, size.items));
  stage_parameters(model->parameters());
}

}  // namespace

MemoryEstimate estimate_memory(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& asked) {
  TrainingSize size = asked;
  size.units.transform = transform_of(resolved, size.scale);
  check_ratings(size.ratings);
  const std::size_t data_set = bytes_of_ratings(size.ratings, size.timestamps) + id_bytes(size);
  {
    const Held given(device, kHost, data_set);
    plan_baseline(device, size);
    if (!resolved.ensemble.empty()) {
      plan_ensemble(device, resolved, size);
    } else if (resolved.model == ModelKind::bias) {
      check_device(device, resolved);
      plan_bias_model(device, resolved, size);
    } else {
      plan_training(device, resolved, size, false);
    }
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
