#pragma once

#include <cuda_runtime.h>

#include "device/device.h"
#include "kernels/product.h"
#include "kernels/scratch.h"

namespace curate::cuda {

class DenseProducts;
struct ErrorScratch;

/// What the operations of a device share.
struct Context {
  cudaStream_t stream = nullptr;
  GpuShape gpu;
  ScratchFloats scratch;
  ErrorScratch* error_scratch = nullptr;
  DenseProducts* products = nullptr;
  bool capturing = false;  ///< into a CUDA graph, or into a list in debugging
};

// The operations of device/ops on a GPU; formulas and shapes are documented there.
#define CURATE_DECLARE(Operation) void enqueue(const ops::Operation& operation, const Context& context);
CURATE_OPERATIONS(CURATE_DECLARE)
#undef CURATE_DECLARE

}  // namespace curate::cuda
