#pragma once

#include <cuda_runtime.h>

namespace curate::cuda {

constexpr unsigned kWholeWarp = 0xFFFFFFFFU;

/// The sum over each group of 2^lane_bits neighbouring lanes, in all of them, in an order that depends on the lanes
/// alone. All 32 lanes of the warp must call it.
template <typename T>
__device__ T group_sum(T value, int lane_bits) {
  for (int bit = 0; bit < lane_bits; ++bit) {
    value += __shfl_xor_sync(kWholeWarp, value, 1 << bit);
  }
  return value;
}

/// The sum over the warp. All 32 lanes must call it.
template <typename T>
__device__ T warp_sum(T value) {
  return group_sum(value, 5);
}

}  // namespace curate::cuda
