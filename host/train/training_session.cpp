#include "train/training_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "curate/error.h"
#include "solvers/mini_batch.h"
#include "support/philox.h"
#include "support/printable.h"
#include "train/device_training.h"
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

ModelSpec spec_of(const TrainOptions& options, const Dataset& dataset) {
  ModelSpec spec = model_spec(options, dataset.scale);
  spec.features = dataset.features;
  return spec;
}

}  // namespace

/// The host's side of a training: what goes onto the device, and what is told of the epochs.
struct TrainingSession::Parts : TrainingData {
  Parts(Device& on, const TrainOptions& resolved, const Dataset& data, const RatingTable& ratings)
      : device(on),
        options(resolved),
        dataset(data),
        split(hold_out(ratings, resolved)),
        fallback(split.train, data.users.size(), data.items.size(), data.features),
        spec(spec_of(resolved, data)),
        training(on, resolved,
                 {data.users.size(), data.items.size(), ratings.size(), data.scale, sources_of(data.features)}, *this) {
  }

  /// Those before the first epoch.
  void load_parameters(RatingModel& model) override {
    TensorMap tensors = initial_parameters(options, spec, dataset.users.size(), dataset.items.size(), fallback.mean());
    if (!spec.features.empty()) {
      clear_unseen(tensors, "user", fallback.user_counts());
      clear_unseen(tensors, "item", fallback.item_counts());
    }
    model.upload(tensors);
  }

  // The split is let go of as the device takes it.
  void load_ratings(DeviceRatings& ratings) override {
    start = Clock::now();
    ratings.load(split.train);
    split.train = {};
  }
  void load_validation(Evaluator& validation) override {
    validation.load({split.test, fallback, clip_range(options.clip, dataset.scale)});
    split.test = {};
  }

  Device& device;
  TrainOptions options;
  const Dataset& dataset;
  Split split;
  Fallback fallback;
  ModelSpec spec;
  double seconds_before = 0.0;  ///< of the session that this one goes on from
  Clock::time_point start;
  DeviceTraining training;

  std::vector<EpochRecord> history;
  std::optional<Metrics> best_validation;
  std::int32_t best_epoch = 0;

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
  const ProductPrecision products = mini_batch_options(resolved).gradients.products;
  if (products != ProductPrecision::f32) {
    device.run(ops::PrepareDense{{}, products});
  }
}

TrainingSession::TrainingSession(Device& device, const TrainOptions& resolved, const Dataset& dataset,
                                 const RatingTable& ratings) {
  check_ratings(ratings.size());
  check_features_of(dataset, resolved);
  check_device(device, resolved);
  device.reset_peak_bytes();
  parts_ = std::make_unique<Parts>(device, resolved, dataset, ratings);
}

TrainingSession::~TrainingSession() = default;

bool TrainingSession::done() const {
  const auto trained = static_cast<std::int32_t>(parts_->history.size());
  const std::int32_t patience = parts_->options.patience;
  return trained == parts_->options.epochs || (patience > 0 && trained - parts_->best_epoch >= patience);
}

EpochRecord TrainingSession::step(const Solver::Progress& progress) {
  Parts& p = *parts_;
  EpochRecord record = p.training.train_epoch(static_cast<std::int32_t>(p.history.size()), progress);
  check_finite(record.train_rmse, "training", record);
  record.best = true;
  if (p.training.has_validation()) {
    const Metrics metrics = p.training.validate();
    check_finite(metrics.rmse, "validation", record);
    record.validation_rmse = metrics.rmse;
    record.best = !p.best_validation || metrics.rmse < p.best_validation->rmse;
    if (record.best) {
      p.best_validation = metrics;
      p.training.keep_best();
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
  state.parameters = p.training.model().download();
  state.slots = download_parameters(p.training.solver().slots());
  state.step = p.training.step_state();
  state.history = p.history;
  state.best = download_parameters(p.training.best());
  state.best_validation = p.best_validation;
  state.best_epoch = p.best_epoch;
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
  const Metrics train_metrics = p.training.finish();
  Model::Parts parts;
  parts.spec = p.spec;
  parts.tensors = p.training.model().download();
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
          p.training.take_model()};
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
