#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::update_rows.
void update_rows(cudaStream_t stream, const TrainedTable& table, const SegmentsView& segments,
                 const OptimizerParams& params, const MatrixView& state);

/// Device::update_dense.
void update_dense(cudaStream_t stream, const TrainedTable& table, const OptimizerParams& params,
                  const MatrixView& state);

}  // namespace curate::cuda
