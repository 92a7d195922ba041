#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::gather_rows.
void gather_rows(cudaStream_t stream, const MatrixView& out, const MatrixView& table, const MatrixView& index,
                 const MatrixView& state);

}  // namespace curate::cuda
