#pragma once

// The toolkit's header of this name, for the emulator: conversions of IEEE binary16, by its definition.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

struct __half {
  std::uint16_t bits;
};

inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}
inline unsigned short __half_as_ushort(__half value) {
  return value.bits;
}

inline float __half2float(__half value) {
  const unsigned sign = value.bits >> 15U;
  const int exponent = static_cast<int>(value.bits >> 10U & 0x1FU);
  const unsigned fraction = value.bits & 0x3FFU;
  if (exponent == 31) {
    return std::bit_cast<float>(sign << 31U | 0x7F800000U | fraction << 13U);
  }
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                        : std::ldexp(static_cast<float>(fraction | 0x400U), exponent - 25);
  return sign != 0 ? -magnitude : magnitude;
}

/// To the nearest, halves to even.
inline __half __float2half_rn(float value);
/// Towards zero.
inline __half __float2half_rz(float value) {
  const __half nearest = __float2half_rn(value);
  const float magnitude = std::fabs(value);
  if (std::isfinite(magnitude) && std::fabs(__half2float(nearest)) > magnitude) {
    // Magnitudes are ordered as their bits.
    return {static_cast<std::uint16_t>(nearest.bits - 1U)};
  }
  return nearest;
}

inline __half __float2half_rn(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000U : 0U);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) {
    return {0x7FFFU};
  }
  if (magnitude >= 65520.0F) {
    return {static_cast<std::uint16_t>(sign | 0x7C00U)};
  }
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  // The last place: of 11 bits, or of the smallest normal number.
  const int place = magnitude == 0.0F ? -24 : std::max(exponent - 11, -24);
  const auto steps = static_cast<unsigned>(std::nearbyint(std::ldexp(magnitude, -place)));
  // Steps that carry into the next power of two do so in the bits too.
  const unsigned bits = place == -24 ? steps : (static_cast<unsigned>(place + 24) << 10U) + steps;
  return {static_cast<std::uint16_t>(sign | bits)};
}
