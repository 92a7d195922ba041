#pragma once

#include <cuda_runtime.h>

#include "device/step_state.h"
#include "kernels/error_scratch.h"
#include "kernels/launch.h"
#include "kernels/shared_memory.cuh"
#include "kernels/warp_reduce.cuh"

namespace curate::cuda {

__device__ inline ErrorSums warp_sum(ErrorSums sums) {
  return {warp_sum(sums.squared), warp_sum(sums.absolute), warp_sum(sums.absolute_whole_stars),
          warp_sum(static_cast<long long>(sums.count))};
}

/// The block's sum, in thread 0. All threads of a block of kBlockThreads must call it.
__device__ inline ErrorSums block_sum(ErrorSums sums) {
  constexpr int kWarps = kBlockThreads / 32;
  CURATE_SHARED(ErrorSums, warp_sums, kWarps);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  sums = warp_sum(sums);
  if (lane == 0) {
    warp_sums[warp] = sums;
  }
  __syncthreads();
  ErrorSums total;
  if (threadIdx.x == 0) {
    for (int w = 0; w < kWarps; ++w) {
      const ErrorSums one = warp_sums[w];
      add_errors(total, one);
    }
  }
  __syncthreads();  // the array may be used again
  return total;
}

/// *sums += the sum over all threads of the grid, in an order that depends on the grid's size alone: the last block to
/// arrive adds what all blocks have left. All threads of all blocks, of kBlockThreads, must call it, at most
/// kMostBlocks.
__device__ inline void add_over_grid(ErrorSums* sums, ErrorSums own, ErrorScratch* scratch) {
  CURATE_SHARED(int, is_last, 1);
  const ErrorSums block = block_sum(own);
  if (threadIdx.x == 0) {
    scratch->partial[blockIdx.x] = block;
    __threadfence();
    is_last[0] = atomicAdd(&scratch->arrived, 1U) == gridDim.x - 1 ? 1 : 0;
  }
  __syncthreads();
  const int last = is_last[0];
  if (last == 0) {
    return;
  }
  __threadfence();
  ErrorSums share;
  for (unsigned b = threadIdx.x; b < gridDim.x; b += kBlockThreads) {
    const ErrorSums& partial = scratch->partial[b];
    share.squared += __ldcg(&partial.squared);
    share.absolute += __ldcg(&partial.absolute);
    share.absolute_whole_stars += __ldcg(&partial.absolute_whole_stars);
    share.count += __ldcg(reinterpret_cast<const long long*>(&partial.count));
  }
  const ErrorSums total = block_sum(share);
  if (threadIdx.x == 0) {
    add_errors(*sums, total);
    scratch->arrived = 0;
  }
}

}  // namespace curate::cuda
