#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

/// Device::scatter_add_rows with ScatterKind::atomic.
void scatter_add_rows(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                      const MatrixView& index, const MatrixView& state);

/// Device::scatter_add_rows with ScatterKind::segments.
void scatter_add_segments(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                          const SegmentsView& segments, const MatrixView& state);

}  // namespace curate::cuda
