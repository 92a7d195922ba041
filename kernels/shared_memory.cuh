#pragma once

// Shared memory, for the GPU and for the emulator, which checks every access. Use the arrays as name[index] only.
//
//   CURATE_SHARED(float, tile, 256);                     // float tile[256]
//   auto scratch = dynamic_shared<float>();              // as many as the launch asked for
//
// Elements that several threads change with no barrier between: shared_atomic_add, _exchange and _load alone.
//
// An element is read into a variable of its type (`const float x = tile[i];`), never into `auto`.

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
  extern __shared__ unsigned char curate_dynamic_shared[];
  return reinterpret_cast<T*>(curate_dynamic_shared);
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
