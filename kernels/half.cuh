#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>

#include "device/device.h"
#include "kernels/half_types.h"

namespace curate::cuda {

__device__ inline float to_float(F16 value) {
  return __half2float(__ushort_as_half(value.bits));
}
__device__ inline float to_float(Bf16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16U);
}

/// To the nearest, halves to even; NaN stays NaN.
template <typename T>
__device__ T to_nearest(float value);

template <>
__device__ inline F16 to_nearest<F16>(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}
template <>
__device__ inline Bf16 to_nearest<Bf16>(float value) {
#if defined(__CUDA_ARCH__)
  Bf16 nearest;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(nearest.bits) : "f"(value));
  return nearest;
#else
  const unsigned bits = __float_as_uint(value);
  if (!(value == value)) {
    return {static_cast<std::uint16_t>(bits >> 16U | 0x40U)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U)};
#endif
}

/// Rounds up or down to a neighbour, to each with the probability that makes the mean the value itself. `random`: 16
/// random bits, the lower half of a word. Numbers that T has stay as they are.
template <typename T>
__device__ T to_stochastic(float value, unsigned random);

template <>
__device__ inline F16 to_stochastic<F16>(float value, unsigned random) {
  constexpr float kLeastNormal = 0x1.0p-14F;
  // A random part of a step, in 1/8192, is added to the magnitude, and what is then below a step dropped. Steps are
  // 2^-10 of the power of two below the value, and the same ones for all below the least normal number. No branches:
  // what is too large has steps of infinity, for towards zero it would stay a number.
  const unsigned bits = __float_as_uint(value);
  const unsigned power_bits = bits & 0x7F800000U;
  const float power = fmaxf(__uint_as_float(power_bits < 0x47800000U ? power_bits : 0x7F800000U), kLeastNormal);
  const float part = __uint_as_float(0x3A800000U | (random << 7U & 0x007FFC00U)) - 0x1.0p-10F;
  const float with_sign = __uint_as_float(__float_as_uint(power) | (bits & 0x80000000U));
  return {__half_as_ushort(__float2half_rz(value + with_sign * part))};
}
template <>
__device__ inline Bf16 to_stochastic<Bf16>(float value, unsigned random) {
  const unsigned bits = __float_as_uint(value);
  // Adding to a NaN could make it a number.
  return {static_cast<std::uint16_t>((value == value ? bits + random : bits) >> 16U)};
}

/// Rounded to the nearest, as reductions in memory do it.
__device__ inline F16 operator+(F16 a, F16 b) {
  return to_nearest<F16>(to_float(a) + to_float(b));
}
__device__ inline Bf16 operator+(Bf16 a, Bf16 b) {
  return to_nearest<Bf16>(to_float(a) + to_float(b));
}

/// body(T()) for the type of a table's elements: float, F16 or Bf16.
template <typename Body>
auto with_element(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::f32:
      return body(float());
    case DType::f16:
      return body(F16());
    case DType::bf16:
      return body(Bf16());
    default:
      throw std::logic_error("a table of no type that a GPU stores");
  }
}

/// body(T()) for the type of a batch's values: float, or Bf16 if they go into layers that are multiplied in bf16.
template <typename Body>
auto with_values(DType dtype, const Body& body) {
  return dtype == DType::bf16 ? body(Bf16()) : body(float());
}

}  // namespace curate::cuda
