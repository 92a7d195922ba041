#include "train/ensemble.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "models/ensemble.h"
#include "models/learning_units.h"
#include "solvers/device_ratings.h"
#include "support/philox.h"
#include "train/evaluator.h"
#include "train/fallback.h"

namespace curate {
namespace {

/// The mean of members' predictions of the validation part, and its errors.
class ValidationMean {
 public:
  /// Members are trained on the same ratings: what one of them falls back to is what all do.
  ValidationMean(const RatingTable& part, const Model& member, const ErrorScale& scale)
      : scale_(scale), size_(part.size()), parts_(part, Fallback(member.parts()), scale) {
    described_from_ = parts_.warm.ratings.size();
    ratings_.users = std::move(parts_.warm.users);
    ratings_.items = std::move(parts_.warm.items);
    ratings_.ratings = std::move(parts_.warm.ratings);
    for (std::size_t n = 0; n < parts_.described.ratings.size(); ++n) {
      ratings_.users.push_back(parts_.described.users[n]);
      ratings_.items.push_back(parts_.described.items[n]);
      ratings_.ratings.push_back(parts_.described.ratings[n]);
    }
    predictions_.resize(ratings_.ratings.size());
  }

  void add(Device& device, Scorer& member) {
    if (predictions_.empty()) {
      return;
    }
    DeviceRatings on_device(device, size_);  // the room that is planned
    on_device.load(ratings_);
    const RatingsView predicted = on_device.view(0, ratings_.size());
    const std::vector<float> values = member.predict(predicted.users, predicted.items);
    for (std::size_t n = 0; n < values.size(); ++n) {
      predictions_[n].add(values[n]);
    }
  }

  Metrics metrics() const {
    ErrorSums cold = parts_.cold;
    add_errors(cold, errors_in(scale_, described_from_, predictions_.size()));
    Metrics metrics = to_metrics(errors_in(scale_, 0, described_from_), cold);
    metrics.log_rmse = log_rmse(scale_, parts_.cold_logs,
                                [&](const ErrorScale& scale) { return errors_in(scale, 0, predictions_.size()); });
    return metrics;
  }

 private:
  ErrorSums errors_in(const ErrorScale& scale, std::size_t begin, std::size_t end) const {
    ErrorSums sums;
    for (std::size_t n = begin; n < end; ++n) {
      add_error(sums, std::clamp(to_rating(predictions_[n].mean(), scale.units), scale.clip.min, scale.clip.max),
                to_rating(ratings_.ratings[n], scale.units));
    }
    return sums;
  }

  ErrorScale scale_;
  std::int64_t size_;
  Evaluator::Parts parts_;
  RatingTable ratings_;  ///< that models predict: warm ones, then those that features stand in for
  std::size_t described_from_ = 0;
  std::vector<MeanAndSpread> predictions_;
};

/// Adds a member's model to the ensemble's. What all share comes from the first one.
void add_member(Model::Parts& ensemble, const Model& model) {
  Model::Parts parts = model.parts();
  TensorMap shared;
  for (const char* name : {"fallback.user", "fallback.item", "fallback.mean"}) {
    shared.insert(parts.tensors.extract(name));
  }
  ModelMember member = {parts.spec, std::move(parts.tensors)};
  member.spec.features.clear();
  member.spec.transform = {};
  if (ensemble.members.empty()) {
    ensemble = std::move(parts);
    ensemble.spec = {};
    ensemble.spec.kind = "ensemble";
    ensemble.spec.features = model.parts().spec.features;
    ensemble.spec.transform = model.parts().spec.transform;
    ensemble.tensors = std::move(shared);
    ensemble.members.clear();
  }
  ensemble.members.push_back(std::move(member));
}

TrainEvents events_of_member(const TrainEvents& events, std::int32_t member) {
  TrainEvents of_member = events;
  if (events.on_epoch) {
    of_member.on_epoch = [&events, member](EpochRecord record) {
      record.member = member;
      events.on_epoch(record);
    };
  }
  if (events.on_divergence) {
    of_member.on_divergence = [&events, member](Divergence divergence) {
      divergence.member = member;
      events.on_divergence(divergence);
    };
  }
  return of_member;
}

/// What is told of all members' trainings.
struct EnsembleRecord {
  std::vector<EpochRecord> history;
  std::optional<Refit> refit;
  std::vector<Divergence> divergences;
  std::vector<MemberResult> members;
  double seconds = 0.0;
  std::size_t device_bytes = 0;

  void add(const TrainOptions& options, const TrainResult& result) {
    const auto number = static_cast<std::int32_t>(members.size() + 1);
    const auto add_numbered = [number](const auto& records, auto& all) {
      for (auto record : records) {
        record.member = number;
        all.push_back(record);
      }
    };
    add_numbered(result.history, history);
    add_numbered(result.divergences, divergences);
    std::optional<std::int32_t> refit_epochs;
    if (result.refit) {
      refit_epochs = static_cast<std::int32_t>(result.refit->history.size());
      refit = refit.value_or(Refit());
      add_numbered(result.refit->history, refit->history);
      refit->seconds += result.refit->seconds;
    }
    seconds += result.seconds;
    device_bytes = std::max(device_bytes, result.device_bytes);
    members.push_back({options.model, options.seed, static_cast<std::int32_t>(result.history.size()), result.best_epoch,
                       result.train, result.validation, refit_epochs, result.seconds});
  }
};

/// Of all members on the device, on what they were trained on in the end.
Metrics final_errors(Device& device, Scorer& ensemble, const Model& model, const RatingTable& ratings,
                     const TrainOptions& resolved, const ErrorScale& scale) {
  const Fallback fallback(model.parts());
  return resolved.refit ? Evaluator(device, ratings, fallback, scale).evaluate(ensemble)
                        : Evaluator(device, hold_out(ratings, resolved).train, fallback, scale).evaluate(ensemble);
}

Trained train_ensemble(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
                       const TrainEvents& events, const StartBiases& biases) {
  const std::vector<TrainOptions> members = member_options(resolved);
  const ErrorScale scale = {clip_range(resolved.clip, dataset.scale), units_of(transform_of(resolved, dataset.scale))};
  Model::Parts parts;
  EnsembleRecord record;
  std::optional<ValidationMean> validation;
  // Of the models that did not see the validation part: a refit's models did.
  const auto add_to_validation = [&](const Trained& chosen) {
    if (!chosen.result.validation) {
      return;
    }
    if (!validation) {
      validation.emplace(hold_out(ratings, resolved).test, chosen.result.model, scale);
    }
    validation->add(device, *chosen.resident);
    record.device_bytes = std::max(record.device_bytes, device.peak_bytes());
  };
  for (const TrainOptions& options : members) {
    const auto number = static_cast<std::int32_t>(record.members.size() + 1);
    if (events.on_member) {
      events.on_member(number, static_cast<std::int32_t>(members.size()), options);
    }
    const TrainResult result =
        train(device, options, dataset, ratings, events_of_member(events, number), biases, add_to_validation).result;
    add_member(parts, result.model);
    record.add(options, result);
  }
  if (events.on_phase) {
    events.on_phase("evaluating");
  }
  device.reset_peak_bytes();
  const Model model(std::move(parts));
  std::unique_ptr<Scorer> resident = make_scorer(device, model.parts(), ParameterPlace::where_they_are);
  const Metrics train_metrics = final_errors(device, *resident, model, ratings, resolved, scale);
  return {{model, std::move(record.history), 0, train_metrics,
           validation ? std::optional(validation->metrics()) : std::nullopt, std::move(record.refit),
           std::move(record.divergences), record.seconds, device.info().name,
           std::max(record.device_bytes, device.peak_bytes()), std::move(record.members)},
          std::move(resident)};
}

}  // namespace

std::vector<TrainOptions> member_options(const TrainOptions& resolved) {
  std::vector<TrainOptions> all;
  for (const EnsemblePart& part : resolved.ensemble) {
    TrainOptions of_kind = resolved;
    of_kind.model = part.kind.value_or(resolved.model);
    of_kind.ensemble.clear();
    of_kind.validation_seed = resolved.validation_seed.value_or(resolved.seed);
    of_kind = resolve(of_kind);
    for (std::int32_t n = 0; n < part.members; ++n) {
      all.push_back(of_kind);
      if (all.size() > 1) {
        // Of 53 bits: metrics.json has it, and many readers of JSON keep no more.
        all.back().seed = philox(resolved.seed, all.size() - 1, 0, RandomPurpose::member_seed).low64() >> 11U;
      }
    }
  }
  return all;
}

Trained train_models(Device& device, const TrainOptions& resolved, const Dataset& dataset, const RatingTable& ratings,
                     const TrainEvents& events, const StartBiases& biases) {
  return resolved.ensemble.empty() ? train(device, resolved, dataset, ratings, events, biases)
                                   : train_ensemble(device, resolved, dataset, ratings, events, biases);
}

}  // namespace curate
