#include "device/cpu/optimizer_step.h"

#include <algorithm>
#include <cmath>

#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

CURATE_SIMD_CLONES
void update_sgd(const OptimizerStep& step, const OptimizerRow& row, std::int64_t count) {
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) {
    const float w = row.weights[k];
    const float g = row.gradient[k] + step.l2_twice * w;
    row.weights[k] = step.keep * w - step.learning_rate * g;
    row.gradient[k] = 0.0F;
  }
}

CURATE_SIMD_CLONES
void update_adagrad(const OptimizerStep& step, const OptimizerRow& row, std::int64_t count) {
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) {
    const float w = row.weights[k];
    const float g = row.gradient[k] + step.l2_twice * w;
    row.second_moment[k] += g * g;
    row.weights[k] = step.keep * w - step.learning_rate * g / (std::sqrt(row.second_moment[k]) + step.params.epsilon);
    row.gradient[k] = 0.0F;
  }
}

CURATE_SIMD_CLONES
void update_adam(const OptimizerStep& step, const OptimizerRow& row, std::int64_t count) {
  const float beta1 = step.params.beta1;
  const float beta2 = step.params.beta2;
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) {
    const float w = row.weights[k];
    const float g = row.gradient[k] + step.l2_twice * w;
    row.first_moment[k] = beta1 * row.first_moment[k] + (1.0F - beta1) * g;
    row.second_moment[k] = beta2 * row.second_moment[k] + (1.0F - beta2) * g * g;
    const float m = row.first_moment[k] * step.correction1;
    const float v = row.second_moment[k] * step.correction2;
    row.weights[k] = step.keep * w - step.learning_rate * m / (std::sqrt(v) + step.params.epsilon);
    row.gradient[k] = 0.0F;
  }
}

}  // namespace

OptimizerStep::OptimizerStep(const OptimizerParams& optimizer, const StepState& state)
    : params(optimizer),
      learning_rate(state.learning_rate * optimizer.rate),
      l2_twice(2.0F * optimizer.l2),
      keep(1.0F - state.learning_rate * optimizer.rate * optimizer.weight_decay) {
  if (params.kind == OptimizerKind::adam) {
    const auto t = static_cast<double>(state.step + 1);
    correction1 = static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(params.beta1), t)));
    correction2 = static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(params.beta2), t)));
  }
}

void update_elements(const OptimizerStep& step, const OptimizerRow& row, std::int64_t count) {
  switch (step.params.kind) {
    case OptimizerKind::sgd:
      update_sgd(step, row, count);
      break;
    case OptimizerKind::adagrad:
      update_adagrad(step, row, count);
      break;
    case OptimizerKind::adam:
      update_adam(step, row, count);
      break;
  }
  if (step.params.non_negative) {
    for (std::int64_t k = 0; k < count; ++k) {
      // Written so that NaN stays NaN: a diverged run must be seen.
      row.weights[k] = row.weights[k] < 0.0F ? 0.0F : row.weights[k];
    }
  }
}

}  // namespace curate::cpu
