#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// NaN stays NaN: a diverged model must be seen.
__device__ inline float clamp_to(float value, ClipRange clip) {
  return value < clip.min ? clip.min : (value > clip.max ? clip.max : value);
}

}  // namespace curate::cuda
