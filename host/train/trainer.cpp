#include "curate/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "curate/error.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "support/philox.h"
#include "support/printable.h"
#include "train/device_ratings.h"
#include "train/fallback.h"

namespace curate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Takes the validation slice off the training ratings; none where the fraction comes to less than one rating.
Split hold_out(const RatingTable& ratings, const TrainOptions& options) {
  if (std::round(options.validation * static_cast<double>(ratings.size())) < 1.0 || ratings.size() < 2) {
    return {ratings, {}};
  }
  // A seed of its own: the same one may have split off the test part already.
  const std::uint64_t seed = philox(options.seed, 0, 0, RandomPurpose::validation).low64();
  return split_random(ratings, options.validation, seed, options.threads);
}

/// A batch has all the ratings at most. SGD's rate is that of a batch of the size asked for, which by default it is in
/// proportion to: it goes down with it.
TrainOptions fit_batch(const TrainOptions& options, std::int64_t ratings) {
  TrainOptions fitted = options;
  if (!options.optimizer.starts_with("sgd") || options.batch == 1) {
    return fitted;
  }
  const bool damped = options.damping > 0.0;
  if (!damped && options.batch < ratings) {
    // The mean of a few left over would step as far as that of a whole batch, each of them many times as far as others:
    // a bias was thrown off by stars. A somewhat smaller batch leaves none, or more. Damping keeps such steps short.
    constexpr std::int64_t kFewest = 8;  // a part of a batch
    std::int64_t left = ratings % fitted.batch;
    while (left > 0 && kFewest * left < fitted.batch) {
      --fitted.batch;
      left = ratings % fitted.batch;
    }
  } else if (damped && options.batch > ratings) {
    fitted.batch = std::max<std::int64_t>(2, ratings);  // 1 is per-rating SGD
  }
  fitted.learning_rate *= static_cast<double>(fitted.batch) / static_cast<double>(options.batch);
  return fitted;
}

/// The grouping of every batch by user or item, in device memory.
class DeviceSegments {
 public:
  DeviceSegments(Device& device, std::int64_t ratings, std::int64_t batches)
      : ratings_(ratings),
        batches_(batches),
        rows_(device.allocate_array<std::int32_t>(ratings)),
        starts_(device.allocate_array<std::int32_t>(ratings)),
        positions_(device.allocate_array<std::int32_t>(ratings)),
        counts_(device.allocate_array<std::int32_t>(batches)) {}

  SegmentsView view() const {
    return {rows_.view(DType::i32, ratings_), starts_.view(DType::i32, ratings_), positions_.view(DType::i32, ratings_),
            counts_.view(DType::i32, batches_)};
  }

 private:
  std::int64_t ratings_;
  std::int64_t batches_;
  Buffer rows_;
  Buffer starts_;
  Buffer positions_;
  Buffer counts_;
};

/// A copy of a model's parameters on its device.
class Snapshot {
 public:
  void take(Device& device, const RatingModel& model) {
    const auto parameters = model.parameters();
    if (buffers_.empty()) {
      for (const NamedParameter& parameter : parameters) {
        buffers_.push_back(device.allocate_array<float>(parameter.view.rows * parameter.view.cols));
      }
    }
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      device.copy(dense_view(p, parameters[p]), parameters[p].view);
    }
  }

  void restore(Device& device, RatingModel& model) const {
    const auto parameters = model.parameters();
    for (std::size_t p = 0; p < buffers_.size(); ++p) {
      device.copy(parameters[p].view, dense_view(p, parameters[p]));
    }
  }

 private:
  MatrixView dense_view(std::size_t p, const NamedParameter& parameter) const {
    return buffers_[p].view(DType::f32, parameter.view.rows, parameter.view.cols);
  }

  std::vector<Buffer> buffers_;
};

/// The epochs' loop over one device: what stays allocated for the whole run.
class EpochLoop {
 public:
  EpochLoop(Device& device, RatingModel& model, const RatingTable& train, const Dataset& dataset,
            const TrainOptions& options)
      : device_(device),
        model_(model),
        options_(options),
        plan_(make_plan(options)),
        count_(train.size()),
        source_(device, train),
        state_(device.allocate_array<StepState>(1)),
        sums_(device.allocate_array<ErrorSums>(1)) {
    plan_.batch = plan_.per_rating ? count_ : std::min(plan_.batch, count_);
    if (options.device.starts_with("cuda") && !options.deterministic) {
      plan_.scatter = ScatterKind::atomic;  // on the CPU both kinds take the same time, and segments are reproducible
    }
    steps_ = (count_ + plan_.batch - 1) / plan_.batch;
    schedule_.kind = options.schedule == "linear" ? ScheduleKind::linear : ScheduleKind::constant;
    schedule_.base = static_cast<float>(options.learning_rate);
    schedule_.total_steps = steps_ * options.epochs;
    schedule_.warmup_steps = std::llround(options.warmup * static_cast<double>(steps_));
    view_.state = state_.view(DType::step_state, 1);
    view_.sums = sums_.view(DType::error_sums, 1);
    const StepState start;
    device_.upload(view_.state, std::span<const StepState>(&start, 1));
    model_.prepare_training(plan_);
    if (plan_.per_rating) {
      epoch_plan_ = device.plan_mf_epoch(source_.view(), dataset.users.size(), dataset.items.size(),
                                         {options.seed, options.deterministic, 0, 0, false, plan_.kernel});
      view_.plan = epoch_plan_.get();
    } else {
      shuffled_.emplace(device, count_);
      order_ = device.allocate_array<std::int32_t>(count_);
      view_.ratings = shuffled_->view();
      user_segments_.emplace(device, count_, steps_);
      item_segments_.emplace(device, count_, steps_);
      view_.user_segments = user_segments_->view();
      view_.item_segments = item_segments_->view();
      step_ = device_.capture([&] {
        model_.enqueue_step(view_);
        device_.advance_step(view_.state);
      });
    }
  }

  /// Trains one epoch (from 0) and waits for it.
  EpochRecord run(std::int32_t epoch, const Dataset& dataset, const TrainEvents& events) {
    EpochRecord record;
    record.epoch = epoch + 1;
    record.learning_rate = static_cast<double>(learning_rate_at(schedule_, steps_ * epoch));
    const auto start = Clock::now();
    device_.zero(view_.sums);
    device_.begin_epoch(view_.state, {options_.seed, epoch, count_, plan_.batch, schedule_});
    if (plan_.per_rating) {
      model_.enqueue_epoch(view_);
      device_.advance_step(view_.state);
    } else {
      device_.permute(view_.ratings, order_.view(DType::i32, count_), source_.view(), view_.state);
      device_.build_segments(view_.user_segments, view_.ratings.users, dataset.users.size(), view_.state);
      device_.build_segments(view_.item_segments, view_.ratings.items, dataset.items.size(), view_.state);
      replay_steps(record.epoch, events);
    }
    const auto errors = device_.read<ErrorSums>(view_.sums);
    record.seconds = seconds_since(start);
    record.train_rmse = to_metrics(errors, {}).rmse;
    record.ratings_per_second = record.seconds > 0.0 ? static_cast<double>(count_) / record.seconds : 0.0;
    return record;
  }

  /// Errors of the model on all training ratings.
  Metrics evaluate(ClipRange clip) {
    device_.zero(view_.sums);
    model_.enqueue_errors(view_.sums, source_.view(), clip);
    return to_metrics(device_.read<ErrorSums>(view_.sums), {});
  }

 private:
  void replay_steps(std::int32_t epoch, const TrainEvents& events) {
    // A hundred pieces an epoch: enough for a progress line, too few to cost anything.
    const std::int64_t piece = std::max<std::int64_t>(1, steps_ / 100);
    for (std::int64_t done = 0; done < steps_; done += piece) {
      device_.replay(*step_, std::min(piece, steps_ - done));
      if (events.on_progress) {
        events.on_progress(epoch, std::min(count_, (done + piece) * plan_.batch), count_);
      }
    }
  }

  Device& device_;
  RatingModel& model_;
  const TrainOptions& options_;
  TrainingPlan plan_;
  std::int64_t count_;
  std::int64_t steps_ = 0;
  LearningRateSchedule schedule_;
  DeviceRatings source_;
  std::unique_ptr<MfEpochPlan> epoch_plan_;  ///< per-rating SGD
  std::optional<DeviceRatings> shuffled_;    ///< mini-batches
  Buffer order_;
  Buffer state_;
  Buffer sums_;
  std::optional<DeviceSegments> user_segments_;
  std::optional<DeviceSegments> item_segments_;
  std::unique_ptr<Graph> step_;
  EpochView view_;
};

/// Embeddings of ids without a training rating are never updated: at zero, a feature's vector stands for such a row.
void clear_unseen(TensorMap& tensors, const char* side, const std::vector<std::int64_t>& counts) {
  for (const char* what : {"embedding", "factors"}) {
    const auto found = tensors.find(fmt::format("{}.{}", side, what));
    if (found == tensors.end()) {
      continue;
    }
    std::vector<float>& values = found->second.values;
    const std::size_t dim = values.size() / std::max<std::size_t>(1, counts.size());
    for (std::size_t row = 0; row < counts.size(); ++row) {
      if (counts[row] == 0) {
        std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(row * dim), dim, 0.0F);
      }
    }
  }
}

void check_features_of(const Dataset& dataset, const TrainOptions& options) {
  if (options.features.empty() != dataset.features.empty()) {
    throw InputError(
        options.features.empty()
            ? "the data set has features that the options do not name; set TrainOptions::features"
            : fmt::format("--features {}: the data set has none; use add_features first", printable(options.features)));
  }
  check_features(dataset.features, dataset.users.size(), dataset.items.size());
}

void check_finite(double rmse, const char* what, const EpochRecord& record) {
  if (!std::isfinite(rmse)) {
    throw Error(
        fmt::format("training diverged in epoch {}: the {} error is not finite at learning rate {:.3g}; lower --lr or "
                    "raise --reg",
                    record.epoch, what, record.learning_rate));
  }
}

}  // namespace

Trainer::Trainer(const TrainOptions& options) : options_(resolve(options)) {}

TrainResult Trainer::train(const Dataset& dataset, const RatingTable& ratings, const TrainEvents& events) const {
  if (ratings.size() == 0) {
    throw InputError("no ratings to train on; give a data set with at least one");
  }
  if (ratings.size() > std::numeric_limits<std::int32_t>::max()) {
    throw InputError(fmt::format("{} ratings: more than the 2^31 - 1 that one run can hold", ratings.size()));
  }
  const auto enter = [&](const char* phase) {
    if (events.on_phase) {
      events.on_phase(phase);
    }
  };
  check_features_of(dataset, options_);
  enter("setting up");
  Split split = hold_out(ratings, options_);
  const Fallback fallback(split.train, dataset.users.size(), dataset.items.size(), dataset.features);
  const ClipRange clip =
      options_.clip ? ClipRange{dataset.scale.min, dataset.scale.max}
                    : ClipRange{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};

  const auto device = make_device(options_.device, options_.threads);
  check_storage(*device, options_);
  ModelSpec spec = model_spec(options_, dataset.scale);
  spec.features = dataset.features;
  TensorMap start_tensors =
      initial_parameters(options_, spec, dataset.users.size(), dataset.items.size(), fallback.mean());
  if (!spec.features.empty()) {
    clear_unseen(start_tensors, "user", fallback.user_counts());
    clear_unseen(start_tensors, "item", fallback.item_counts());
  }
  const auto model = make_model(*device, spec, start_tensors, storage_of(options_));
  start_tensors.clear();
  const auto start = Clock::now();
  const TrainOptions fitted = fit_batch(options_, split.train.size());
  EpochLoop loop(*device, *model, split.train, dataset, fitted);
  split.train = {};  // the device has them
  std::optional<Evaluator> validation;
  if (split.test.size() > 0) {
    validation.emplace(*device, split.test, fallback, clip);
  }

  enter("training");
  Snapshot best;
  std::vector<EpochRecord> history;
  std::optional<Metrics> best_validation;
  std::int32_t best_epoch = 0;
  for (std::int32_t epoch = 0; epoch < options_.epochs; ++epoch) {
    EpochRecord record = loop.run(epoch, dataset, events);
    check_finite(record.train_rmse, "training", record);
    record.best = true;
    if (validation) {
      const Metrics metrics = validation->evaluate(*model);
      check_finite(metrics.rmse, "validation", record);
      record.validation_rmse = metrics.rmse;
      record.best = !best_validation || metrics.rmse < best_validation->rmse;
      if (record.best) {
        best_validation = metrics;
        best.take(*device, *model);
      }
    }
    if (record.best) {
      best_epoch = record.epoch;
    }
    history.push_back(record);
    if (events.on_epoch) {
      events.on_epoch(record);
    }
    if (options_.patience > 0 && record.epoch - best_epoch >= options_.patience) {
      break;
    }
  }
  device->synchronize();
  const double seconds = seconds_since(start);

  enter("evaluating");
  best.restore(*device, *model);
  const Metrics train_metrics = loop.evaluate(clip);
  Model::Parts parts;
  parts.spec = spec;
  parts.tensors = model->download();
  fallback.add_tensors(parts.tensors);
  parts.users = dataset.users;
  parts.items = dataset.items;
  parts.user_counts = fallback.user_counts();
  parts.item_counts = fallback.item_counts();
  parts.item_info = dataset.item_info;
  parts.scale = dataset.scale;
  parts.clip = options_.clip;
  return {Model(std::move(parts)), std::move(history),  best_epoch, train_metrics, best_validation, seconds,
          device->info().name,     device->peak_bytes()};
}

}  // namespace curate
