#pragma once

// Shared memory, for the GPU and for the emulator, which checks every access. Use the arrays as name[index] only.
//
//   CURATE_SHARED(float, tile, 256);                     // float tile[256]
//   auto scratch = dynamic_shared<float>();              // as many as the launch asked for
//   load_shared(four, words, 8);                         // floats from words[8] on, in one instruction
//
// Elements that several threads change with no barrier between: shared_atomic_add, _exchange and _load alone.
//
// An element is read into a variable of its type (`const float x = tile[i];`), never into `auto`.

#include <cuda_runtime.h>

#include <cstdint>

#if defined(CURATE_EMULATED_KERNELS)

#include <emulated_shared_memory.h>

#define CURATE_SHARED(type, name, extent)           \
  static const char curate_shared_key_##name = 0;   \
  const ::curate::emulator::SharedArray<type> name( \
      ::curate::emulator::shared_block(&curate_shared_key_##name, #name, sizeof(type), extent))

namespace curate::cuda {

template <typename T>
emulator::SharedArray<T> dynamic_shared() {
  return emulator::SharedArray<T>(emulator::dynamic_shared_block(sizeof(T)));
}

/// to[i] = array[index + i]; index is a multiple of the number of elements, which is 2 or 4.
template <int kCount>
void load_shared(float (&to)[kCount], const emulator::SharedArray<std::uint32_t>& array, int index) {
  static_assert(kCount == 2 || kCount == 4);
  emulator::check_aligned(index, kCount);
  for (int i = 0; i < kCount; ++i) {
    const std::uint32_t word = array[index + i];
    to[i] = __uint_as_float(word);
  }
}

/// array[index], array[index + 1] = first, second; index is even.
inline void store_shared(const emulator::SharedArray<std::uint32_t>& array, int index, std::uint32_t first,
                         std::uint32_t second) {
  emulator::check_aligned(index, 2);
  array[index] = first;
  array[index + 1] = second;
}

template <typename T>
T shared_atomic_add(const emulator::SharedArray<T>& array, std::int64_t index, T value) {
  return array.atomic(index, [value](T before) { return before + value; });
}
template <typename T>
T shared_atomic_exchange(const emulator::SharedArray<T>& array, std::int64_t index, T value) {
  return array.atomic(index, [value](T /*before*/) { return value; });
}
template <typename T>
T shared_atomic_load(const emulator::SharedArray<T>& array, std::int64_t index) {
  return array.atomic(index, [](T before) { return before; });
}

}  // namespace curate::cuda

#else

#define CURATE_SHARED(type, name, extent) __shared__ type name[extent]

namespace curate::cuda {

template <typename T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char curate_dynamic_shared[];
  return reinterpret_cast<T*>(curate_dynamic_shared);
}

__device__ inline void load_shared(float (&to)[2], const std::uint32_t* array, int index) {
  const float2 two = *reinterpret_cast<const float2*>(array + index);
  to[0] = two.x;
  to[1] = two.y;
}
__device__ inline void load_shared(float (&to)[4], const std::uint32_t* array, int index) {
  const float4 four = *reinterpret_cast<const float4*>(array + index);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}

__device__ inline void store_shared(std::uint32_t* array, int index, std::uint32_t first, std::uint32_t second) {
  *reinterpret_cast<uint2*>(array + index) = make_uint2(first, second);
}

template <typename T>
__device__ T shared_atomic_add(T* array, std::int64_t index, T value) {
  return atomicAdd(array + index, value);
}
template <typename T>
__device__ T shared_atomic_exchange(T* array, std::int64_t index, T value) {
  return atomicExch(array + index, value);
}
template <typename T>
__device__ T shared_atomic_load(T* array, std::int64_t index) {
  return *reinterpret_cast<volatile T*>(array + index);
}

}  // namespace curate::cuda

#endif
