#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace curate::cuda {

// What the project uses of CUB, in one file: its headers take long to compile.

/// Stable sort of `count` pairs by bits [0, key_bits) of the keys. Takes scratch memory of its own, in stream order.
void sort_pairs(cudaStream_t stream, std::uint64_t* keys_out, std::int32_t* values_out, const std::uint64_t* keys,
                const std::int32_t* values, std::int64_t count, int key_bits);

/// out[j] = in[0] + .. + in[j].
void inclusive_sum(cudaStream_t stream, std::int32_t* out, const std::int32_t* in, std::int64_t count);

}  // namespace curate::cuda
