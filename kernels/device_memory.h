#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace curate::cuda {

/// Memory of the stream's GPU, in stream order if the GPU has a pool; else (fractional vGPUs have none) by
/// cudaMalloc. Not inside a capture.
cudaError_t allocate_memory(void** data, std::size_t bytes, cudaStream_t stream);

/// Operations enqueued before may still use the memory. Without a pool this waits for the stream. Errors here are those
/// of earlier operations, which later calls report.
void free_memory(void* data, cudaStream_t stream) noexcept;

/// Keeps freed memory in a GPU's pool for as long as one of these lives, then gives all of it back to the driver.
/// Without it every wait for a stream would give freed memory back, and the next allocation would fetch it again. Does
/// nothing if the GPU has no pool.
class KeptPool {
 public:
  /// Throws DeviceError.
  explicit KeptPool(int gpu);
  KeptPool(const KeptPool&) = delete;
  KeptPool& operator=(const KeptPool&) = delete;
  /// Waits for the GPU.
  ~KeptPool();

 private:
  int gpu_;
  cudaMemPool_t pool_ = nullptr;  ///< nullptr: none
};

}  // namespace curate::cuda
