#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/product.h"
#include "kernels/scratch.h"

namespace curate::cuda {

/// A product's first call, before any capture and on memory of its own. The library loads its kernels then, which it
/// may not do inside a capture, and its result is compared with sums of our own. Operands are whole numbers from -2 to
/// 2, whose sums are exact in every order and precision, so that a term that is left out shows. With a mask no sum is
/// 0: the library decides what the bit of a 0 is.
class ProductTrial {
 public:
  /// Allocates, for as long as it lives, and fills the operands.
  ProductTrial(cudaStream_t stream, const Product& product);

  /// Readies outputs for one more call: NaN, or what a product that adds adds to.
  void reset();

  const ProductMemory& memory() const { return memory_; }

  /// Whether the call since reset() did what the product says, in `kSamples` elements and in the bias or the mask that
  /// belong to them. Blocks. Throws DeviceError if the GPU failed.
  bool right();

 private:
  static constexpr std::int64_t kSamples = 128;

  void* take(std::int64_t bytes);

  cudaStream_t stream_;
  Product product_;
  std::int64_t bytes_ = 0;
  std::optional<Scratch<std::byte>> all_;
  ProductMemory memory_;
  int* wrong_ = nullptr;
};

}  // namespace curate::cuda
