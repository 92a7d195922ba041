#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace curate::emulator {

/// A matrix of a library's product, column-major.
struct ProductMatrix {
  cudaDataType type;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t ld;
};

/// What is done with the matrices.
struct ProductOperation {
  cublasComputeType_t compute;
  cublasOperation_t transpose_a = CUBLAS_OP_N;
  cublasOperation_t transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  void* aux = nullptr;        ///< the mask of a relu, a bit for every element of D
  std::int64_t aux_ld = 0;    ///< bits from one column to the next
  bool mask_of_zero = false;  ///< the bit of a sum of 0 is on

  bool has_bias() const {
    return (epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
  }
  bool has_mask() const {
    constexpr int kAux = 128;
    return (epilogue & kAux) != 0;
  }
};

/// D = epilogue(alpha op(A) op(B) + beta C), with everything that the caller may change afterwards copied.
struct LibraryProduct {
  ProductOperation desc;
  ProductMatrix a, b, c, d;

  std::int64_t m() const { return d.rows; }
  std::int64_t n() const { return d.cols; }
  std::int64_t k() const { return desc.transpose_a == CUBLAS_OP_T ? a.rows : a.cols; }

  /// What the library would say of it.
  cublasStatus_t check() const;
  /// Tells problems apart for which algorithms are chosen.
  std::uint64_t fingerprint() const;
};

/// How the terms of a sum are added up.
struct SumOrder {
  std::int64_t depth = 0;        ///< how many of them: all, or fewer where the library is wrong
  std::int64_t parts = 1;        ///< that they are cut into
  bool sums_in_outputs = false;  ///< those are added up in D's type
};

/// Where a product's matrices lie, and what they are multiplied by.
struct ProductArguments {
  float alpha = 1.0F;
  const void* a = nullptr;
  const void* b = nullptr;
  float beta = 0.0F;
  const void* c = nullptr;
  void* d = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

/// Does it, in the device's memory; what went wrong, or nothing. The workspace is poisoned. `call` stands in errors.
std::string multiply(const char* call, const LibraryProduct& product, const ProductArguments& at,
                     const SumOrder& order);

std::size_t size_of(cudaDataType type);
/// Of an address, up to 16.
std::uint32_t alignment_of(const void* address);

const char* status_name(cublasStatus_t status);

}  // namespace curate::emulator
