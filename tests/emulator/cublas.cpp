// Stands in for cuBLAS at its interface: products without epilogue, in stream order.

#include "cublas.h"

#include <cublas_v2.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "emulator.h"
#include "library_product.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  int math = CUBLAS_DEFAULT_MATH;
  std::set<std::uint64_t> loaded;  ///< kernels, by problem
};

namespace curate::emulator {
namespace {

CublasOptions options;
std::int64_t products = 0;

std::set<const cublasContext*>& live() {
  static std::set<const cublasContext*> handles;
  return handles;
}

}  // namespace

void set_cublas(const CublasOptions& what) {
  options = what;
}

std::int64_t cublas_products() {
  return products;
}

void* cublas_library() {
  return options.present ? &options : nullptr;
}

void* cublas_symbol(const std::string& name) {
  const auto address = [](auto* function) { return reinterpret_cast<void*>(function); };
  static const std::map<std::string, void*> functions = {{"cublasGetStatusName", address(&::cublasGetStatusName)},
                                                         {"cublasCreate_v2", address(&::cublasCreate_v2)},
                                                         {"cublasDestroy_v2", address(&::cublasDestroy_v2)},
                                                         {"cublasSetStream_v2", address(&::cublasSetStream_v2)},
                                                         {"cublasSetWorkspace_v2", address(&::cublasSetWorkspace_v2)},
                                                         {"cublasSetMathMode", address(&::cublasSetMathMode)},
                                                         {"cublasGemmEx", address(&::cublasGemmEx)}};
  const auto found = functions.find(name);
  return name == options.missing_function || found == functions.end() ? nullptr : found->second;
}

}  // namespace curate::emulator

namespace emulator = curate::emulator;

const char* cublasGetStatusName(cublasStatus_t status) {
  return emulator::status_name(status);
}

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  if (emulator::fails_now("cublasCreate_v2")) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  *handle = new cublasContext;
  emulator::live().insert(*handle);
  emulator::count_handles(1);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  if (emulator::live().erase(handle) == 0) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  emulator::count_handles(-1);
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  if (emulator::fails_now("cublasSetStream_v2")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  handle->stream = stream;
  handle->workspace = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, std::size_t bytes) {
  if (emulator::fails_now("cublasSetWorkspace_v2")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  handle->workspace = workspace;
  handle->workspace_bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (emulator::fails_now("cublasSetMathMode")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a, cublasOperation_t transpose_b, int m,
                            int n, int k, const void* alpha, const void* a, cudaDataType a_type, int lda, const void* b,
                            cudaDataType b_type, int ldb, const void* beta, void* c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t /*algorithm*/) {
  if (!emulator::live().contains(handle) || handle->stream == nullptr) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  if (emulator::options.status != 0) {
    return static_cast<cublasStatus_t>(emulator::options.status);
  }
  const auto layout = [](cudaDataType type, bool transposed, int rows, int cols, int ld) {
    return emulator::ProductMatrix{type, transposed ? cols : rows, transposed ? rows : cols, ld};
  };
  const emulator::LibraryProduct product{{compute, transpose_a, transpose_b},
                                         layout(a_type, transpose_a == CUBLAS_OP_T, m, k, lda),
                                         layout(b_type, transpose_b == CUBLAS_OP_T, k, n, ldb),
                                         layout(c_type, false, m, n, ldc),
                                         layout(c_type, false, m, n, ldc)};
  if (const cublasStatus_t status = product.check(); status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  // Without a workspace of the caller's the library allocates one; kernels are loaded when they are first called.
  const std::uint64_t kernel = product.fingerprint();
  if ((handle->workspace == nullptr || !handle->loaded.contains(kernel)) &&
      !emulator::outside_capture(handle->stream)) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  handle->loaded.insert(kernel);
  emulator::SumOrder order{k, 1, (handle->math & CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION) == 0};
  order.depth -= emulator::options.tail_of > 0 ? k % emulator::options.tail_of : 0;
  constexpr std::size_t kPoisoned = std::size_t{64} << 10U;  // all of it would take longer than the product
  const emulator::ProductArguments at{
      *static_cast<const float*>(alpha),           a, b, *static_cast<const float*>(beta), c, c, handle->workspace,
      std::min(handle->workspace_bytes, kPoisoned)};
  const cudaError_t error = emulator::enqueue_host(
      handle->stream, "cublasGemmEx", [=] { return emulator::multiply("cublasGemmEx", product, at, order); });
  if (error != cudaSuccess) {
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  ++emulator::products;
  return CUBLAS_STATUS_SUCCESS;
}
