#include "train/device_training.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "models/learning_units.h"
#include "solvers/mini_batch.h"

namespace curate {

std::int64_t held_out_ratings(std::int64_t ratings, const TrainOptions& resolved) {
  // As split_random() counts them.
  const auto wanted = static_cast<std::int64_t>(std::llround(resolved.validation * static_cast<double>(ratings)));
  return ratings < 2 || wanted < 1 ? 0 : std::min(wanted, ratings - 1);
}

void Snapshot::take(Device& device, const RatingModel& model) {
  const auto parameters = model.parameters();
  if (buffers_.empty()) {
    const MemoryLabel label(device, "best_epoch");
    for (const NamedParameter& parameter : parameters) {
      buffers_.push_back(device.allocate_array<float>(parameter.view.rows * parameter.view.cols));
    }
  }
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    device.copy(dense_view(p, parameters[p]), parameters[p].view);
  }
}

std::vector<NamedParameter> Snapshot::parameters(const RatingModel& model) const {
  std::vector<NamedParameter> parameters = model.parameters();
  parameters.resize(buffers_.size());
  for (std::size_t p = 0; p < buffers_.size(); ++p) {
    parameters[p].view = dense_view(p, parameters[p]);
  }
  return parameters;
}

void Snapshot::restore(Device& device, RatingModel& model) const {
  const auto parameters = model.parameters();
  for (std::size_t p = 0; p < buffers_.size(); ++p) {
    device.copy(parameters[p].view, dense_view(p, parameters[p]));
  }
}

MatrixView Snapshot::dense_view(std::size_t p, const NamedParameter& parameter) const {
  return buffers_[p].view(DType::f32, parameter.view.rows, parameter.view.cols);
}

DeviceTraining::DeviceTraining(Device& device, const TrainOptions& resolved, const TrainingSize& size,
                               TrainingData& data)
    : device_(&device), seed_(resolved.seed), scale_(clip_range(resolved.clip, size.scale), size.units) {
  const RatingScale in_units = to_units(size.scale, size.units);
  const std::int64_t held_out = held_out_ratings(size.ratings, resolved);
  const std::int64_t trained = size.ratings - held_out;
  {
    const MemoryLabel label(device, "parameters");
    model_ = make_new_model(device, resolved, in_units, size.users, size.items, size.features);
    data.load_parameters(*model_);
  }
  const MemoryLabel label(device, "ratings");
  const TrainOptions options = fit_to_ratings(resolved, trained);
  ratings_.emplace(device, trained);
  data.load_ratings(*ratings_);
  state_ = device.allocate_array<StepState>(1);
  sums_ = device.allocate_array<ErrorSums>(1);
  solver_ =
      make_solver(device, *model_,
                  {ratings_->view(), size.users, size.items, in_units, state(), sums(), size.bias_ridges}, options);
  steps_ = (trained + solver_->batch() - 1) / solver_->batch();
  schedule_.kind = options.schedule;
  schedule_.base = static_cast<float>(options.learning_rate.value());
  schedule_.total_steps = steps_ * options.epochs.value();
  schedule_.warmup_steps = std::llround(options.warmup * static_cast<double>(steps_));
  set_step_state({});
  if (held_out > 0) {
    validation_.emplace(device, held_out, scale_);
    data.load_validation(*validation_);
  }
}

EpochRecord DeviceTraining::train_epoch(std::int32_t epoch, const Solver::Progress& progress) {
  EpochRecord record;
  record.epoch = epoch + 1;
  record.learning_rate = static_cast<double>(learning_rate_at(schedule_, steps_ * epoch));
  const auto start = std::chrono::steady_clock::now();
  device_->zero(sums());
  device_->enqueue(ops::BeginEpoch{state(), {seed_, epoch, ratings_->size(), solver_->batch(), schedule_}});
  solver_->enqueue_epoch(progress);
  const auto errors = device_->read<ErrorSums>(sums());
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  record.train_rmse = to_metrics(errors, {}).rmse * scale_.units.unit;
  if (scale_.units.transform.kind != TransformKind::none) {
    record.train_log_rmse = record.train_rmse;
    record.train_rmse = errors_on_training().rmse;
  }
  record.ratings_per_second = record.seconds > 0.0 ? static_cast<double>(ratings_->size()) / record.seconds : 0.0;
  return record;
}

void DeviceTraining::restart(double factor) {
  schedule_.base *= static_cast<float>(factor);
  for (const NamedParameter& slot : solver_->slots()) {
    device_->zero(slot.view);
  }
  // The padding of rows too: a training that diverged may have left NaN there.
  for (NamedParameter& parameter : model_->parameters()) {
    if (!parameter.vector) {
      parameter.view.cols = parameter.view.ld;
      device_->zero(parameter.view);
    }
  }
  best_ = {};
  set_step_state({});
}

Metrics DeviceTraining::finish() {
  best_.restore(*device_, *model_);
  const Metrics metrics = errors_on_training();
  model_->end_gradients();
  solver_.reset();
  ratings_.reset();
  validation_.reset();
  best_ = {};
  return metrics;
}

Metrics DeviceTraining::errors_on_training() {
  const auto errors_in = [&](const ErrorScale& scale) {
    device_->zero(sums());
    model_->enqueue_errors(sums(), ratings_->view(), scale);
    return device_->read<ErrorSums>(sums());
  };
  Metrics metrics = to_metrics(errors_in(scale_), {});
  metrics.log_rmse = log_rmse(scale_, {}, errors_in);
  return metrics;
}

}  // namespace curate
