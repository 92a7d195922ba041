#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/device.h"
#include "kernels/mma.cuh"
#include "kernels/shared_memory.cuh"
#include "kernels/shared_rows.h"

// Products of matrices in shared memory by a warp. Matrices are words of 32 bits, of which one holds a number (f32, or
// tf32, rounded) or two neighbours of a row (bf16, the first in the lower half). Rows begin 4 modulo 8 words from each
// other, so that eight of them, or of their pieces of 16 bytes, lie in different banks.

namespace curate::cuda {

/// The warp's number in its block. All lanes of the warp must call it.
__device__ inline int warp_of_block() {
  const int warp = static_cast<int>(threadIdx.x) / 32;
#if defined(__CUDA_ARCH__)
  // The compiler then knows that it is one number: branches on it need no convergence, addresses are made once a warp.
  return __shfl_sync(0xFFFFFFFFU, warp, 0);
#else
  return warp;
#endif
}

/// Numbers in shared memory, laid out in rows.
template <ProductPrecision kPrecision>
struct SharedNumbers : SharedRows<kPrecision> {
  using SharedRows<kPrecision>::kTwo;

  /// Rounds and stores two neighbours; `column` is even.
  template <typename Words>
  __device__ static void store(const Words& shared, int row, int column, float first, float second) {
    if constexpr (kTwo) {
      shared[row + column / 2] = to_two_bf16(first, second);
    } else if constexpr (kPrecision == ProductPrecision::tf32) {
      store_shared(shared, row + column, to_tf32(first), to_tf32(second));
    } else {
      store_shared(shared, row + column, __float_as_uint(first), __float_as_uint(second));
    }
  }

  template <typename Words>
  __device__ static void load(float (&two)[2], const Words& shared, int row, int column) {
    if constexpr (kTwo) {
      const std::uint32_t word = shared[row + column / 2];
      two[0] = __uint_as_float(word << 16U);
      two[1] = __uint_as_float(word & 0xFFFF0000U);
    } else {
      load_shared(two, shared, row + column);
    }
  }
};

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

  /// Calls on_two(row, column, value, value of the next column, on_columns(column)) for the lane's elements in the
  /// first 8 `wide` columns.
  template <typename OnColumns, typename OnTwo>
  __device__ void visit(int wide, OnColumns on_columns, OnTwo on_two) const {
    const int group = static_cast<int>(threadIdx.x) % 32 / 4;
    const int quad = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int n = 0; n < kWidth; ++n) {
      if (n < wide) {
        const auto of_columns = on_columns(8 * n + 2 * quad);
#pragma unroll
        for (int i = 0; i < kHeight; ++i) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            on_two(16 * i + 8 * h + group, 8 * n + 2 * quad, value[i][n][2 * h], value[i][n][2 * h + 1], of_columns);
          }
        }
      }
    }
  }
};

/// An operand whose element (line, k) is column k of row `line`; kAcross: column `line` of row k.
template <bool kAcross>
struct SharedOperand {
  static constexpr bool kLinesAcross = kAcross;
  int first;  ///< word of the first element, a multiple of 4
  int ld;     ///< words
};

/// How far a product reaches.
struct ProductExtents {
  int rows;   ///< in eights; those past it are not looked at
  int wide;   ///< columns in eights, at most 4
  int depth;  ///< a multiple of SharedNumbers::kUnit
};

/// sum += a b over k in [0, depth), in order, by every lane for itself.
template <int kHeight, typename Words, typename A, typename B>
__device__ void add_product_f32(WarpSums<kHeight>& sum, const Words& shared, const A& a, const B& b,
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
      if constexpr (A::kLinesAcross) {
#pragma unroll
        for (int k = 0; k < kStep; ++k) {
          std::uint32_t word = 0;
          if (r < extents.rows) {
            word = shared[a.first + (k0 + k) * a.ld + 8 * r + group];
          }
          own_a[r][k] = __uint_as_float(word);
        }
      } else {
        load_shared(own_a[r], shared, a.first + (8 * r + group) * a.ld + k0);
      }
    }
#pragma unroll
    for (int n = 0; n < WarpSums<kHeight>::kWidth; ++n) {
      if (n < extents.wide) {
        const int line = 8 * n + 2 * quad;
        float own_b[2][kStep];
        if constexpr (B::kLinesAcross) {
#pragma unroll
          for (int k = 0; k < kStep; ++k) {
            float two[2];
            load_shared(two, shared, b.first + (k0 + k) * b.ld + line);
            own_b[0][k] = two[0];
            own_b[1][k] = two[1];
          }
        } else {
          load_shared(own_b[0], shared, b.first + line * b.ld + k0);
          load_shared(own_b[1], shared, b.first + (line + 1) * b.ld + k0);
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

/// The registers of 16 lines of the first operand, or of two times 8 of the second one, for kUnit elements of the
/// depth: to[0], to[1] and to[2], to[3] are the halves of the depth of the second operand's eights; the first operand
/// has them the other way round. Without `both` the second eight is the first one again. kNeighbours: which k stands
/// where is free as long as both operands agree; if both have their lines across, a lane's two numbers are
/// neighbours, so that no bank is met twice.
template <ProductPrecision kPrecision, bool kFirst, bool kNeighbours, typename Words, typename Operand>
__device__ void load_operand(std::uint32_t (&to)[4], const Words& shared, const Operand& operand, int line, bool both,
                             int k0) {
  const int second = both ? 8 : 0;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Which of the four matrices of eight lines and half of the depth a lane finds a row of.
  const int lines = line + (kFirst ? lane / 8 % 2 : lane / 16) * second;
  const int half = kFirst ? lane / 16 : lane / 8 % 2;
  if constexpr (!Operand::kLinesAcross) {
    const int k = SharedNumbers<kPrecision>::words(k0);
    load_matrices(to, shared, operand.first + (lines + lane % 8) * operand.ld + k + 4 * half);
  } else if constexpr (kPrecision == ProductPrecision::bf16) {
    load_matrices_transposed(to, shared, operand.first + (k0 + 8 * half + lane % 8) * operand.ld + lines / 2);
  } else {
    const int group = lane / 4;
    const int quad = lane % 4;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int own_line = line + (kFirst ? r % 2 : r / 2) * second + group;
      const int slot = kFirst ? r / 2 : r % 2;
      const int k = k0 + (kNeighbours ? 2 * quad + slot : quad + 4 * slot);
      to[r] = shared[operand.first + k * operand.ld + own_line];
    }
  }
}

/// The same on tensor cores.
template <ProductPrecision kPrecision, int kHeight, typename Words, typename A, typename B>
__device__ void add_product_mma(WarpSums<kHeight>& sum, const Words& shared, const A& a, const B& b,
                                const ProductExtents& extents) {
  constexpr bool kNeighbours = A::kLinesAcross && B::kLinesAcross;
#pragma unroll 1
  for (int k0 = 0; k0 < extents.depth; k0 += SharedNumbers<kPrecision>::kUnit) {
    std::uint32_t own_a[kHeight][4];
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
      if (2 * i < extents.rows) {
        load_operand<kPrecision, true, kNeighbours>(own_a[i], shared, a, 16 * i, 2 * i + 1 < extents.rows, k0);
      } else {
        for (int r = 0; r < 4; ++r) {
          own_a[i][r] = 0;
        }
      }
    }
#pragma unroll
    for (int n = 0; n < WarpSums<kHeight>::kWidth; n += 2) {
      if (n < extents.wide) {
        std::uint32_t own_b[4];
        load_operand<kPrecision, false, kNeighbours>(own_b, shared, b, 8 * n, n + 1 < extents.wide, k0);
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const std::uint32_t two[2] = {own_b[2 * e], own_b[2 * e + 1]};
#pragma unroll
          for (int i = 0; i < kHeight; ++i) {
            if constexpr (kPrecision == ProductPrecision::bf16) {
              mma_bf16(sum.value[i][n + e], own_a[i], two);
            } else {
              mma_tf32(sum.value[i][n + e], own_a[i], two);
            }
          }
        }
      }
    }
  }
}

/// sum += a b over k in [0, depth). Nothing if `wide` is 0. All lanes of the warp must call it.
template <ProductPrecision kPrecision, int kHeight, typename Words, typename A, typename B>
__device__ void add_product(WarpSums<kHeight>& sum, const Words& shared, const A& a, const B& b,
                            const ProductExtents& extents) {
  if (extents.wide == 0) {
    return;
  }
  if constexpr (kPrecision == ProductPrecision::f32) {
    add_product_f32(sum, shared, a, b, extents);
  } else {
    add_product_mma<kPrecision>(sum, shared, a, b, extents);
  }
}

}  // namespace curate::cuda
