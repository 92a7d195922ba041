#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "kernels/scratch.h"

namespace curate::cuda {

/// The functions of cuBLASLt that are used, found by name: half a gigabyte that programs without wide dense layers, and
/// machines without it, do not load.
struct CublasLtFunctions {
  std::string file;  ///< the library's file name

  decltype(&::cublasLtGetVersion) get_version = nullptr;
  decltype(&::cublasLtGetStatusName) status_name = nullptr;
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&::cublasLtMatmul) matmul = nullptr;
};

/// Looks for the library. Where there is none that will do, `problem` says so in one line.
std::optional<CublasLtFunctions> find_cublaslt(std::string& problem);

/// For `doctor`: the version, or why there is none.
std::string describe_cublaslt();

enum class Epilogue : std::uint8_t {
  none,
  add_bias,            ///< bias[c] is added to column c of the product
  sum_of_first,        ///< bias[r] becomes the sum over k of the first operand's elements that make row r
  add_bias_relu,       ///< add_bias, then relu; of NaN it may make 0
  add_bias_relu_mask,  ///< the same, and the mask says where the sum was above 0
  apply_mask,          ///< elements that such a mask has off become 0
};

/// out [rows, cols] = first second, all row-major, with `depth` terms to a sum. An operand may lie in memory
/// transposed: first as [depth, rows], second as [cols, depth]. Operands are f32, or bf16 where the precision is; then
/// `out` may be bf16, and so is the bias with it. A mask has mask_bytes(cols) for every row.
struct Product {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t depth = 0;
  bool first_transposed = false;
  bool second_transposed = false;
  std::int64_t first_ld = 0;
  std::int64_t second_ld = 0;
  std::int64_t out_ld = 0;
  Epilogue epilogue = Epilogue::none;
  ProductPrecision precision = ProductPrecision::f32;
  DType out = DType::f32;

  bool operator==(const Product&) const = default;
};

/// bf16 elements to a row, so that all rows begin at multiples of CublasLt::kAlignment.
constexpr std::int64_t bf16_ld(std::int64_t cols) {
  return (cols + 7) / 8 * 8;
}

/// Of a row of a mask. The library asks for multiples of 128 bits.
constexpr std::int64_t mask_bytes(std::int64_t cols) {
  return (cols + 127) / 128 * 16;
}

/// Where a product's matrices lie.
struct ProductMemory {
  void* out = nullptr;
  const void* first = nullptr;
  const void* second = nullptr;
  void* bias = nullptr;  ///< for the epilogues that have one
  void* mask = nullptr;
};

/// cuBLASLt on one stream. A product's algorithm is chosen once, by the library's rules, and stays: the same bits on
/// every run with one version of the library on one kind of GPU.
class CublasLt {
 public:
  /// All pointers that multiply() gets are multiples of this, and so are the bytes of an operand's rows. Rows of `out`
  /// may begin anywhere.
  static constexpr std::uint32_t kAlignment = 16;

  /// Allocates: not inside a capture.
  CublasLt(const CublasLtFunctions& functions, cudaStream_t stream, int compute_capability_major);
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;
  ~CublasLt();

  /// Enqueues it; inside captures too. False where the library has no algorithm for such a product: nothing is enqueued
  /// then. `operation` stands in errors.
  bool multiply(const char* operation, const Product& product, const ProductMemory& memory);

  /// Whether multiply() would find an algorithm.
  bool has(const char* operation, const Product& product);

 private:
  struct Plan;

  const Plan& plan_of(const char* operation, const Product& product);
  std::unique_ptr<Plan> make_plan(const char* operation, const Product& product) const;
  void set(const char* operation, const Plan& plan, cublasLtMatmulDescAttributes_t attribute, const void* value,
           std::size_t bytes) const;
  /// Of the epilogue.
  void set_pointers(const char* operation, const Plan& plan, const void* bias, const void* mask) const;
  /// Whether the library knows the epilogue.
  bool set_epilogue(const char* operation, const Plan& plan) const;
  void choose_algorithm(const char* operation, Plan& plan) const;
  void check(cublasStatus_t status, const char* call, const char* operation) const;

  CublasLtFunctions functions_;
  cudaStream_t stream_;
  std::size_t workspace_bytes_;
  Scratch<std::byte> workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::vector<std::unique_ptr<Plan>> plans_;  ///< a few: three or four for each layer
};

}  // namespace curate::cuda
