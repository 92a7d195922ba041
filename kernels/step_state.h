#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::begin_epoch.
void begin_epoch(cudaStream_t stream, const MatrixView& state, const EpochStart& start);

/// Device::advance_step.
void advance_step(cudaStream_t stream, const MatrixView& state);

}  // namespace curate::cuda
