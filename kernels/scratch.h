#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_error.h"
#include "kernels/device_memory.h"

namespace curate::cuda {

/// Device memory for the length of an operation, in stream order: whatever was enqueued before the destruction may
/// still use it. Not for use inside a capture.
template <typename T>
class Scratch {
 public:
  Scratch(cudaStream_t stream, std::int64_t count) : stream_(stream) {
    void* data = nullptr;
    // At least one byte: CUB takes a null pointer for the question of how much it needs.
    const std::size_t bytes = count > 0 ? static_cast<std::size_t>(count) * sizeof(T) : 1;
    CURATE_CUDA_CHECK(allocate_memory(&data, bytes, stream));
    data_ = static_cast<T*>(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { free_memory(data_, stream_); }

  T* data() const { return data_; }

 private:
  cudaStream_t stream_;
  T* data_ = nullptr;
};

/// A device's memory for partial sums, which a capture cannot allocate. An operation may use it until the next one that
/// was enqueued begins.
struct ScratchFloats {
  float* data = nullptr;
  std::size_t floats = 0;
};

}  // namespace curate::cuda
