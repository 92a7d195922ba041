#include "train/evaluator.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace curate {
namespace {

void add_rating(RatingTable& table, const RatingTable& from, std::size_t n, const RatingUnits& units) {
  table.users.push_back(from.users[n]);
  table.items.push_back(from.items[n]);
  table.ratings.push_back(to_exact_units(from.ratings[n], units));
}

bool is_transformed(const ErrorScale& scale) {
  return scale.units.transform.kind != TransformKind::none;
}

double root_mean(double squared, std::int64_t count) {
  return count == 0 ? 0.0 : std::sqrt(squared / static_cast<double>(count));
}

}  // namespace

Evaluator::Parts::Parts(const RatingTable& ratings, const Fallback& fallback, const ErrorScale& scale) {
  for (std::size_t n = 0; n < ratings.ratings.size(); ++n) {
    const Prediction prediction = fallback.predict(ratings.users[n], ratings.items[n]);
    if (prediction.basis == PredictionBasis::model) {
      add_rating(warm, ratings, n, scale.units);
    } else if (prediction.basis == PredictionBasis::features) {
      add_rating(described, ratings, n, scale.units);
    } else {
      const float clipped = std::clamp(prediction.rating, scale.clip.min, scale.clip.max);
      add_error(cold, clipped, ratings.ratings[n]);
      if (is_transformed(scale)) {
        const RatingUnits units = units_of(scale.units.transform);
        add_error(cold_logs, to_units(clipped, units), to_units(ratings.ratings[n], units));
      }
    }
  }
}

Evaluator::Evaluator(Device& device, const RatingTable& ratings, const Fallback& fallback, const ErrorScale& scale)
    : Evaluator(device, Parts(ratings, fallback, scale), scale) {}

Evaluator::Evaluator(Device& device, const Parts& parts, const ErrorScale& scale)
    : Evaluator(device, parts.warm.size() + parts.described.size(), scale) {
  load(parts);
}

Evaluator::Evaluator(Device& device, std::int64_t ratings, const ErrorScale& scale)
    : device_(&device),
      scale_(scale),
      ratings_(device, ratings),
      warm_(ratings),
      sums_(device.allocate_array<ErrorSums>(1)) {}

void Evaluator::load(const Parts& parts) {
  cold_ = parts.cold;
  cold_logs_ = parts.cold_logs;
  warm_ = parts.warm.size();
  described_ = parts.described.size();
  ratings_.load(parts.warm);
  ratings_.load(parts.described, warm_);
}

ClipRange clip_range(bool clip, const RatingScale& scale) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return clip ? ClipRange{scale.min, scale.max} : ClipRange{-kInfinity, kInfinity};
}

Metrics to_metrics(const ErrorSums& warm, const ErrorSums& cold) {
  ErrorSums all = warm;
  add_errors(all, cold);
  Metrics metrics;
  metrics.ratings = all.count;
  metrics.cold_ratings = cold.count;
  metrics.warm_rmse = root_mean(warm.squared, warm.count);
  metrics.cold_rmse = root_mean(cold.squared, cold.count);
  metrics.rmse = root_mean(all.squared, all.count);
  if (all.count > 0) {
    const auto count = static_cast<double>(all.count);
    metrics.mse = all.squared / count;
    metrics.mae = all.absolute / count;
    metrics.mae_whole_stars = all.absolute_whole_stars / count;
  }
  return metrics;
}

ErrorScale scale_of_logs(const ErrorScale& scale) {
  const RatingUnits units = units_of(scale.units.transform);
  return {ClipRange{to_units(scale.clip.min, units), to_units(scale.clip.max, units)},
          RatingUnits{scale.units.centre, scale.units.unit}};
}

std::optional<double> log_rmse(const ErrorScale& scale, const ErrorSums& cold,
                               const std::function<ErrorSums(const ErrorScale&)>& errors_in) {
  if (!is_transformed(scale)) {
    return std::nullopt;
  }
  ErrorSums all = errors_in(scale_of_logs(scale));
  add_errors(all, cold);
  return root_mean(all.squared, all.count);
}

ErrorSums Evaluator::errors_of(Scorer& model, const RatingsView& ratings, const ErrorScale& scale) const {
  if (ratings.users.empty()) {
    return {};
  }
  const MatrixView sums = sums_.view(DType::error_sums, 1);
  device_->zero(sums);
  model.enqueue_errors(sums, ratings, scale);
  return device_->read<ErrorSums>(sums);
}

Metrics Evaluator::evaluate(Scorer& model) const {
  ErrorSums cold = cold_;
  add_errors(cold, errors_of(model, ratings_.view(warm_, described_), scale_));
  Metrics metrics = to_metrics(errors_of(model, ratings_.view(0, warm_), scale_), cold);
  metrics.log_rmse = log_rmse(scale_, cold_logs_, [&](const ErrorScale& scale) {
    return errors_of(model, ratings_.view(0, warm_ + described_), scale);
  });
  return metrics;
}

}  // namespace curate
