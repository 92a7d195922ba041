#pragma once

#include <cmath>
#include <cstdint>

#include "curate/kinds.h"
#include "support/host_device.h"

namespace curate {

/// The learning rate as a function of the step, evaluated on the device.
struct LearningRateSchedule {
  ScheduleKind kind = ScheduleKind::constant;
  float base = 0.01F;
  std::int64_t total_steps = 1;   ///< planned steps of the whole run, >= 1
  std::int64_t warmup_steps = 0;  ///< rises linearly from base / warmup_steps over the first steps
};

/// Learning rate of step `step` (from 0).
CURATE_HOST_DEVICE inline float learning_rate_at(const LearningRateSchedule& schedule, std::int64_t step) {
  double rate = static_cast<double>(schedule.base);
  if (schedule.kind == ScheduleKind::linear) {
    const std::int64_t left = schedule.total_steps - step;
    rate *= left > 0 ? static_cast<double>(left) / static_cast<double>(schedule.total_steps) : 0.0;
  }
  if (step < schedule.warmup_steps) {
    rate *= static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  }
  return static_cast<float>(rate);
}

/// All that varies from step to step. It lives in device memory and is advanced there, so that a captured graph of one
/// step can be replayed for a whole epoch: no operation takes a step-varying host scalar.
struct StepState {
  std::uint64_t seed = 0;
  std::int64_t num_ratings = 0;  ///< ratings in the epoch
  std::int64_t batch_size = 1;   ///< ratings in a full batch
  std::int64_t batch = 0;        ///< number of the batch within the epoch, from 0
  std::int64_t batch_begin = 0;  ///< first rating of the batch in the epoch's order
  std::int64_t batch_count = 0;  ///< ratings in the batch; the last one may be short, past the end it is 0
  std::int64_t step = 0;         ///< steps done in the whole run; Adam's t is step + 1
  std::int64_t epoch = 0;        ///< from 0
  LearningRateSchedule schedule;
  float learning_rate = 0.0F;
};

/// What the host sets at the start of an epoch (once per epoch, so it may be an argument).
struct EpochStart {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  std::int64_t num_ratings = 0;
  std::int64_t batch_size = 1;
  LearningRateSchedule schedule;
};

CURATE_HOST_DEVICE inline std::int64_t batch_count_at(std::int64_t batch_begin, std::int64_t batch_size,
                                                      std::int64_t num_ratings) {
  const std::int64_t left = num_ratings - batch_begin;
  if (left <= 0) {
    return 0;
  }
  return left < batch_size ? left : batch_size;
}

/// Points the state at the first batch of an epoch. `step` goes on from the epoch before.
CURATE_HOST_DEVICE inline void start_epoch(StepState& state, const EpochStart& start) {
  state.seed = start.seed;
  state.epoch = start.epoch;
  state.num_ratings = start.num_ratings;
  state.batch_size = start.batch_size;
  state.schedule = start.schedule;
  state.batch = 0;
  state.batch_begin = 0;
  state.batch_count = batch_count_at(0, start.batch_size, start.num_ratings);
  state.learning_rate = learning_rate_at(start.schedule, state.step);
}

/// Moves on to the next batch.
CURATE_HOST_DEVICE inline void advance(StepState& state) {
  state.batch += 1;
  state.batch_begin += state.batch_size;
  state.batch_count = batch_count_at(state.batch_begin, state.batch_size, state.num_ratings);
  state.step += 1;
  state.learning_rate = learning_rate_at(state.schedule, state.step);
}

/// Summed errors of predictions p against ratings r, accumulated on the device.
struct ErrorSums {
  double squared = 0.0;               ///< sum of (p - r)^2
  double absolute = 0.0;              ///< sum of |p - r|
  double absolute_whole_stars = 0.0;  ///< sum of |round(p) - r|, halves to even
  std::int64_t count = 0;
};

/// Adds the error of one prediction.
CURATE_HOST_DEVICE inline void add_error(ErrorSums& sums, float prediction, float rating) {
  const double error = static_cast<double>(prediction) - static_cast<double>(rating);
  sums.squared += error * error;
  sums.absolute += std::abs(error);
  sums.absolute_whole_stars += std::abs(static_cast<double>(std::nearbyint(prediction)) - static_cast<double>(rating));
  sums.count += 1;
}

/// Adds the errors of another set of predictions.
CURATE_HOST_DEVICE inline void add_errors(ErrorSums& sums, const ErrorSums& others) {
  sums.squared += others.squared;
  sums.absolute += others.absolute;
  sums.absolute_whole_stars += others.absolute_whole_stars;
  sums.count += others.count;
}

}  // namespace curate
