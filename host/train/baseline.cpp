#include "train/baseline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "curate/error.h"
#include "solvers/bias_ridge.h"
#include "support/machine.h"
#include "support/thread_pool.h"
#include "train/ensemble.h"
#include "train/evaluator.h"

namespace curate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The bias model, with the numbers of ratings that it was fitted on, and the fits for trainings to start from.
struct FittedBias {
  Baseline baseline;
  StartBiases starts;
  std::vector<std::int64_t> user_counts;
  std::vector<std::int64_t> item_counts;
};

double ridge_of(double variance) {
  return variance > 0.0 ? 1.0 / variance : std::numeric_limits<double>::infinity();
}

FittedBias fitted(const BiasFit& fit) {
  FittedBias bias;
  bias.baseline.global_mean = static_cast<float>(fit.mean);
  bias.baseline.user_bias.assign(fit.user.begin(), fit.user.end());
  bias.baseline.item_bias.assign(fit.item.begin(), fit.item.end());
  bias.baseline.user_ridge = ridge_of(fit.variances.user);
  bias.baseline.item_ridge = ridge_of(fit.variances.item);
  bias.user_counts = fit.user_counts;
  bias.item_counts = fit.item_counts;
  return bias;
}

/// What `values` has of an id; 0 if it is none of theirs.
template <typename T>
T value_at(std::span<const T> values, std::int32_t id) {
  return id < 0 || static_cast<std::size_t>(id) >= values.size() ? T{} : values[static_cast<std::size_t>(id)];
}

/// The counts say which ratings are cold.
Metrics evaluate(const Baseline& baseline, std::span<const std::int64_t> user_counts,
                 std::span<const std::int64_t> item_counts, ClipRange clip, const RatingTable& ratings) {
  ErrorSums warm;
  ErrorSums cold;
  const std::span<const float> user_bias = baseline.user_bias;
  const std::span<const float> item_bias = baseline.item_bias;
  for (std::size_t n = 0; n < ratings.ratings.size(); ++n) {
    const std::int32_t user = ratings.users[n];
    const std::int32_t item = ratings.items[n];
    // In the order of ops::DotRows.
    float prediction = baseline.global_mean;
    prediction += value_at(user_bias, user);
    prediction += value_at(item_bias, item);
    const bool known = value_at(user_counts, user) > 0 && value_at(item_counts, item) > 0;
    add_error(known ? warm : cold, std::clamp(prediction, clip.min, clip.max), ratings.ratings[n]);
  }
  return to_metrics(warm, cold);
}

FittedBias fit_baseline(const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings) {
  const auto start = Clock::now();
  const std::int32_t users = dataset.users.size();
  const std::int32_t items = dataset.items.size();
  const Split split = hold_out(ratings, resolved);
  BiasFit fit = fit_biases(split.train, users, items, resolved.threads);
  std::optional<Metrics> validation;
  std::optional<BiasFit> held_out;
  if (split.test.size() > 0) {
    const BiasVariances variances = fit.variances;
    const FittedBias without = fitted(fit);
    validation = evaluate(without.baseline, without.user_counts, without.item_counts,
                          clip_range(resolved.clip, dataset.scale), split.test);
    held_out = std::move(fit);
    fit = fit_biases(ratings, users, items, variances, resolved.threads);
  }
  FittedBias bias = fitted(fit);
  bias.starts = {std::move(held_out), std::move(fit)};
  bias.baseline.validation = validation;
  bias.baseline.seconds = seconds_since(start);
  return bias;
}

Tensor tensor_of(const std::vector<float>& values) {
  return {{static_cast<std::int64_t>(values.size())}, values};
}

Model model_of(const FittedBias& bias, const TrainOptions& resolved, const Dataset& dataset) {
  Model::Parts parts;
  parts.spec = model_spec(resolved, dataset.scale);
  // A cold id's offset is 0, and the other's is what there is.
  for (const char* user : {"user.bias", "fallback.user"}) {
    parts.tensors[user] = tensor_of(bias.baseline.user_bias);
  }
  for (const char* item : {"item.bias", "fallback.item"}) {
    parts.tensors[item] = tensor_of(bias.baseline.item_bias);
  }
  for (const char* mean : {"global_mean", "fallback.mean"}) {
    parts.tensors[mean] = tensor_of({bias.baseline.global_mean});
  }
  parts.users = dataset.users;
  parts.items = dataset.items;
  parts.user_counts = bias.user_counts;
  parts.item_counts = bias.item_counts;
  parts.item_info = dataset.item_info;
  parts.scale = dataset.scale;
  parts.clip = resolved.clip;
  return Model(std::move(parts));
}

Trained trained_bias(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
                     const FittedBias& bias) {
  device.reset_peak_bytes();
  const Model model = model_of(bias, resolved, dataset);
  const Metrics train = evaluate_baseline(bias.baseline, model, ratings);
  EpochRecord record;
  record.epoch = 1;
  record.seconds = bias.baseline.seconds;
  record.train_rmse = train.rmse;
  if (bias.baseline.validation) {
    record.validation_rmse = bias.baseline.validation->rmse;
  }
  record.ratings_per_second = record.seconds > 0.0 ? static_cast<double>(ratings.size()) / record.seconds : 0.0;
  record.best = true;
  std::unique_ptr<RatingModel> resident = make_model(device, model.parts().spec, model.parts().tensors);
  return {{model,
           {record},
           1,
           train,
           bias.baseline.validation,
           {},
           {},
           record.seconds,
           device.info().name,
           device.peak_bytes()},
          std::move(resident)};
}

}  // namespace

Trained train_with_baseline(Device& device, const TrainOptions& resolved, const Dataset& dataset,
                            const RatingTable& ratings, const TrainEvents& events) {
  check_ratings(ratings.size());
  const bool bias_alone = resolved.model == ModelKind::bias;
  if (bias_alone && !dataset.features.empty()) {
    throw InputError("the data set has features, and the bias model takes none; clear Dataset::features");
  }
  if (events.on_phase) {
    events.on_phase("fitting the bias model");
  }
  FittedBias bias = fit_baseline(resolved, dataset, ratings);
  return_freed_memory();
  if (bias_alone) {
    Trained trained = trained_bias(device, resolved, dataset, ratings, bias);
    if (events.on_epoch) {
      events.on_epoch(trained.result.history.front());
    }
    return trained;
  }
  Trained trained = train_models(device, resolved, dataset, ratings, events, bias.starts);
  trained.result.baseline = std::move(bias.baseline);
  return trained;
}

Metrics evaluate_baseline(const Baseline& baseline, const Model& model, const RatingTable& ratings) {
  const Model::Parts& parts = model.parts();
  return evaluate(baseline, parts.user_counts, parts.item_counts, clip_range(parts.clip, parts.scale), ratings);
}

bool is_worse_than_baseline(const TrainResult& result, const std::optional<Metrics>& test) {
  if (!result.baseline) {
    return false;
  }
  const std::optional<Metrics>& own = result.validation ? result.validation : test;
  const std::optional<Metrics>& other = result.validation ? result.baseline->validation : result.baseline->test;
  // A model of logarithms is not meant to predict the mean of ratings.
  return own && other && !own->log_rmse && own->rmse > other->rmse;
}

std::size_t baseline_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items) {
  return bias_ridge_bytes(ratings, users, items) + static_cast<std::size_t>(users + items) * sizeof(float);
}

}  // namespace curate
