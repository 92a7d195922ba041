#pragma once

#include <algorithm>
#include <cstdint>

#include "device/step_state.h"

namespace curate::reference {

/// First rating and number of ratings of batch number `batch`.
struct BatchRange {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

inline BatchRange batch_range(std::int64_t num_ratings, std::int64_t batch_size, std::int64_t batch) {
  const std::int64_t begin = batch * batch_size;
  const std::int64_t end = begin + batch_size;
  return {begin, std::max<std::int64_t>(std::min(end, num_ratings) - begin, 0)};
}

/// Learning rate of step `step` (from 0): warm-up times decay.
inline double learning_rate(const LearningRateSchedule& schedule, std::int64_t step) {
  const auto done = static_cast<double>(step);
  double warmup = 1.0;
  if (schedule.warmup_steps > 0) {
    warmup = std::min((done + 1.0) / static_cast<double>(schedule.warmup_steps), 1.0);
  }
  double decay = 1.0;
  if (schedule.kind == ScheduleKind::linear) {
    decay = std::max(1.0 - done / static_cast<double>(schedule.total_steps), 0.0);
  }
  return static_cast<double>(schedule.base) * warmup * decay;
}

}  // namespace curate::reference
