#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/product.h"
#include "kernels/scratch.h"

namespace curate::cuda {

/// The functions of cuBLAS that are used, found by name.
struct CublasFunctions {
  std::string file;  ///< the library's file name

  decltype(&::cublasCreate_v2) create = nullptr;
  decltype(&::cublasDestroy_v2) destroy = nullptr;
  decltype(&::cublasSetStream_v2) set_stream = nullptr;
  decltype(&::cublasSetWorkspace_v2) set_workspace = nullptr;
  decltype(&::cublasSetMathMode) set_math_mode = nullptr;
  decltype(&::cublasGetStatusName) status_name = nullptr;  ///< younger than the oldest library: may be absent
  /// cublasGemmEx has an overload in C++; the one of its symbol takes a compute type.
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*, const void*,
                         cudaDataType, int, const void*, cudaDataType, int, const void*, void*, cudaDataType, int,
                         cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
};

/// Looks for the library. If there is none that will do, `problem` says so in one line.
std::optional<CublasFunctions> find_cublas(std::string& problem);

/// cuBLAS on one stream, for products that cuBLASLt has no algorithm for: it chooses its own, and has no epilogues.
/// Deterministic with one version of the library on one kind of GPU.
class Cublas {
 public:
  /// Allocates: not inside a capture. Throws DeviceError if the library does not start.
  Cublas(const CublasFunctions& functions, cudaStream_t stream, const GpuShape& gpu);
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;
  ~Cublas();

  const std::string& file() const { return functions_.file; }

  /// Calls a product without epilogue once, unless that was done, and compares the result with sums of ours. Returns
  /// whether it is right. Not inside a capture. Throws DeviceError if the GPU has failed.
  bool prepare(const char* operation, const Product& product);

  /// Why it is not, in one line; empty if it is.
  std::string why(const Product& product) const;

  /// Enqueues a product that prepare() found right; inside captures too.
  void multiply(const char* operation, const Product& product, const ProductMemory& memory);

 private:
  std::string name_of(cublasStatus_t status) const;
  cublasStatus_t enqueue(const Product& product, const ProductMemory& memory) const;
  std::string try_product(const char* operation, const Product& product);
  void check(cublasStatus_t status, const char* call, const char* operation) const;

  CublasFunctions functions_;
  cudaStream_t stream_;
  Scratch<std::byte> workspace_;
  cublasHandle_t handle_ = nullptr;
  std::vector<std::pair<Product, std::string>> tried_;  ///< with what is wrong
};

}  // namespace curate::cuda
