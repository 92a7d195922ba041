#pragma once

#include <cstdint>

#include "device/device.h"

namespace curate::cpu {

/// One optimizer step's constants, with Adam's bias corrections folded in.
struct OptimizerStep {
  OptimizerStep(const OptimizerParams& optimizer, const StepState& state);

  OptimizerParams params;
  float learning_rate;
  float l2_twice;
  float keep;                ///< what decoupled weight decay leaves of a weight
  float correction1 = 1.0F;  ///< 1 / (1 - beta1^t)
  float correction2 = 1.0F;  ///< 1 / (1 - beta2^t)
};

/// Elements that are updated together: a row of a table, or a stretch of a dense one.
struct OptimizerRow {
  float* weights;
  float* gradient;
  float* first_moment;   ///< Adam
  float* second_moment;  ///< Adam, Adagrad
};

/// The formulas of ops::UpdateRows on `count` elements.
void update_elements(const OptimizerStep& step, const OptimizerRow& row, std::int64_t count);

}  // namespace curate::cpu
