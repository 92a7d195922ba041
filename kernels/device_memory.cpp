#include "kernels/device_memory.h"

#include <map>
#include <mutex>

#include "kernels/cuda_error.h"

namespace curate::cuda {
namespace {

/// The number of objects that keep a GPU's pool, and what the pool kept before the first of them.
struct Keepers {
  int count = 0;
  std::uint64_t kept_before = 0;
};

std::mutex keepers_mutex;
std::map<int, Keepers>& keepers() {
  static std::map<int, Keepers> by_gpu;
  return by_gpu;
}

}  // namespace

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
  const std::lock_guard lock(keepers_mutex);
  Keepers& all = keepers()[gpu];
  if (all.count == 0) {
    CURATE_CUDA_CHECK(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all.kept_before));
    std::uint64_t everything = ~std::uint64_t{0};
    CURATE_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything));
  }
  ++all.count;
  pool_ = pool;
}

KeptPool::~KeptPool() {
  if (pool_ == nullptr) {
    return;
  }
  const std::lock_guard lock(keepers_mutex);
  Keepers& all = keepers()[gpu_];
  if (--all.count > 0 || cudaSetDevice(gpu_) != cudaSuccess) {
    return;
  }
  cudaDeviceSynchronize();
  cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &all.kept_before);
  cudaMemPoolTrimTo(pool_, 0);
}

}  // namespace curate::cuda
