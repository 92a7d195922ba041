#include "kernels/cublas.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <stdexcept>

#include "kernels/find_library.h"
#include "kernels/product_trial.h"

namespace curate::cuda {
namespace {

std::string find_cublas_functions(void* library, CublasFunctions& functions) {
  std::string missing;
  find_function(library, "cublasCreate_v2", functions.create, missing);
  find_function(library, "cublasDestroy_v2", functions.destroy, missing);
  find_function(library, "cublasSetStream_v2", functions.set_stream, missing);
  find_function(library, "cublasSetWorkspace_v2", functions.set_workspace, missing);
  find_function(library, "cublasSetMathMode", functions.set_math_mode, missing);
  find_function(library, "cublasGemmEx", functions.gemm, missing);
  std::string not_needed;
  find_function(library, "cublasGetStatusName", functions.status_name, not_needed);
  return missing;
}

cudaDataType type_of(DType type) {
  return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

}  // namespace

std::optional<CublasFunctions> find_cublas(std::string& problem) {
  return find_library<CublasFunctions>("libcublas.so", find_cublas_functions, problem);
}

Cublas::Cublas(const CublasFunctions& functions, cudaStream_t stream, const GpuShape& gpu)
    : functions_(functions), stream_(stream), workspace_(stream, static_cast<std::int64_t>(workspace_bytes(gpu))) {
  check(functions_.create(&handle_), "cublasCreate_v2", "setting up");
  try {
    check(functions_.set_stream(handle_, stream_), "cublasSetStream_v2", "setting up");
    // cuBLAS would allocate a workspace of its own when it first needs one, which may be inside a capture. After the
    // stream, which resets it.
    check(functions_.set_workspace(handle_, workspace_.data(), workspace_bytes(gpu)), "cublasSetWorkspace_v2",
          "setting up");
    check(
        functions_.set_math_mode(
            handle_, static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
        "cublasSetMathMode", "setting up");
  } catch (...) {
    functions_.destroy(handle_);
    throw;
  }
}

Cublas::~Cublas() {
  functions_.destroy(handle_);
}

std::string Cublas::name_of(cublasStatus_t status) const {
  return functions_.status_name == nullptr ? fmt::format("status {} of {}", static_cast<int>(status), functions_.file)
                                           : fmt::format("{} of {}", functions_.status_name(status), functions_.file);
}

void Cublas::check(cublasStatus_t status, const char* call, const char* operation) const {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw_library_error(operation, call, name_of(status));
  }
}

bool Cublas::prepare(const char* operation, const Product& product) {
  if (std::none_of(tried_.begin(), tried_.end(), [&](const auto& tried) { return tried.first == product; })) {
    tried_.emplace_back(product, try_product(operation, product));
  }
  return why(product).empty();
}

std::string Cublas::why(const Product& product) const {
  const auto found =
      std::find_if(tried_.begin(), tried_.end(), [&](const auto& tried) { return tried.first == product; });
  return found == tried_.end() ? "not asked for" : found->second;
}

std::string Cublas::try_product(const char* operation, const Product& product) {
  if (product.epilogue != Epilogue::none) {
    return fmt::format("{} has no epilogues", functions_.file);
  }
  for (const std::int64_t extent :
       {product.rows, product.cols, product.depth, product.first_ld, product.second_ld, product.out_ld}) {
    if (extent > std::numeric_limits<int>::max()) {
      return fmt::format("{} counts to 2^31 - 1", functions_.file);
    }
  }
  ProductTrial trial(stream_, product);
  trial.reset();
  const cublasStatus_t status = enqueue(product, trial.memory());
  if (status == CUBLAS_STATUS_SUCCESS) {
    return trial.right() ? "" : fmt::format("cublasGemmEx of {} gives wrong sums", functions_.file);
  }
  cudaGetLastError();
  cuda::check(cudaStreamSynchronize(stream_), operation, __FILE__, __LINE__);
  return fmt::format("cublasGemmEx: {}", name_of(status));
}

void Cublas::multiply(const char* operation, const Product& product, const ProductMemory& memory) {
  if (!why(product).empty()) {
    throw std::logic_error(
        fmt::format("{}: a product that cuBLAS was not prepared for: {}", operation, label_of(product)));
  }
  check(enqueue(product, memory), "cublasGemmEx", operation);
}

/// Column-major, as cuBLASLt is: out^T = second^T first^T.
cublasStatus_t Cublas::enqueue(const Product& product, const ProductMemory& memory) const {
  const auto operation_of = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const float one = 1.0F;
  const float other = product.adds ? 1.0F : 0.0F;
  const cudaDataType operands = type_of(product.operands());
  return functions_.gemm(
      handle_, operation_of(product.second_transposed), operation_of(product.first_transposed),
      static_cast<int>(product.cols), static_cast<int>(product.rows), static_cast<int>(product.depth), &one,
      memory.second, operands, static_cast<int>(product.second_ld), memory.first, operands,
      static_cast<int>(product.first_ld), &other, memory.out, type_of(product.out), static_cast<int>(product.out_ld),
      product.precision == ProductPrecision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
      CUBLAS_GEMM_DEFAULT);
}

}  // namespace curate::cuda
