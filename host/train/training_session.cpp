#include "train/training_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "curate/error.h"
#include "models/learning_units.h"
#include "solvers/mini_batch.h"
#include "support/machine.h"
#include "support/philox.h"
#include "support/printable.h"
#include "train/device_training.h"
#include "train/evaluator.h"
#include "train/fallback.h"
#include "train/first_parameters.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Split hold_out(const RatingTable& ratings, const TrainOptions& options) {
  if (held_out_ratings(ratings.size(), options) == 0) {
    return {ratings, {}};
  }
  // A seed of its own: the same one may have split off the test part already.
  const std::uint64_t base = options.validation_seed.value_or(options.seed);
  const std::uint64_t seed = philox(base, 0, 0, RandomPurpose::validation).low64();
  return split_random(ratings, options.validation, seed, options.threads);
}

namespace {

void check_features_of(const Dataset& dataset, const TrainOptions& options) {
  if (options.features.empty() != dataset.features.empty()) {
    throw InputError(
        options.features.empty()
            ? "the data set has features that the options do not name; set TrainOptions::features"
            : fmt::format("`features` {}: the data set has none; use add_features first", printable(options.features)));
  }
  check_features(dataset.features, dataset.users.size(), dataset.items.size());
}

/// Of predicting the mean, transformed and clipped, for all of them.
double error_of_mean(const RatingTable& ratings, double mean, ClipRange clip, const RatingTransform& transform) {
  const RatingSpread spread = spread_of(ratings.ratings, transform);
  const double prediction = std::clamp(mean, transformed(static_cast<double>(clip.min), transform),
                                       transformed(static_cast<double>(clip.max), transform));
  return std::hypot(spread.deviation, spread.mean - prediction);
}

/// What epochs are judged by: with a transform errors of logarithms.
double judged_error(const Metrics& metrics) {
  return metrics.log_rmse.value_or(metrics.rmse);
}
double judged_train_error(const EpochRecord& record) {
  return record.train_log_rmse.value_or(record.train_rmse);
}

/// The part of the bias model's error that a model has to come below: what is less better than that on so many held-out
/// ratings is so by chance, as a rule. Predictions differ by a tenth of the error, about, so that the difference of
/// both errors is a tenth over the root of their number by chance.
double worth_learning(std::int64_t held_out) {
  constexpr double kMost = 0.02;
  return 1.0 - std::min(kMost, 0.1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, held_out))));
}

/// Of a model that predicts in those units.
ModelSpec spec_of(const TrainOptions& options, const Dataset& dataset, const RatingUnits& units) {
  ModelSpec spec = model_spec(options, to_units(dataset.scale, units));
  spec.features = dataset.features;
  spec.transform = units.transform;
  return spec;
}

}  // namespace

/// The host's side of a training: what goes onto the device, and what is told of the epochs.
struct TrainingSession::Parts : TrainingData {
  Parts(Device& on, const TrainOptions& resolved, const Dataset& data, const RatingTable& ratings, const BiasFit* given)
      : device(on),
        options(resolved),
        dataset(data),
        split(hold_out(ratings, resolved)),
        own_bias_fit(given != nullptr ? std::nullopt
                                      : std::optional(fit_biases(split.train, data.users.size(), data.items.size(),
                                                                 resolved.threads))),
        bias_fit(given != nullptr ? *given : *own_bias_fit),
        fallback(bias_fit, data.features),
        transform(transform_of(resolved, data.scale)),
        spread(spread_of(split.train.ratings, transform)),
        units(learning_units(resolved, spread, transform)),
        held_out_error_of_mean(
            error_of_mean(split.test, spread.mean, clip_range(resolved.clip, data.scale), transform)),
        first_error(resolved.global_mean ? spread.deviation : std::hypot(spread.deviation, spread.mean)),
        error_to_beat(contains_bias_model(resolved)
                          ? worth_learning(split.test.size()) *
                                error_of_biases(split.test, bias_fit, clip_range(resolved.clip, data.scale))
                          : std::numeric_limits<double>::infinity()),
        spec(spec_of(resolved, data, units_of(transform))),
        training(on, resolved,
                 {data.users.size(), data.items.size(), ratings.size(), data.scale, sources_of(data.features), true,
                  units, starts_from_biases(resolved) ? ridges_of(bias_fit) : BiasRidges()},
                 *this) {
    if (training.has_validation()) {
      // Cold ratings are predicted by means of ratings, far from the mean of logarithms.
      const bool is_mean = is_network(resolved.model) && transform.kind == TransformKind::none;
      start_error = is_mean ? held_out_error_of_mean : judged_error(training.validate());
    }
  }

  /// Those before the first epoch.
  void load_parameters(RatingModel& model) override { model.upload(first_parameters()); }

  TensorMap first_parameters() const {
    const ModelSpec in_units = spec_of(options, dataset, units);
    const double mean = (spread.mean - units.centre) / units.unit;
    TensorMap tensors = initial_parameters(options, in_units, dataset.users.size(), dataset.items.size(), mean);
    if (starts_from_biases(options)) {
      put_biases(tensors, options, bias_fit, units);
    }
    if (!spec.features.empty()) {
      clear_unseen(tensors, "user", fallback.user_counts());
      clear_unseen(tensors, "item", fallback.item_counts());
    }
    return tensors;
  }

  /// The bias model, if there is one among the models; else the mean.
  TensorMap start_parameters() const {
    TensorMap tensors = flat_parameters(first_parameters(), spec);
    if (contains_bias_model(options)) {
      put_biases(tensors, options, bias_fit, units);
    }
    return tensors;
  }

  // The split is let go of as the device takes it.
  void load_ratings(DeviceRatings& ratings) override {
    start = Clock::now();
    for (float& rating : split.train.ratings) {
      rating = to_units(rating, units);
    }
    ratings.load(split.train);
    split.train = {};
  }
  void load_validation(Evaluator& validation) override {
    validation.load({split.test, fallback, {clip_range(options.clip, dataset.scale), units}});
    split.test = {};
  }

  Device& device;
  TrainOptions options;
  const Dataset& dataset;
  Split split;
  std::optional<BiasFit> own_bias_fit;  ///< if none is given
  const BiasFit& bias_fit;              ///< of the training ratings
  Fallback fallback;
  RatingTransform transform;
  RatingSpread spread;  ///< of the training ratings, transformed
  RatingUnits units;
  double held_out_error_of_mean;  ///< of predicting spread.mean for the validation slice
  double first_error;             ///< of the training ratings, about, before anything is learnt
  double error_to_beat;           ///< on the validation slice, or the bias model is kept
  double start_error = 0.0;  ///< on the validation slice, of what the training starts from: the bias model, or the mean
  ModelSpec spec;            ///< of the model that predicts transformed ratings
  double seconds_before = 0.0;  ///< of the session that this one goes on from
  Clock::time_point start;
  DeviceTraining training;

  std::vector<EpochRecord> history;
  std::optional<Metrics> best_validation;
  std::int32_t best_epoch = 0;
  std::vector<Divergence> divergences;
  bool given_up = false;

  std::optional<Divergence> divergence_in(const EpochRecord& record) const;
  std::optional<Divergence> divergence_at_end() const;
  EpochRecord epoch_without_learning();
  void start_over(Divergence divergence);
  bool is_better_than_start() const;
  void go_back_to_start();

  double seconds() const { return seconds_before + seconds_since(start); }
};

void check_ratings(std::int64_t ratings) {
  if (ratings == 0) {
    throw InputError("no ratings to train on; give a data set with at least one");
  }
  if (ratings > std::numeric_limits<std::int32_t>::max()) {
    throw InputError(fmt::format("{} ratings: more than the 2^31 - 1 that one run can hold", ratings));
  }
}

void check_device(Device& device, const TrainOptions& resolved) {
  if (!device.can_store(storage_of(resolved))) {
    throw InputError("precision", text_of(resolved.precision),
                     fmt::format("{} stores f32 only; give `precision` f32, or `device` cuda", device.info().engine));
  }
  if (is_given(resolved.sgd_kernel) && !device.has_kernel_options()) {
    throw InputError("sgd_kernel", text_of(resolved.sgd_kernel),
                     fmt::format("{} has one way only; remove it, or give `device` cuda", device.info().engine));
  }
  if (resolved.model == ModelKind::bias) {
    return;  // no batches
  }
  const ProductPrecision products = mini_batch_options(resolved).gradients.products;
  if (products != ProductPrecision::f32) {
    device.run(ops::PrepareDense{{}, products});
  }
}

TrainingSession::TrainingSession(Device& device, const TrainOptions& resolved, const Dataset& dataset,
                                 const RatingTable& ratings, const BiasFit* biases) {
  check_ratings(ratings.size());
  check_features_of(dataset, resolved);
  check_device(device, resolved);
  device.reset_peak_bytes();
  parts_ = std::make_unique<Parts>(device, resolved, dataset, ratings, biases);
}

TrainingSession::~TrainingSession() = default;

namespace {

constexpr std::size_t kMostRestarts = 3;

/// An error that is so much larger than it was, and than at the start, does not come down again.
constexpr double kGrowth = 1.5;

}  // namespace

/// What shows in an epoch.
std::optional<Divergence> TrainingSession::Parts::divergence_in(const EpochRecord& record) const {
  double lowest = first_error;
  for (const EpochRecord& before : history) {
    lowest = std::min(lowest, judged_train_error(before));
  }
  const auto judge = [&](double rmse, double limit) -> std::optional<Divergence> {
    if (!std::isfinite(rmse)) {
      return Divergence{DivergenceKind::not_finite, record.epoch, rmse, 0.0, 0.0, {}};
    }
    return rmse > limit ? std::optional(Divergence{DivergenceKind::grew, record.epoch, rmse, limit, 0.0, {}})
                        : std::nullopt;
  };
  // Ratings that are all the same have a spread of 0.
  const double least = 1e-3 * units.unit;
  const std::optional<Divergence> found =
      judge(judged_train_error(record), std::max({kGrowth * lowest, first_error, least}));
  if (found || !record.validation_rmse) {
    return found;
  }
  // A slice of a few ratings may be far from what the training ratings are.
  return judge(record.validation_log_rmse.value_or(*record.validation_rmse),
               std::max({2.0 * kGrowth * held_out_error_of_mean, 2.0 * kGrowth * first_error, least}));
}

/// What shows when all epochs are done: no error came below that of the start.
std::optional<Divergence> TrainingSession::Parts::divergence_at_end() const {
  // Somewhat above it is what happens if there is little to learn, or little was learnt.
  constexpr double kAboveStart = 1.02;
  // A few ratings held out say nothing of the rates.
  constexpr std::int64_t kFewest = 50;
  if (best_validation && best_validation->ratings < kFewest) {
    return std::nullopt;
  }
  const bool again = !divergences.empty() && divergences.back().kind == DivergenceKind::above_start;
  if (again || !best_validation || judged_error(*best_validation) <= kAboveStart * start_error) {
    return std::nullopt;
  }
  return Divergence{
      DivergenceKind::above_start, history.back().epoch, judged_error(*best_validation), start_error, 0.0, {}};
}

/// A run has an epoch at least.
EpochRecord TrainingSession::Parts::epoch_without_learning() {
  training.restart(1.0);
  training.model().upload(start_parameters());
  EpochRecord record;
  record.epoch = 1;
  const Metrics train = training.errors_on_training();
  record.train_rmse = train.rmse;
  record.train_log_rmse = train.log_rmse;
  if (training.has_validation()) {
    const Metrics held_out = training.validate();
    record.validation_rmse = held_out.rmse;
    record.validation_log_rmse = held_out.log_rmse;
  }
  return record;
}

void TrainingSession::Parts::start_over(Divergence divergence) {
  divergence.learning_rate = training.base_rate();
  if (divergences.size() < kMostRestarts) {
    constexpr double kFactor = 0.5;
    divergence.next_rate = kFactor * divergence.learning_rate;
    training.restart(kFactor);
    training.model().upload(first_parameters());
    history.clear();
    best_validation.reset();
    best_epoch = 0;
  } else {
    given_up = true;
    if (history.empty()) {
      history.push_back(epoch_without_learning());
    }
  }
  divergences.push_back(divergence);
}

/// On the validation slice; without one, as far as the training ratings tell.
bool TrainingSession::Parts::is_better_than_start() const {
  if (given_up && !training.has_best()) {
    return false;
  }
  if (!options.global_mean) {
    return true;  // the start predicts nothing near the ratings
  }
  // A few ratings held out may like what all others do not.
  const bool learnt = !history.empty() && judged_train_error(history.back()) <= first_error;
  if (best_validation) {
    return learnt && judged_error(*best_validation) <= std::min(start_error, error_to_beat);
  }
  return !history.empty();
}

/// Makes the start the model, and its epoch the best.
void TrainingSession::Parts::go_back_to_start() {
  training.forget_best();  // first: its memory is for what the upload takes
  training.model().upload(start_parameters());
  best_epoch = 0;
  if (training.has_validation()) {
    best_validation = training.validate();
  }
}

const std::vector<Divergence>& TrainingSession::divergences() const {
  return parts_->divergences;
}

bool TrainingSession::done() const {
  if (parts_->given_up) {
    return true;
  }
  const auto trained = static_cast<std::int32_t>(parts_->history.size());
  const std::int32_t patience = parts_->options.patience;
  return trained == parts_->options.epochs || (patience > 0 && trained - parts_->best_epoch >= patience);
}

std::optional<EpochRecord> TrainingSession::step(const Solver::Progress& progress) {
  Parts& p = *parts_;
  EpochRecord record = p.training.train_epoch(static_cast<std::int32_t>(p.history.size()), progress);
  std::optional<Metrics> metrics;
  if (p.training.has_validation()) {
    metrics = p.training.validate();
    record.validation_rmse = metrics->rmse;
    record.validation_log_rmse = metrics->log_rmse;
  }
  if (const std::optional<Divergence> divergence = p.divergence_in(record)) {
    p.start_over(*divergence);
    return std::nullopt;
  }
  record.best = true;
  if (metrics) {
    record.best = !p.best_validation || judged_error(*metrics) < judged_error(*p.best_validation);
    if (record.best) {
      p.best_validation = metrics;
      p.training.keep_best();
    }
  } else if (p.divergences.size() == kMostRestarts) {
    p.training.keep_best();  // the last one that is good
  }
  if (record.best) {
    p.best_epoch = record.epoch;
  }
  p.history.push_back(record);
  if (done()) {
    if (const std::optional<Divergence> divergence = p.divergence_at_end()) {
      p.start_over(*divergence);
      return std::nullopt;
    }
  }
  return record;
}

SessionState TrainingSession::state() const {
  const Parts& p = *parts_;
  SessionState state;
  state.parameters = p.training.model().download();
  state.slots = download_parameters(p.training.solver().slots());
  state.step = p.training.step_state();
  state.history = p.history;
  state.best = download_parameters(p.training.best());
  state.best_validation = p.best_validation;
  state.best_epoch = p.best_epoch;
  state.divergences = p.divergences;
  state.seconds = p.seconds();
  return state;
}

void TrainingSession::restore(const SessionState& state) {
  Parts& p = *parts_;
  const std::vector<NamedParameter> slots = p.training.solver().slots();
  if (slots.size() != state.slots.size()) {
    throw InputError(
        fmt::format("{} arrays of an optimizer, not the {} of this one", state.slots.size(), slots.size()));
  }
  upload_parameters(slots, state.slots);
  if (state.best_validation) {
    p.training.model().upload(state.best);
    p.training.keep_best();
  }
  p.training.model().upload(state.parameters);
  p.training.set_step_state(state.step);
  for (const Divergence& divergence : state.divergences) {
    if (divergence.next_rate) {
      p.training.set_base_rate(*divergence.next_rate);
    } else {
      p.given_up = true;
    }
  }
  p.divergences = state.divergences;
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
  if (!p.is_better_than_start()) {
    p.go_back_to_start();
  }
  const Metrics train_metrics = p.training.finish();
  Model::Parts parts;
  parts.spec = p.spec;
  parts.tensors = p.training.model().download();
  std::unique_ptr<RatingModel> resident = p.training.take_model();
  if (p.units != RatingUnits()) {
    to_rating_scale(parts.tensors, p.spec, p.units);
    resident.reset();
    resident = make_model(p.device, p.spec, parts.tensors, storage_of(p.options));
    if (storage_of(p.options) != DType::f32) {
      parts.tensors = resident->download();  // what 16 bits hold of it
    }
  }
  p.fallback.add_tensors(parts.tensors);
  parts.users = p.dataset.users;
  parts.items = p.dataset.items;
  parts.user_counts = p.fallback.user_counts();
  parts.item_counts = p.fallback.item_counts();
  parts.item_info = p.dataset.item_info;
  parts.scale = p.dataset.scale;
  parts.clip = p.options.clip;
  return {{Model(std::move(parts)),
           std::move(p.history),
           p.best_epoch,
           train_metrics,
           p.best_validation,
           {},
           std::move(p.divergences),
           seconds,
           p.device.info().name,
           p.device.peak_bytes()},
          std::move(resident)};
}

namespace {

const BiasFit* pointer_to(const std::optional<BiasFit>& fit) {
  return fit ? &*fit : nullptr;
}

/// One training with the options' validation slice, told of to `events`. Without an epoch it gives what it starts from.
Trained train_once(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
                   const TrainEvents& events, const BiasFit* biases) {
  TrainingSession session(device, resolved, dataset, ratings, biases);
  if (events.on_phase) {
    events.on_phase("training");
  }
  std::int32_t epoch = 1;
  while (!session.done()) {
    Solver::Progress progress;
    if (events.on_progress) {
      progress = [&](std::int64_t done, std::int64_t total) { events.on_progress(epoch, done, total); };
    }
    const std::optional<EpochRecord> record = session.step(progress);
    epoch = record ? record->epoch + 1 : 1;
    if (record && events.on_epoch) {
      events.on_epoch(*record);
    }
    if (!record && events.on_divergence) {
      events.on_divergence(session.divergences().back());
    }
  }
  if (events.on_phase) {
    events.on_phase("evaluating");
  }
  return session.finish();
}

/// Epochs of the second training. If rates fall to zero over the epochs, those up to the best one had more than their
/// share: as many epochs as give the same sum of rates when they fall to zero at the end. Networks that learn in the
/// first few epochs all that they can then learn the ratings by heart; they get fewer.
std::int32_t refit_epochs(const TrainOptions& resolved, std::int32_t best) {
  if (resolved.schedule != ScheduleKind::linear) {
    return best;
  }
  const double part = static_cast<double>(best) / static_cast<double>(resolved.epochs.value());
  const double longer = is_network(resolved.model) ? 1.0 + 1.3 * part * (1.0 - part) : 2.0 - part;
  return static_cast<std::int32_t>(std::lround(static_cast<double>(best) * longer));
}

/// What is left of the first training when the second one begins; its model is not.
struct Choice {
  explicit Choice(TrainResult&& first)
      : history(std::move(first.history)),
        best_epoch(first.best_epoch),
        validation(first.validation),
        divergences(std::move(first.divergences)),
        seconds(first.seconds),
        device_bytes(first.device_bytes) {}

  std::vector<EpochRecord> history;
  std::int32_t best_epoch;
  std::optional<Metrics> validation;
  std::vector<Divergence> divergences;
  double seconds;
  std::size_t device_bytes;
};

/// Of the second training: on all ratings, for as many epochs as the first one chose and with its rates.
TrainOptions refit_options(const TrainOptions& resolved, const Choice& first) {
  TrainOptions options = resolved;
  options.validation = 0.0;
  options.patience = 0;
  options.epochs = refit_epochs(resolved, first.best_epoch);
  options.warmup = std::min(resolved.warmup, static_cast<double>(*options.epochs));
  double halved = 1.0;
  for (const Divergence& divergence : first.divergences) {
    halved = divergence.next_rate ? *divergence.next_rate / resolved.learning_rate.value() : halved;
  }
  options.learning_rate = resolved.learning_rate.value() * halved;
  if (resolved.adam_lr) {
    options.adam_lr = *resolved.adam_lr * halved;
  }
  return options;
}

}  // namespace

Trained train(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
              const TrainEvents& events, const StartBiases& biases, const SeeChosen& see_chosen) {
  if (events.on_phase) {
    events.on_phase("setting up");
  }
  const bool holds_out = held_out_ratings(ratings.size(), resolved) > 0;
  std::optional<Trained> first =
      train_once(device, resolved, dataset, ratings, events, pointer_to(holds_out ? biases.held_out : biases.all));
  if (see_chosen) {
    see_chosen(*first);
  }
  if (!resolved.refit || !holds_out) {
    return std::move(*first);
  }
  Choice chosen(std::move(first->result));
  first.reset();  // its memory is for the second training
  return_freed_memory();
  const TrainOptions options = refit_options(resolved, chosen);
  if (events.on_refit) {
    events.on_refit(options.epochs.value());
  }
  Trained second = train_once(device, options, dataset, ratings, events, pointer_to(biases.all));
  TrainResult& result = second.result;
  result.refit = Refit{std::move(result.history), result.seconds};
  result.history = std::move(chosen.history);
  result.best_epoch = chosen.best_epoch;
  result.validation = chosen.validation;
  result.divergences.insert(result.divergences.begin(), chosen.divergences.begin(), chosen.divergences.end());
  result.seconds += chosen.seconds;
  result.device_bytes = std::max(result.device_bytes, chosen.device_bytes);
  return second;
}

}  // namespace curate
