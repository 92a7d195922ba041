#include "device/cpu/gemm.h"

#include <cblas.h>

namespace curate::cpu {

void use_one_blas_thread() {
  openblas_set_num_threads(1);
}

void gemm(float* out, std::int64_t out_ld, const Operand& a, const Operand& b, std::int64_t m, std::int64_t n,
          std::int64_t k, float beta) {
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans, b.transposed ? CblasTrans : CblasNoTrans,
              static_cast<blasint>(m), static_cast<blasint>(n), static_cast<blasint>(k), 1.0F, a.data,
              static_cast<blasint>(a.ld), b.data, static_cast<blasint>(b.ld), beta, out, static_cast<blasint>(out_ld));
}

}  // namespace curate::cpu
