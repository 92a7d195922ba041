#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda_error.h"

namespace curate::cuda {

/// Times what is enqueued on a stream between start() and stop(), by the GPU's clock. Not inside a capture.
class StreamTimer {
 public:
  explicit StreamTimer(cudaStream_t stream) : stream_(stream) {}

  void start() const { CURATE_CUDA_CHECK(cudaEventRecord(begin_.get(), stream_)); }

  void stop() const { CURATE_CUDA_CHECK(cudaEventRecord(end_.get(), stream_)); }

  /// Waits for what was enqueued before stop().
  double seconds() const {
    CURATE_CUDA_CHECK(cudaEventSynchronize(end_.get()));
    float milliseconds = 0.0F;
    CURATE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()));
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  class Event {
   public:
    Event() { CURATE_CUDA_CHECK(cudaEventCreate(&event_)); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event() { cudaEventDestroy(event_); }

    cudaEvent_t get() const { return event_; }

   private:
    cudaEvent_t event_ = nullptr;
  };

  cudaStream_t stream_;
  Event begin_;
  Event end_;
};

}  // namespace curate::cuda
