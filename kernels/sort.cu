#include "kernels/sort.h"

#include <cub/cub.cuh>

#include "kernels/cuda_error.h"
#include "kernels/scratch.h"

namespace curate::cuda {

// gpu_memory::sort_bytes() is what it takes at most.
void sort_pairs(cudaStream_t stream, std::uint64_t* keys_out, std::int32_t* values_out, const std::uint64_t* keys,
                const std::int32_t* values, std::int64_t count, int key_bits) {
  std::size_t bytes = 0;
  CURATE_CUDA_CHECK(
      cub::DeviceRadixSort::SortPairs(nullptr, bytes, keys, keys_out, values, values_out, count, 0, key_bits, stream));
  const Scratch<unsigned char> temporary(stream, static_cast<std::int64_t>(bytes));
  CURATE_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(temporary.data(), bytes, keys, keys_out, values, values_out, count,
                                                    0, key_bits, stream));
}

void inclusive_sum(cudaStream_t stream, std::int32_t* out, const std::int32_t* in, std::int64_t count) {
  std::size_t bytes = 0;
  CURATE_CUDA_CHECK(cub::DeviceScan::InclusiveSum(nullptr, bytes, in, out, count, stream));
  const Scratch<unsigned char> temporary(stream, static_cast<std::int64_t>(bytes));
  CURATE_CUDA_CHECK(cub::DeviceScan::InclusiveSum(temporary.data(), bytes, in, out, count, stream));
}

}  // namespace curate::cuda
