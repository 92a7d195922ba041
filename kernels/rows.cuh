#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/device.h"
#include "kernels/launch.h"

namespace curate::cuda {

/// A matrix as kernels take it.
template <typename T>
struct Rows {
  T* data;  ///< nullptr: absent
  std::int64_t ld;

  __device__ T* row(std::int64_t r) const { return data + r * ld; }
};

template <typename T>
Rows<T> rows_of(const MatrixView& view) {
  return {view.empty() ? nullptr : static_cast<T*>(view.data), view.ld};
}

template <typename T>
T* pointer_of(const MatrixView& view) {
  return static_cast<T*>(view.data);
}

/// `kVector` floats of a row, moved in one instruction.
template <int kVector>
struct Pack;

template <>
struct Pack<1> {
  float value[1];

  __device__ static Pack load(const float* from) { return {{*from}}; }
  /// Past the L1 cache.
  __device__ static Pack load_shared(const float* from) { return {{__ldcg(from)}}; }
  __device__ void store(float* to) const { *to = value[0]; }
};

template <>
struct Pack<4> {
  float value[4];

  __device__ static Pack load(const float* from) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    return {{four.x, four.y, four.z, four.w}};
  }
  __device__ static Pack load_shared(const float* from) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(from));
    return {{four.x, four.y, four.z, four.w}};
  }
  __device__ void store(float* to) const {
    *reinterpret_cast<float4*>(to) = make_float4(value[0], value[1], value[2], value[3]);
  }
};

/// *to += value, atomically, and nothing comes back: atomicAdd() on floats compiles to an instruction that returns the
/// old value, which costs as many bytes again and registers for them.
__device__ inline void reduce_add(float* to, float value) {
#if defined(__CUDA_ARCH__)
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" : : "l"(__cvta_generic_to_global(to)), "f"(value) : "memory");
#else
  atomicAdd(to, value);
#endif
}

/// to[0 .. kVector) += pack, atomic by element. One vector reduction from sm_90 on, four scalar ones before.
template <int kVector>
__device__ void reduce_add(float* to, const Pack<kVector>& pack) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (kVector == 4) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(to)), "f"(pack.value[0]), "f"(pack.value[1]), "f"(pack.value[2]),
                   "f"(pack.value[3])
                 : "memory");
  } else {
    reduce_add(to, pack.value[0]);
  }
#else
  for (int i = 0; i < kVector; ++i) {
    reduce_add(to + i, pack.value[i]);
  }
#endif
}

/// How the threads of a grid share rows of `cols` floats: 2^lane_bits neighbours to a row, each of which takes every
/// 2^lane_bits-th pack. With packs of 4, cols % 4 single columns are left at the end.
struct RowShare {
  std::int64_t cols;
  std::int64_t packs;
  int lane_bits;

  __device__ std::int64_t row(std::int64_t thread) const { return thread >> lane_bits; }
  __device__ std::int64_t lane(std::int64_t thread) const { return thread & ((std::int64_t{1} << lane_bits) - 1); }
  __device__ std::int64_t lanes() const { return std::int64_t{1} << lane_bits; }

  /// Calls on_pack(first column) for the packs of that lane, and on_column(column) for its columns past them.
  template <int kVector, typename OnPack, typename OnColumn>
  __device__ void visit(std::int64_t own_lane, OnPack on_pack, OnColumn on_column) const {
    for (std::int64_t p = own_lane; p < packs; p += lanes()) {
      on_pack(p * kVector);
    }
    if constexpr (kVector > 1) {
      for (std::int64_t c = packs * kVector + own_lane; c < cols; c += lanes()) {
        on_column(c);
      }
    }
  }
};

constexpr int kMostLaneBits = 5;  ///< a warp

/// Whether all rows begin at a multiple of 16 bytes. Absent matrices do.
inline bool is_aligned(const MatrixView& view) {
  return view.empty() ||
         (reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0 && (view.ld % 4 == 0 || view.rows == 1));
}

template <typename... Views>
int vector_width(std::int64_t cols, const Views&... views) {
  return cols >= 4 && (is_aligned(views) && ...) ? 4 : 1;
}

inline RowShare share_rows(std::int64_t cols, int vector) {
  RowShare share = {cols, cols / vector, 0};
  const std::int64_t pieces = share.packs + (cols % vector > 0 ? 1 : 0);
  while (share.lane_bits < kMostLaneBits && (std::int64_t{1} << share.lane_bits) < pieces) {
    ++share.lane_bits;
  }
  return share;
}

inline Geometry geometry_for_rows(std::int64_t rows, const RowShare& share) {
  return one_thread_each(rows << share.lane_bits);
}

__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t grid_threads() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace curate::cuda
