#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cublas.h"
#include "kernels/cublaslt.h"
#include "kernels/dense.h"
#include "kernels/product.h"

namespace curate::cuda {

/// How a product is done.
enum class ProductWay : std::uint8_t {
  epilogue,  ///< by cuBLASLt with its epilogue
  plain,     ///< by cuBLASLt without it, and kernels of our own
  cublas,    ///< by cuBLAS, and kernels of our own
  none,      ///< by no library
};

/// How a product is done, and why not in a better way.
struct ProductReport {
  std::string product;
  ProductWay way = ProductWay::none;
  std::string choice;  ///< of the algorithm, if cuBLASLt does it
  std::string why;     ///< why the better ways were not taken
};

/// Products by NVIDIA's libraries, each in the first of ProductWay's ways that was called and found right before. What
/// a library lacks, refuses or computes wrongly on a GPU that nobody has tried costs a kernel, not the run. A product
/// with a mask has the first way only, since masks are a library's own; every other product has all ways.
class LibraryProducts {
 public:
  /// Loads nothing yet. `scratch` is for sums of slices.
  LibraryProducts(cudaStream_t stream, const GpuShape& gpu, const ScratchFloats& scratch);

  /// Loads cuBLASLt, or cuBLAS if cuBLASLt is not there or does not start; once. Returns whether there is one. Not
  /// inside a capture.
  bool load();
  bool loaded() const { return lt_ != nullptr || cublas_ != nullptr; }
  /// Why load() found none.
  const std::string& why_not() const { return why_not_; }

  /// Finds the way, unless that was done, and calls the product once on memory of its own. Returns whether there is
  /// one. Inside a capture a product that was not prepared before is a std::logic_error.
  bool prepare(const char* operation, const Product& product);

  /// prepare(), then enqueues the product. False if no library does it: nothing is enqueued then. `operation` stands
  /// in errors.
  bool multiply(const char* operation, const Product& product, const ProductMemory& memory);

  /// Of all products so far.
  std::vector<ProductReport> reports() const;
  /// Why no library does a product, in one line.
  std::string why(const Product& product) const;

 private:
  struct Entry {
    Product product;
    Product plain;  ///< without its epilogue
    ProductWay way = ProductWay::none;
    std::string why;
  };

  const Entry* find(const Product& product) const;
  void load_cublas();
  Entry make_entry(const char* operation, const Product& product);
  void multiply_plain(const char* operation, const Entry& entry, const ProductMemory& memory);

  cudaStream_t stream_;
  GpuShape gpu_;
  ScratchFloats scratch_;
  bool looked_ = false;
  bool looked_for_cublas_ = false;
  std::unique_ptr<CublasLt> lt_;
  std::unique_ptr<Cublas> cublas_;
  std::string why_not_;
  std::string why_no_cublas_;
  std::vector<Entry> entries_;
};

}  // namespace curate::cuda
