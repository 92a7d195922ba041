#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::add_l2_rows.
void add_l2_rows(cudaStream_t stream, const MatrixView& grad_rows, const MatrixView& table, const MatrixView& index,
                 float l2, const MatrixView& state);

}  // namespace curate::cuda
