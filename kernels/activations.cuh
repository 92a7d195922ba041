#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

__device__ inline float activate(float z, const Activation& activation) {
  switch (activation.kind) {
    case ActivationKind::linear:
      return z;
    case ActivationKind::relu:
      return z < 0.0F ? 0.0F : z;  // NaN stays
    case ActivationKind::tanh:
      return tanhf(z);
    case ActivationKind::sigmoid:
      return activation.low + (activation.high - activation.low) / (1.0F + expf(-z));
  }
  return z;
}

/// activation'(z) from y = activation(z).
__device__ inline float slope(float y, const Activation& activation) {
  switch (activation.kind) {
    case ActivationKind::linear:
      return 1.0F;
    case ActivationKind::relu:
      return y > 0.0F ? 1.0F : 0.0F;
    case ActivationKind::tanh:
      return 1.0F - y * y;
    case ActivationKind::sigmoid: {
      // A sigmoid from low to low is a constant.
      const float width = activation.high - activation.low;
      return width == 0.0F ? 0.0F : (y - activation.low) * (activation.high - y) / width;
    }
  }
  return 1.0F;
}

/// A gradient by y = activation(z) as one by z. Not gradient * 0: an infinite gradient behind a relu that is off stays
/// off.
__device__ inline float times_slope(float gradient, float y, const Activation& activation) {
  const float factor = slope(y, activation);
  return factor == 0.0F ? 0.0F : gradient * factor;
}

}  // namespace curate::cuda
