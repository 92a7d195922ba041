#pragma once

#include <cstdint>

namespace curate::cpu {

/// Keeps OpenBLAS from starting threads of its own: the engine's pool calls it from several threads at once. Concerns
/// the whole process.
void use_one_blas_thread();

/// A row-major operand: element (r, c) at data[r * ld + c], or its transpose.
struct Operand {
  const float* data;
  std::int64_t ld;
  bool transposed = false;
};

/// out[m, n] (ld out_ld) = a[m, k] * b[k, n] + beta * out. One thread; the same bits for the same shapes.
void gemm(float* out, std::int64_t out_ld, const Operand& a, const Operand& b, std::int64_t m, std::int64_t n,
          std::int64_t k, float beta);

}  // namespace curate::cpu
