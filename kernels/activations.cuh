#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

template <ActivationKind kKind>
__device__ float activate(float z, const Activation& activation) {
  if constexpr (kKind == ActivationKind::relu) {
    return z < activation.low ? activation.low : z;  // NaN stays
  } else if constexpr (kKind == ActivationKind::tanh) {
    return tanhf(z);
  } else if constexpr (kKind == ActivationKind::sigmoid) {
    return activation.low + (activation.high - activation.low) / (1.0F + expf(-z));
  }
  return z;
}

/// activation'(z) from y = activation(z).
template <ActivationKind kKind>
__device__ float slope(float y, const Activation& activation) {
  if constexpr (kKind == ActivationKind::relu) {
    return y > activation.low ? 1.0F : 0.0F;
  } else if constexpr (kKind == ActivationKind::tanh) {
    return 1.0F - y * y;
  } else if constexpr (kKind == ActivationKind::sigmoid) {
    // A sigmoid from low to low is a constant.
    const float width = activation.high - activation.low;
    return width == 0.0F ? 0.0F : (y - activation.low) * (activation.high - y) / width;
  }
  return 1.0F;
}

/// Turns a gradient by y = activation(z) into one by z. If the slope is 0 the result is 0, also for an infinite
/// gradient, whose product with 0 would be NaN.
template <ActivationKind kKind>
__device__ float times_slope(float gradient, float y, const Activation& activation) {
  const float factor = slope<kKind>(y, activation);
  return factor == 0.0F ? 0.0F : gradient * factor;
}

/// An activation's kind as a constant.
template <ActivationKind kKind>
struct KindConstant {
  static constexpr ActivationKind kValue = kKind;
};

/// use(KindConstant<kind>()): chooses once what would else be chosen for every element.
template <typename Use>
__device__ void with_kind(ActivationKind kind, Use use) {
  switch (kind) {
    case ActivationKind::linear:
      return use(KindConstant<ActivationKind::linear>());
    case ActivationKind::relu:
      return use(KindConstant<ActivationKind::relu>());
    case ActivationKind::tanh:
      return use(KindConstant<ActivationKind::tanh>());
    case ActivationKind::sigmoid:
      return use(KindConstant<ActivationKind::sigmoid>());
  }
}

}  // namespace curate::cuda
