#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::copy of rows with anything between them, of 4 or 2 bytes an element, and between types of embeddings.
void copy_rows(cudaStream_t stream, const MatrixView& destination, const MatrixView& source);

}  // namespace curate::cuda
