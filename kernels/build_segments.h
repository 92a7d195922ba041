#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::build_segments. Takes 32 bytes a rating of its own while it runs, and what the sort takes.
void build_segments(cudaStream_t stream, const SegmentsView& out, const MatrixView& index, std::int64_t num_rows,
                    const MatrixView& state);

}  // namespace curate::cuda
