#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(CURATE_EMULATED_KERNELS)
#include <emulated_mma.h>
#endif

// Products of small matrices on tensor cores. A warp holds them in its lanes' registers, where g = lane / 4 and q =
// lane % 4 (PTX, "Matrix fragments for mma.m16n8k8" and ".m16n8k16"):
//
//   sum [16, 8]  sum[0], sum[1] at (g, 2q), (g, 2q + 1); sum[2], sum[3] eight rows on
//   a [16, k]    tf32, k = 8:  a[0] at (g, q), a[2] at (g, q + 4); a[1], a[3] eight rows on
//                bf16, k = 16: a[0] at (g, 2q) and the next, a[2] at (g, 2q + 8) and the next; a[1], a[3] likewise
//   b [k, 8]     tf32: b[0] at (q, g), b[1] at (q + 4, g); bf16: b[0] at (2q, g) and below, b[1] at (2q + 8, g)

namespace curate::cuda {

/// The nearest number with 7 bits after the point, of two equally near ones the even one. NaN stays NaN.
__device__ inline std::uint16_t to_bf16(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  }
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

/// Both so rounded, the first one in the lower half.
__device__ inline std::uint32_t to_two_bf16(float first, float second) {
#if defined(__CUDA_ARCH__)
  std::uint32_t two;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(second), "f"(first));
  return two;
#else
  return static_cast<std::uint32_t>(to_bf16(second)) << 16U | to_bf16(first);
#endif
}

/// The nearest number with 10 bits after the point, of two equally near ones the larger one. NaN stays NaN.
__device__ inline std::uint32_t to_tf32(float value) {
#if defined(__CUDA_ARCH__)
  std::uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
  return rounded;
#else
  const unsigned bits = __float_as_uint(value);
  const unsigned magnitude = bits & 0x7FFFFFFFU;
  if (magnitude >= 0x7F800000U) {
    return magnitude > 0x7F800000U ? 0x7FFFE000U : bits;
  }
  return (bits + 0x1000U) & 0xFFFFE000U;
#endif
}

/// Four matrices of eight rows of 16 bytes in shared memory, as mma wants them: lane 8 i + r gives the index of the
/// first word of matrix i's row r, a multiple of 4; to[i] is then the word q of its row g. All 32 lanes of the warp
/// must call it.
template <typename Words>
__device__ void load_matrices(std::uint32_t (&to)[4], const Words& shared, int row) {
#if defined(CURATE_EMULATED_KERNELS)
  emulator::load_matrices(to, shared, row, false);
#elif defined(__CUDA_ARCH__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared + row)))
               : "memory");
#endif
}

/// The same of matrices of 16-bit elements, transposed: to[i] holds the elements g of rows 2q and 2q + 1.
template <typename Words>
__device__ void load_matrices_transposed(std::uint32_t (&to)[4], const Words& shared, int row) {
#if defined(CURATE_EMULATED_KERNELS)
  emulator::load_matrices(to, shared, row, true);
#elif defined(__CUDA_ARCH__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared + row)))
               : "memory");
#endif
}

/// sum += a b; all 32 lanes of the warp must call it.
__device__ inline void mma_tf32(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(CURATE_EMULATED_KERNELS)
  emulator::mma(sum, a, b, emulator::MmaType::tf32);
#elif defined(__CUDA_ARCH__)
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/// The same with twice the depth.
__device__ inline void mma_bf16(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if defined(CURATE_EMULATED_KERNELS)
  emulator::mma(sum, a, b, emulator::MmaType::bf16);
#elif defined(__CUDA_ARCH__)
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace curate::cuda
