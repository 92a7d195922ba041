#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/device.h"
#include "kernels/mma.cuh"
#include "kernels/shared_memory.cuh"

namespace curate::cuda {

/// A warp's sums of 16 kHeight rows and of 32 columns, held as tensor cores leave them (mma.cuh), in every precision:
/// sum[i][n][2 h + e] belongs to row 16 i + 8 h + lane / 4 and column 8 n + 2 (lane % 4) + e.
template <int kHeight>
struct WarpSums {
  static constexpr int kWidth = 4;
  float value[kHeight][kWidth][4];

  __device__ void clear() {
    for (int i = 0; i < kHeight; ++i) {
      for (int n = 0; n < kWidth; ++n) {
        for (int e = 0; e < 4; ++e) {
          value[i][n][e] = 0.0F;
        }
      }
    }
  }

  /// Calls on_element(row, column, value) for the lane's elements in the first 8 `wide` columns.
  template <typename OnElement>
  __device__ void visit(int wide, OnElement on_element) const {
    const int group = static_cast<int>(threadIdx.x) % 32 / 4;
    const int quad = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int n = 0; n < kWidth; ++n) {
        if (n < wide) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            on_element(16 * i + e / 2 * 8 + group, 8 * n + 2 * quad + e % 2, value[i][n][e]);
          }
        }
      }
    }
  }
};

/// An operand in shared memory. Element (line, k) lies at first + line * ld + k where neighbours along the depth are
/// neighbours, else at first + k * ld + line. With ld = 4 modulo 8 and first a multiple of 4 the lanes of a warp meet
/// different banks, but for lines of one that lie side by side times one whose depth does.
template <bool kAlongDepth>
struct SharedOperand {
  static constexpr bool kDepthFirst = kAlongDepth;
  int first;
  int ld;

  __device__ int at(int line, int k) const { return kAlongDepth ? first + line * ld + k : first + k * ld + line; }
};

/// How far a product reaches: multiples of 8.
struct ProductExtents {
  int rows;  ///< in eights; those past it count as 0
  int wide;  ///< columns in eights, at most 4
  int depth;
};

/// sum += a b over k in [0, depth), in order. All lanes of the warp must call it. f32: multiplied and added by lanes.
template <int kHeight, typename Shared, typename A, typename B>
__device__ void add_product_f32(WarpSums<kHeight>& sum, const Shared& shared, const A& a, const B& b,
                                const ProductExtents& extents) {
  constexpr int kStep = 4;
  constexpr int kRows = 2 * kHeight;
  const int group = static_cast<int>(threadIdx.x) % 32 / 4;
  const int quad = static_cast<int>(threadIdx.x) % 4;
#pragma unroll 1
  for (int k0 = 0; k0 < extents.depth; k0 += kStep) {
    float own_a[kRows][kStep];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r < extents.rows) {
        if constexpr (A::kDepthFirst) {
          load_shared(own_a[r], shared, a.at(8 * r + group, k0));
        } else {
#pragma unroll
          for (int k = 0; k < kStep; ++k) {
            own_a[r][k] = shared[a.at(8 * r + group, k0 + k)];
          }
        }
      } else {
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
          own_a[r][k] = 0.0F;
        }
      }
    }
#pragma unroll
    for (int n = 0; n < WarpSums<kHeight>::kWidth; ++n) {
      if (n < extents.wide) {
        float own_b[2][kStep];
        if constexpr (B::kDepthFirst) {
          load_shared(own_b[0], shared, b.at(8 * n + 2 * quad, k0));
          load_shared(own_b[1], shared, b.at(8 * n + 2 * quad + 1, k0));
        } else {
#pragma unroll
          for (int k = 0; k < kStep; ++k) {
            float two[2];
            load_shared(two, shared, b.at(8 * n + 2 * quad, k0 + k));
            own_b[0][k] = two[0];
            own_b[1][k] = two[1];
          }
        }
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            sum.value[r / 2][n][r % 2 * 2] += own_a[r][k] * own_b[0][k];
            sum.value[r / 2][n][r % 2 * 2 + 1] += own_a[r][k] * own_b[1][k];
          }
        }
      }
    }
  }
}

/// A register of an operand for tensor cores: what stands at (line, own k of that slot), see mma.cuh. Which k belongs
/// to which slot is free as long as both operands agree; lines side by side meet no bank twice where a lane's two k are
/// neighbours.
template <ProductPrecision kPrecision, bool kNeighbours, typename Shared, typename Operand>
__device__ std::uint32_t load_slot(const Shared& shared, const Operand& operand, int line, int k0, int slot) {
  const int quad = static_cast<int>(threadIdx.x) % 4;
  if constexpr (kPrecision == ProductPrecision::tf32) {
    const float value = shared[operand.at(line, k0 + (kNeighbours ? 2 * quad + slot : quad + 4 * slot))];
    return to_tf32(value);
  } else {
    float two[2];
    const int k = k0 + 8 * slot + 2 * quad;
    if constexpr (Operand::kDepthFirst) {
      load_shared(two, shared, operand.at(line, k));
    } else {
      two[0] = shared[operand.at(line, k)];
      two[1] = shared[operand.at(line, k + 1)];
    }
    return to_two_bf16(two[0], two[1]);
  }
}

/// The same on tensor cores, operands rounded.
template <ProductPrecision kPrecision, int kHeight, typename Shared, typename A, typename B>
__device__ void add_product_mma(WarpSums<kHeight>& sum, const Shared& shared, const A& a, const B& b,
                                const ProductExtents& extents) {
  constexpr bool kBf16 = kPrecision == ProductPrecision::bf16;
  constexpr bool kNeighbours = !A::kDepthFirst && !B::kDepthFirst;
  constexpr int kStep = kBf16 ? 16 : 8;
  const int group = static_cast<int>(threadIdx.x) % 32 / 4;
#pragma unroll 1
  for (int k0 = 0; k0 < extents.depth; k0 += kStep) {
    // The last step of bf16 may be half of one.
    const bool both = !kBf16 || k0 + 8 < extents.depth;
    std::uint32_t own_a[kHeight][4];
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const bool there = 2 * i + r % 2 < extents.rows && (r < 2 || both);
        own_a[i][r] = there ? load_slot<kPrecision, kNeighbours>(shared, a, 16 * i + r % 2 * 8 + group, k0, r / 2) : 0U;
      }
    }
#pragma unroll
    for (int n = 0; n < WarpSums<kHeight>::kWidth; ++n) {
      if (n < extents.wide) {
        std::uint32_t own_b[2];
        own_b[0] = load_slot<kPrecision, kNeighbours>(shared, b, 8 * n + group, k0, 0);
        own_b[1] = both ? load_slot<kPrecision, kNeighbours>(shared, b, 8 * n + group, k0, 1) : 0U;
#pragma unroll
        for (int i = 0; i < kHeight; ++i) {
          if constexpr (kBf16) {
            mma_bf16(sum.value[i][n], own_a[i], own_b);
          } else {
            mma_tf32(sum.value[i][n], own_a[i], own_b);
          }
        }
      }
    }
  }
}

template <ProductPrecision kPrecision, int kHeight, typename Shared, typename A, typename B>
__device__ void add_product(WarpSums<kHeight>& sum, const Shared& shared, const A& a, const B& b,
                            const ProductExtents& extents) {
  if constexpr (kPrecision == ProductPrecision::f32) {
    add_product_f32(sum, shared, a, b, extents);
  } else {
    add_product_mma<kPrecision>(sum, shared, a, b, extents);
  }
}

}  // namespace curate::cuda
