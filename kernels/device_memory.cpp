#include "kernels/device_memory.h"

#include "kernels/cuda_error.h"

namespace curate::cuda {

cudaError_t allocate_memory(void** data, std::size_t bytes, cudaStream_t stream) {
  const cudaError_t error = cudaMallocAsync(data, bytes, stream);
  if (error != cudaErrorNotSupported) {
    return error;
  }
  cudaGetLastError();
  return cudaMalloc(data, bytes);
}

void free_memory(void* data, cudaStream_t stream) noexcept {
  if (data == nullptr || cudaFreeAsync(data, stream) == cudaSuccess) {
    return;
  }
  // Not of a pool, or the context is broken: then this fails too.
  cudaGetLastError();
  cudaStreamSynchronize(stream);
  cudaFree(data);
  cudaGetLastError();
}

KeptPool::KeptPool(int gpu) : gpu_(gpu) {
  int supported = 0;
  CURATE_CUDA_CHECK(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, gpu));
  if (supported == 0) {
    return;
  }
  cudaMemPool_t pool = nullptr;
  const cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, gpu);
  if (error == cudaErrorNotSupported) {
    cudaGetLastError();
    return;
  }
  CURATE_CUDA_CHECK(error);
  CURATE_CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept_before_));
  std::uint64_t all = ~std::uint64_t{0};
  CURATE_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all));
  pool_ = pool;
}

KeptPool::~KeptPool() {
  if (pool_ == nullptr || cudaSetDevice(gpu_) != cudaSuccess) {
    return;
  }
  cudaDeviceSynchronize();
  cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &kept_before_);
  cudaMemPoolTrimTo(pool_, 0);
}

}  // namespace curate::cuda
