#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "device/device.h"
#include "kernels/rows.cuh"

namespace curate::cuda {

/// TrainedTable as kernels take it, with weights of T.
template <typename T>
struct Trained {
  Rows<T> weights;
  Rows<float> gradient;
  Rows<float> first_moment;
  Rows<float> second_moment;
  std::int64_t cols;
  RandomPurpose rounding;
};

template <typename T>
Trained<T> trained_of(const TrainedTable& table) {
  return {rows_of<T>(table.weights),
          rows_of<float>(table.gradient),
          rows_of<float>(table.first_moment),
          rows_of<float>(table.second_moment),
          table.weights.cols,
          table.rounding};
}

/// One step's constants, with Adam's bias corrections folded in.
struct StepConstants {
  float learning_rate;
  float keep;         ///< what decoupled weight decay leaves of a weight
  float correction1;  ///< 1 / (1 - beta1^t)
  float correction2;  ///< 1 / (1 - beta2^t)
};

/// By squaring: pow() would be a call, around which a kernel spills registers.
__device__ inline double power(double base, std::int64_t exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent >>= 1) {
    result *= exponent % 2 == 1 ? base : 1.0;
    base *= base;
  }
  return result;
}

template <OptimizerKind kKind>
__device__ StepConstants step_constants(const OptimizerParams& params, const StepState& state) {
  const float learning_rate = state.learning_rate * params.rate;
  StepConstants step = {learning_rate, 1.0F - learning_rate * params.weight_decay, 1.0F, 1.0F};
  if constexpr (kKind == OptimizerKind::adam) {
    const std::int64_t t = state.step + 1;
    step.correction1 = static_cast<float>(1.0 / (1.0 - power(static_cast<double>(params.beta1), t)));
    step.correction2 = static_cast<float>(1.0 / (1.0 - power(static_cast<double>(params.beta2), t)));
  }
  return step;
}

/// Writes weights from column `c` of row `r` on, those of 16 bits rounded stochastically.
template <typename T, int kVector>
__device__ void store_weights(const Trained<T>& table, std::int64_t r, std::int64_t c, const Pack<kVector>& weights,
                              const StepState& state) {
  if constexpr (sizeof(T) == 4) {
    weights.store(table.weights.row(r) + c);
  } else {
    const auto eights = static_cast<std::uint64_t>((table.cols + 7) / 8);
    const std::uint64_t element = static_cast<std::uint64_t>(r) * eights + static_cast<std::uint64_t>(c / 8);
    const RoundingBits bits{philox(state.seed, element, static_cast<std::uint32_t>(state.step), table.rounding)};
    RoundedPack<T, kVector> rounded;
    for (int i = 0; i < kVector; ++i) {
      rounded.value[i] = to_stochastic<T>(weights.value[i], bits.of(static_cast<int>(c % 8) + i));
    }
    rounded.store(table.weights.row(r) + c);
  }
}

/// The step of ops::UpdateRows on the kVector elements from column `c` of row `r`.
template <OptimizerKind kKind, int kVector, typename T>
__device__ void update_pack(const Trained<T>& table, std::int64_t r, std::int64_t c, const OptimizerParams& params,
                            const StepConstants& step, const StepState& state) {
  auto w = Pack<kVector>::load(table.weights.row(r) + c);
  auto g = Pack<kVector>::load(table.gradient.row(r) + c);
  Pack<kVector> m{};
  Pack<kVector> v{};
  if constexpr (kKind == OptimizerKind::adam) {
    m = Pack<kVector>::load(table.first_moment.row(r) + c);
  }
  if constexpr (kKind != OptimizerKind::sgd) {
    v = Pack<kVector>::load(table.second_moment.row(r) + c);
  }
  for (int i = 0; i < kVector; ++i) {
    float& weight = w.value[i];
    const float gradient = g.value[i] + 2.0F * params.l2 * weight;
    weight *= step.keep;
    if constexpr (kKind == OptimizerKind::sgd) {
      weight -= step.learning_rate * gradient;
    } else if constexpr (kKind == OptimizerKind::adagrad) {
      v.value[i] += gradient * gradient;
      weight -= step.learning_rate * gradient / (sqrtf(v.value[i]) + params.epsilon);
    } else {
      m.value[i] = params.beta1 * m.value[i] + (1.0F - params.beta1) * gradient;
      v.value[i] = params.beta2 * v.value[i] + (1.0F - params.beta2) * gradient * gradient;
      weight -= step.learning_rate * (m.value[i] * step.correction1) /
                (sqrtf(v.value[i] * step.correction2) + params.epsilon);
    }
    // Written so that NaN stays NaN: a diverged run must be seen.
    weight = params.non_negative && weight < 0.0F ? 0.0F : weight;
    g.value[i] = 0.0F;
  }
  store_weights(table, r, c, w, state);
  g.store(table.gradient.row(r) + c);
  if constexpr (kKind == OptimizerKind::adam) {
    m.store(table.first_moment.row(r) + c);
  }
  if constexpr (kKind != OptimizerKind::sgd) {
    v.store(table.second_moment.row(r) + c);
  }
}

}  // namespace curate::cuda
