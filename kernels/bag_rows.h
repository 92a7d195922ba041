#pragma once

#include <cuda_runtime.h>

#include "device/device.h"
#include "kernels/dense.h"

namespace curate::cuda {

/// Device::bag_rows.
void bag_rows(cudaStream_t stream, const MatrixView& out, const MatrixView& table, const BagsView& bags,
              const MatrixView& index, BagKind kind, const MatrixView& state, bool add);

/// Device::bag_rows_backward with ScatterKind::atomic.
void bag_rows_backward(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                       const BagsView& bags, const MatrixView& index, BagKind kind, const MatrixView& state);

/// Device::bag_rows_backward with ScatterKind::segments.
void bag_rows_backward_in_order(cudaStream_t stream, const MatrixView& grad_table, const MatrixView& grad_rows,
                                const BagsView& bags, const MatrixView& index, BagKind kind, const MatrixView& state,
                                const DenseScratch& scratch);

}  // namespace curate::cuda
