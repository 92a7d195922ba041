#include "train/training_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "curate/error.h"
#include "solvers/device_ratings.h"
#include "solvers/mini_batch.h"
#include "support/philox.h"
#include "support/printable.h"
#include "train/evaluator.h"
#include "train/fallback.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Takes the validation slice off the training ratings; none if the fraction comes to less than one rating.
Split hold_out(const RatingTable& ratings, const TrainOptions& options) {
  if (std::round(options.validation * static_cast<double>(ratings.size())) < 1.0 || ratings.size() < 2) {
    return {ratings, {}};
  }
  // A seed of its own: the same one may have split off the test part already.
  const std::uint64_t seed = philox(options.seed, 0, 0, RandomPurpose::validation).low64();
  return split_random(ratings, options.validation, seed, options.threads);
}

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

  /// With the values of the copy.
  std::vector<NamedParameter> parameters(const RatingModel& model) const {
    std::vector<NamedParameter> parameters = model.parameters();
    parameters.resize(buffers_.size());
    for (std::size_t p = 0; p < buffers_.size(); ++p) {
      parameters[p].view = dense_view(p, parameters[p]);
    }
    return parameters;
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

/// The training ratings on the device, and a solver that goes through them.
class EpochLoop {
 public:
  EpochLoop(Device& device, RatingModel& model, const RatingTable& train, const Dataset& dataset,
            const TrainOptions& options)
      : device_(device),
        model_(model),
        seed_(options.seed),
        source_(device, train),
        state_(device.allocate_array<StepState>(1)),
        sums_(device.allocate_array<ErrorSums>(1)),
        solver_(make_solver(device, model,
                            {source_.view(), dataset.users.size(), dataset.items.size(), state(), sums()}, options)),
        steps_((train.size() + solver_->batch() - 1) / solver_->batch()) {
    schedule_.kind = options.schedule;
    schedule_.base = static_cast<float>(options.learning_rate.value());
    schedule_.total_steps = steps_ * options.epochs.value();
    schedule_.warmup_steps = std::llround(options.warmup * static_cast<double>(steps_));
    set_step_state({});
  }

  /// Trains one epoch (from 0) and waits for it.
  EpochRecord run(std::int32_t epoch, const Solver::Progress& progress) {
    EpochRecord record;
    record.epoch = epoch + 1;
    record.learning_rate = static_cast<double>(learning_rate_at(schedule_, steps_ * epoch));
    const auto start = Clock::now();
    device_.zero(sums());
    device_.enqueue(ops::BeginEpoch{state(), {seed_, epoch, source_.size(), solver_->batch(), schedule_}});
    solver_->enqueue_epoch(progress);
    const auto errors = device_.read<ErrorSums>(sums());
    record.seconds = seconds_since(start);
    record.train_rmse = to_metrics(errors, {}).rmse;
    record.ratings_per_second = record.seconds > 0.0 ? static_cast<double>(source_.size()) / record.seconds : 0.0;
    return record;
  }

  const Solver& solver() const { return *solver_; }
  StepState step_state() const { return device_.read<StepState>(state()); }
  void set_step_state(const StepState& step) { device_.upload(state(), std::span<const StepState>(&step, 1)); }

  /// Errors of the model on all training ratings.
  Metrics evaluate(ClipRange clip) {
    device_.zero(sums());
    model_.enqueue_errors(sums(), source_.view(), clip);
    return to_metrics(device_.read<ErrorSums>(sums()), {});
  }

 private:
  MatrixView state() const { return state_.view(DType::step_state, 1); }
  MatrixView sums() const { return sums_.view(DType::error_sums, 1); }

  Device& device_;
  RatingModel& model_;
  std::uint64_t seed_;
  DeviceRatings source_;
  Buffer state_;
  Buffer sums_;
  std::unique_ptr<Solver> solver_;
  std::int64_t steps_;  ///< of an epoch
  LearningRateSchedule schedule_;
};

/// Sets embeddings of ids without a training rating to zero: they are never updated, and the vectors of features alone
/// should stand for such a row.
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
            : fmt::format("`features` {}: the data set has none; use add_features first", printable(options.features)));
  }
  check_features(dataset.features, dataset.users.size(), dataset.items.size());
}

void check_finite(double rmse, const char* what, const EpochRecord& record) {
  if (!std::isfinite(rmse)) {
    throw Error(
        fmt::format("training diverged in epoch {}: the {} error is not finite at learning rate {:.3g}; lower `lr` or "
                    "raise `reg`",
                    record.epoch, what, record.learning_rate));
  }
}

void check_ratings(const RatingTable& ratings) {
  if (ratings.size() == 0) {
    throw InputError("no ratings to train on; give a data set with at least one");
  }
  if (ratings.size() > std::numeric_limits<std::int32_t>::max()) {
    throw InputError(fmt::format("{} ratings: more than the 2^31 - 1 that one run can hold", ratings.size()));
  }
}

/// The model before its first epoch.
std::unique_ptr<RatingModel> new_model(Device& device, const TrainOptions& options, const Dataset& dataset,
                                       const ModelSpec& spec, const Fallback& fallback) {
  TensorMap tensors = initial_parameters(options, spec, dataset.users.size(), dataset.items.size(), fallback.mean());
  if (!spec.features.empty()) {
    clear_unseen(tensors, "user", fallback.user_counts());
    clear_unseen(tensors, "item", fallback.item_counts());
  }
  return make_model(device, spec, tensors, storage_of(options));
}

ModelSpec spec_of(const TrainOptions& options, const Dataset& dataset) {
  ModelSpec spec = model_spec(options, dataset.scale);
  spec.features = dataset.features;
  return spec;
}

}  // namespace

struct TrainingSession::Parts {
  Parts(Device& on, const TrainOptions& resolved, const Dataset& data, Split split)
      : device(on),
        options(resolved),
        dataset(data),
        fallback(split.train, data.users.size(), data.items.size(), data.features),
        clip(clip_range(resolved.clip, data.scale)),
        spec(spec_of(resolved, data)),
        model(new_model(on, resolved, data, spec, fallback)),
        loop(on, *model, split.train, data, fit_batch(resolved, split.train.size())) {
    split.train = {};  // the device has them
    if (split.test.size() > 0) {
      validation.emplace(device, split.test, fallback, clip);
    }
  }

  Device& device;
  TrainOptions options;
  const Dataset& dataset;
  Fallback fallback;
  ClipRange clip;
  ModelSpec spec;
  std::unique_ptr<RatingModel> model;
  double seconds_before = 0.0;  ///< of the session that this one goes on from
  Clock::time_point start = Clock::now();
  EpochLoop loop;
  std::optional<Evaluator> validation;

  std::vector<EpochRecord> history;
  Snapshot best;
  std::optional<Metrics> best_validation;
  std::int32_t best_epoch = 0;

  double seconds() const { return seconds_before + seconds_since(start); }
};

void check_device(Device& device, const TrainOptions& resolved) {
  if (!device.can_store(storage_of(resolved))) {
    throw InputError("precision", text_of(resolved.precision),
                     fmt::format("{} stores f32 only; give `precision` f32, or `device` cuda", device.info().engine));
  }
  if (is_given(resolved.sgd_kernel) && !device.has_kernel_options()) {
    throw InputError("sgd_kernel", text_of(resolved.sgd_kernel),
                     fmt::format("{} has one way only; remove it, or give `device` cuda", device.info().engine));
  }
  const ProductPrecision products = mini_batch_options(resolved).gradients.products;
  if (products != ProductPrecision::f32) {
    device.run(ops::PrepareDense{{}, products});
  }
}

TrainingSession::TrainingSession(Device& device, const TrainOptions& resolved, const Dataset& dataset,
                                 const RatingTable& ratings) {
  check_ratings(ratings);
  check_features_of(dataset, resolved);
  check_device(device, resolved);
  device.reset_peak_bytes();
  parts_ = std::make_unique<Parts>(device, resolved, dataset, hold_out(ratings, resolved));
}

TrainingSession::~TrainingSession() = default;

bool TrainingSession::done() const {
  const auto trained = static_cast<std::int32_t>(parts_->history.size());
  const std::int32_t patience = parts_->options.patience;
  return trained == parts_->options.epochs || (patience > 0 && trained - parts_->best_epoch >= patience);
}

EpochRecord TrainingSession::step(const Solver::Progress& progress) {
  Parts& p = *parts_;
  EpochRecord record = p.loop.run(static_cast<std::int32_t>(p.history.size()), progress);
  check_finite(record.train_rmse, "training", record);
  record.best = true;
  if (p.validation) {
    const Metrics metrics = p.validation->evaluate(*p.model);
    check_finite(metrics.rmse, "validation", record);
    record.validation_rmse = metrics.rmse;
    record.best = !p.best_validation || metrics.rmse < p.best_validation->rmse;
    if (record.best) {
      p.best_validation = metrics;
      p.best.take(p.device, *p.model);
    }
  }
  if (record.best) {
    p.best_epoch = record.epoch;
  }
  p.history.push_back(record);
  return record;
}

SessionState TrainingSession::state() const {
  const Parts& p = *parts_;
  SessionState state;
  state.parameters = p.model->download();
  state.slots = download_parameters(p.loop.solver().slots());
  state.step = p.loop.step_state();
  state.history = p.history;
  state.best = download_parameters(p.best.parameters(*p.model));
  state.best_validation = p.best_validation;
  state.best_epoch = p.best_epoch;
  state.seconds = p.seconds();
  return state;
}

void TrainingSession::restore(const SessionState& state) {
  Parts& p = *parts_;
  const std::vector<NamedParameter> slots = p.loop.solver().slots();
  if (slots.size() != state.slots.size()) {
    throw InputError(
        fmt::format("{} arrays of an optimizer, not the {} of this one", state.slots.size(), slots.size()));
  }
  upload_parameters(slots, state.slots);
  if (state.best_validation) {
    p.model->upload(state.best);
    p.best.take(p.device, *p.model);
  }
  p.model->upload(state.parameters);
  p.loop.set_step_state(state.step);
  p.history = state.history;
  p.best_validation = state.best_validation;
  p.best_epoch = state.best_epoch;
  p.seconds_before = state.seconds;
  p.start = Clock::now();
}

Trained TrainingSession::finish() {
  Parts& p = *parts_;
  p.device.synchronize();
  const double seconds = p.seconds();
  p.best.restore(p.device, *p.model);
  const Metrics train_metrics = p.loop.evaluate(p.clip);
  p.model->end_gradients();
  Model::Parts parts;
  parts.spec = p.spec;
  parts.tensors = p.model->download();
  p.fallback.add_tensors(parts.tensors);
  parts.users = p.dataset.users;
  parts.items = p.dataset.items;
  parts.user_counts = p.fallback.user_counts();
  parts.item_counts = p.fallback.item_counts();
  parts.item_info = p.dataset.item_info;
  parts.scale = p.dataset.scale;
  parts.clip = p.options.clip;
  return {{Model(std::move(parts)), std::move(p.history), p.best_epoch, train_metrics, p.best_validation, seconds,
           p.device.info().name, p.device.peak_bytes()},
          std::move(p.model)};
}

Trained train(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
              const TrainEvents& events) {
  const auto enter = [&](const char* phase) {
    if (events.on_phase) {
      events.on_phase(phase);
    }
  };
  enter("setting up");
  TrainingSession session(device, resolved, dataset, ratings);
  enter("training");
  for (std::int32_t epoch = 1; !session.done(); ++epoch) {
    Solver::Progress progress;
    if (events.on_progress) {
      progress = [&](std::int64_t done, std::int64_t total) { events.on_progress(epoch, done, total); };
    }
    const EpochRecord record = session.step(progress);
    if (events.on_epoch) {
      events.on_epoch(record);
    }
  }
  enter("evaluating");
  return session.finish();
}

}  // namespace curate
