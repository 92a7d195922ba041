#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cuda_error.h"

namespace curate::cuda {

/// Threads of a block, if a kernel asks for nothing else.
constexpr int kBlockThreads = 256;

struct Geometry {
  std::int64_t blocks = 0;
  int threads = kBlockThreads;
  std::size_t dynamic_shared = 0;
};

constexpr std::int64_t divide_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit;
}

/// One thread for each of `count` elements.
constexpr Geometry one_thread_each(std::int64_t count) {
  return {divide_up(count, kBlockThreads)};
}

/// Shared memory that a block has without asking.
constexpr std::size_t kPlainSharedBytes = std::size_t{48} << 10U;

/// The only way that kernels are launched. Nothing is launched for 0 blocks. `name` stands in errors.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, cudaStream_t stream, const Geometry& geometry, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  if (geometry.blocks == 0) {
    return;
  }
  if (geometry.dynamic_shared > kPlainSharedBytes) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(geometry.dynamic_shared)),
          name, __FILE__, __LINE__);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(geometry.blocks));
  config.blockDim = dim3(static_cast<unsigned>(geometry.threads));
  config.dynamicSmemBytes = geometry.dynamic_shared;
  config.stream = stream;
#if defined(CURATE_EMULATED_KERNELS)
  emulator::name_next_launch(name);
#endif
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name, __FILE__, __LINE__);
}

}  // namespace curate::cuda
