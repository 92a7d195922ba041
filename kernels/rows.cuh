#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "device/device.h"
#include "kernels/half.cuh"
#include "kernels/launch.h"
#include "support/philox.h"

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

/// What one instruction moves: kVector elements of T.
template <typename T, int kVector>
struct MemoryWord {
  using Type = uint4;
};
template <typename T>
struct MemoryWord<T, 1> {
  using Type = T;
};
template <>
struct MemoryWord<float, 4> {
  using Type = float4;
};
template <>
struct MemoryWord<F16, 4> {
  using Type = uint2;
};
template <>
struct MemoryWord<Bf16, 4> {
  using Type = uint2;
};

/// Two numbers of 16 bits as one of 32.
template <typename T>
__device__ unsigned pair_of(const T* two) {
  return two[0].bits | static_cast<unsigned>(two[1].bits) << 16U;
}
template <typename T>
__device__ void unpack_pair(float* to, unsigned pair) {
  to[0] = to_float(T{static_cast<std::uint16_t>(pair & 0xFFFFU)});
  to[1] = to_float(T{static_cast<std::uint16_t>(pair >> 16U)});
}

template <typename T>
__device__ void unpack(float (&to)[1], const T& word) {
  if constexpr (sizeof(T) == 4) {
    to[0] = word;
  } else {
    to[0] = to_float(word);
  }
}
template <typename T>
__device__ void unpack(float (&to)[4], const float4& word) {
  to[0] = word.x;
  to[1] = word.y;
  to[2] = word.z;
  to[3] = word.w;
}
template <typename T>
__device__ void unpack(float (&to)[4], const uint2& word) {
  unpack_pair<T>(to, word.x);
  unpack_pair<T>(to + 2, word.y);
}
template <typename T>
__device__ void unpack(float (&to)[8], const uint4& word) {
  unpack_pair<T>(to, word.x);
  unpack_pair<T>(to + 2, word.y);
  unpack_pair<T>(to + 4, word.z);
  unpack_pair<T>(to + 6, word.w);
}

template <typename T>
__device__ T word_of(const T (&from)[1]) {
  return from[0];
}
__device__ inline float4 word_of(const float (&from)[4]) {
  return make_float4(from[0], from[1], from[2], from[3]);
}
template <typename T>
__device__ uint2 word_of(const T (&from)[4]) {
  return make_uint2(pair_of(from), pair_of(from + 2));
}
template <typename T>
__device__ uint4 word_of(const T (&from)[8]) {
  return make_uint4(pair_of(from), pair_of(from + 2), pair_of(from + 4), pair_of(from + 6));
}

template <typename T, int kVector>
struct RoundedPack;

/// `kVector` elements of a row, moved in one instruction. Elements of 16 bits are floats meanwhile.
template <int kVector>
struct Pack {
  float value[kVector];

  template <typename T>
  using Word = typename MemoryWord<T, kVector>::Type;

  template <typename T>
  __device__ static Pack load(const T* from) {
    return from_word<T>(*reinterpret_cast<const Word<T>*>(from));
  }
  /// Past the L1 cache.
  template <typename T>
  __device__ static Pack load_shared(const T* from) {
    if constexpr (sizeof(Word<T>) == 2) {
      return from_word<T>(T{__ldcg(&from->bits)});
    } else {
      return from_word<T>(__ldcg(reinterpret_cast<const Word<T>*>(from)));
    }
  }
  /// The same as load(); the emulator counts the bytes of this one.
  template <typename T>
  __device__ static Pack load_global(const T* from) {
    if constexpr (sizeof(Word<T>) == 2) {
      return from_word<T>(T{__ldca(&from->bits)});
    } else {
      return from_word<T>(__ldca(reinterpret_cast<const Word<T>*>(from)));
    }
  }
  __device__ void store(float* to) const { *reinterpret_cast<Word<float>*>(to) = word_of(value); }
  /// Rounded to the nearest.
  template <typename T>
  __device__ void store(T* to) const {
    RoundedPack<T, kVector> rounded;
    for (int i = 0; i < kVector; ++i) {
      rounded.value[i] = to_nearest<T>(value[i]);
    }
    rounded.store(to);
  }
  __device__ void store_global(float* to) const { __stwb(reinterpret_cast<Word<float>*>(to), word_of(value)); }

 private:
  template <typename T>
  __device__ static Pack from_word(const Word<T>& word) {
    Pack pack;
    unpack<T>(pack.value, word);
    return pack;
  }
};

/// A pack of numbers of 16 bits, to be written.
template <typename T, int kVector>
struct RoundedPack {
  T value[kVector];

  __device__ void store(T* to) const { *reinterpret_cast<typename MemoryWord<T, kVector>::Type*>(to) = word_of(value); }
  __device__ void store_global(T* to) const {
    __stwb(reinterpret_cast<typename MemoryWord<T, kVector>::Type*>(to), word_of(value));
  }
};

/// 16 random bits for each of eight neighbouring elements of a row.
struct RoundingBits {
  PhiloxWords words;

  __device__ unsigned of(int element) const { return words.word[element / 2 % 4] >> (element % 2 * 16) & 0xFFFFU; }
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

/// Two numbers of 16 bits at a multiple of 4 bytes: to[0] += the lower one, to[1] += the upper one, each atomically and
/// rounded to the nearest.
template <typename T>
__device__ void reduce_add_pair(T* to, unsigned pair) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, F16>) {
    asm volatile("red.relaxed.gpu.global.add.noftz.f16x2 [%0], %1;"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(pair)
                 : "memory");
  } else {
#if __CUDA_ARCH__ >= 900
    asm volatile("red.relaxed.gpu.global.add.noftz.bf16x2 [%0], %1;"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(pair)
                 : "memory");
#else
    // Before sm_90 there is no such reduction of bf16.
    auto* const word = reinterpret_cast<unsigned*>(to);
    unsigned before = __ldcg(word);
    float change[2];
    unpack_pair<T>(change, pair);
    while (true) {
      float value[2];
      unpack_pair<T>(value, before);
      const T sum[2] = {to_nearest<T>(value[0] + change[0]), to_nearest<T>(value[1] + change[1])};
      const unsigned found = atomicCAS(word, before, pair_of(sum));
      if (found == before) {
        break;
      }
      before = found;
    }
#endif
  }
#else
  T change[2] = {{static_cast<std::uint16_t>(pair & 0xFFFFU)}, {static_cast<std::uint16_t>(pair >> 16U)}};
  atomicAdd(to, change[0]);
  atomicAdd(to + 1, change[1]);
#endif
}

/// The same of a pack of eight; one vector reduction from sm_90 on.
template <typename T>
__device__ void reduce_add(T* to, const RoundedPack<T, 8>& pack) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const uint4 word = word_of(pack.value);
  if constexpr (std::is_same_v<T, F16>) {
    asm volatile("red.relaxed.gpu.global.add.noftz.v4.f16x2 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(word.x), "r"(word.y), "r"(word.z), "r"(word.w)
                 : "memory");
  } else {
    asm volatile("red.relaxed.gpu.global.add.noftz.v4.bf16x2 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(__cvta_generic_to_global(to)), "r"(word.x), "r"(word.y), "r"(word.z), "r"(word.w)
                 : "memory");
  }
#else
  for (int i = 0; i < 8; i += 2) {
    reduce_add_pair(to + i, pair_of(pack.value + i));
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

/// Whether all rows begin at a multiple of four elements. Absent matrices do.
inline bool is_aligned(const MatrixView& view) {
  return view.empty() || (reinterpret_cast<std::uintptr_t>(view.data) % (4 * size_of(view.dtype)) == 0 &&
                          (view.ld % 4 == 0 || view.rows == 1));
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
