#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/rows.cuh"
#include "kernels/shared_memory.cuh"

namespace curate::cuda {

/// A block of kBlockThreads computes a tile of kTile x kTile elements of a product, a thread kOwn x kOwn of them, from
/// kDepth products at a time in shared memory.
constexpr int kTile = 64;
constexpr int kDepth = 16;
constexpr int kOwn = 4;
constexpr int kTileThreads = kTile / kOwn;  ///< to a side of the tile
static_assert(kTileThreads * kTileThreads == kBlockThreads);

/// An operand whose element (line, k) is data[line, k], 0 outside of its extents.
struct ByRows {
  Rows<const float> data;
  std::int64_t lines;
  std::int64_t depth;

  __device__ float at(std::int64_t line, std::int64_t k) const {
    return line < lines && k < depth ? data.row(line)[k] : 0.0F;
  }
  /// Whether neighbouring threads should take neighbours of the depth; else neighbouring lines.
  static constexpr bool kAlongDepth = true;
};

/// An operand whose element (line, k) is data[k, line].
struct ByColumns {
  Rows<const float> data;
  std::int64_t lines;
  std::int64_t depth;

  __device__ float at(std::int64_t line, std::int64_t k) const {
    return line < lines && k < depth ? data.row(k)[line] : 0.0F;
  }
  static constexpr bool kAlongDepth = false;
};

/// ByColumns with one line more, of ones: the product's last column is then the other operand's sum.
struct ByColumnsAndOnes {
  Rows<const float> data;
  std::int64_t lines;  ///< without the one of ones
  std::int64_t depth;

  __device__ float at(std::int64_t line, std::int64_t k) const {
    if (k >= depth || line > lines) {
      return 0.0F;
    }
    return line == lines ? 1.0F : data.row(k)[line];
  }
  static constexpr bool kAlongDepth = false;
};

/// The thread's share of sum over k in [begin, end) of a(m, k) b(n, k), for the tile whose first elements are (m0, n0):
/// sum[i][j] belongs to (m0 + thread / kTileThreads + i kTileThreads, n0 + thread % kTileThreads + j kTileThreads).
/// Terms are added in the order of k. All threads of the block must call it.
template <typename A, typename B>
__device__ void multiply_tile(float (&sum)[kOwn][kOwn], const A& a, const B& b, std::int64_t m0, std::int64_t n0,
                              std::int64_t begin, std::int64_t end) {
  // One element more to a row: threads that store down a column then meet different banks.
  CURATE_SHARED(float, tile_a, kDepth*(kTile + 1));
  CURATE_SHARED(float, tile_b, kDepth*(kTile + 1));
  const auto thread = static_cast<int>(threadIdx.x);
  const int own_m = thread / kTileThreads;
  const int own_n = thread % kTileThreads;
  for (int i = 0; i < kOwn; ++i) {
    for (int j = 0; j < kOwn; ++j) {
      sum[i][j] = 0.0F;
    }
  }
  for (std::int64_t k0 = begin; k0 < end; k0 += kDepth) {
    for (int e = thread; e < kTile * kDepth; e += kBlockThreads) {
      const int line_a = A::kAlongDepth ? e / kDepth : e % kTile;
      const int k_a = A::kAlongDepth ? e % kDepth : e / kTile;
      const int line_b = B::kAlongDepth ? e / kDepth : e % kTile;
      const int k_b = B::kAlongDepth ? e % kDepth : e / kTile;
      tile_a[k_a * (kTile + 1) + line_a] = k0 + k_a < end ? a.at(m0 + line_a, k0 + k_a) : 0.0F;
      tile_b[k_b * (kTile + 1) + line_b] = k0 + k_b < end ? b.at(n0 + line_b, k0 + k_b) : 0.0F;
    }
    __syncthreads();
    for (int k = 0; k < kDepth; ++k) {
      float part_a[kOwn];
      float part_b[kOwn];
      for (int i = 0; i < kOwn; ++i) {
        part_a[i] = tile_a[k * (kTile + 1) + own_m + i * kTileThreads];
        part_b[i] = tile_b[k * (kTile + 1) + own_n + i * kTileThreads];
      }
      for (int i = 0; i < kOwn; ++i) {
        for (int j = 0; j < kOwn; ++j) {
          sum[i][j] += part_a[i] * part_b[j];
        }
      }
    }
    __syncthreads();
  }
}

/// Calls on_element(m, n, value) for what multiply_tile() gave the thread.
template <typename OnElement>
__device__ void visit_tile(const float (&sum)[kOwn][kOwn], std::int64_t m0, std::int64_t n0, OnElement on_element) {
  const std::int64_t first_m = m0 + threadIdx.x / kTileThreads;
  const std::int64_t first_n = n0 + threadIdx.x % kTileThreads;
  for (int i = 0; i < kOwn; ++i) {
    for (int j = 0; j < kOwn; ++j) {
      on_element(first_m + i * kTileThreads, first_n + j * kTileThreads, sum[i][j]);
    }
  }
}

}  // namespace curate::cuda
