#pragma once

// Shared memory, for the GPU and for the emulator, which checks every access. Use the arrays as name[index] only.
//
//   CURATE_SHARED(float, tile, 256);                     // float tile[256]
//   auto scratch = dynamic_shared<float>();              // as many as the launch asked for
//   load_shared(four, scratch, 8);                       // four[0 .. 4) from scratch[8] on, in one instruction
//
// An element is read into a variable of its type (`const float x = tile[i];`), never into `auto`.

#include <cuda_runtime.h>

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
void load_shared(float (&to)[kCount], const emulator::SharedArray<float>& array, int index) {
  static_assert(kCount == 2 || kCount == 4);
  if (index % kCount != 0) {
    emulator::fail("loads several elements of shared memory at once from where it may not");
  }
  for (int i = 0; i < kCount; ++i) {
    to[i] = array[index + i];
  }
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

__device__ inline void load_shared(float (&to)[2], const float* array, int index) {
  const float2 two = *reinterpret_cast<const float2*>(array + index);
  to[0] = two.x;
  to[1] = two.y;
}
__device__ inline void load_shared(float (&to)[4], const float* array, int index) {
  const float4 four = *reinterpret_cast<const float4*>(array + index);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}

}  // namespace curate::cuda

#endif
