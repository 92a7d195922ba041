#pragma once

#include <cstdint>

namespace curate::cuda {

// Numbers of 16 bits in memory. They are computed with in f32 alone (half.cuh).

/// IEEE binary16: 10 bits after the point, up to 65504, steps of 2^-24 below 2^-14.
struct F16 {
  std::uint16_t bits;
};

/// The upper half of an f32: 7 bits after the point.
struct Bf16 {
  std::uint16_t bits;
};

}  // namespace curate::cuda
