#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::copy between types of embeddings.
void convert_rows(cudaStream_t stream, const MatrixView& destination, const MatrixView& source);

}  // namespace curate::cuda
