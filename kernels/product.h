#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "device/device.h"
#include "device/gpu_memory.h"

namespace curate::cuda {

/// What a product does to its sums besides storing them.
enum class Epilogue : std::uint8_t {
  none,
  add_bias,            ///< bias[c] is added to column c of the product
  sum_of_first,        ///< bias[r] becomes the sum over k of the first operand's elements that make row r
  add_bias_relu,       ///< add_bias, then relu; of NaN it may make 0
  add_bias_relu_mask,  ///< the same, and the mask says where the sum was above 0
  apply_mask,          ///< elements that such a mask has off become 0
};

/// out [rows, cols] = first second, all row-major, with `depth` terms to a sum. An operand may lie in memory
/// transposed: first as [depth, rows], second as [cols, depth]. Operands are f32, or bf16 if the precision is; then
/// `out` may be bf16, and so is a bias that is added with it. A mask has mask_bytes(cols) for every row; what its bits
/// mean is the library's secret, and whether the bit of a sum that is exactly 0 is on.
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
  bool adds = false;  ///< to what `out` holds, which is rounded once; with no epilogue only

  bool operator==(const Product&) const = default;

  DType operands() const { return precision == ProductPrecision::bf16 ? DType::bf16 : DType::f32; }
};

constexpr bool has_mask(Epilogue epilogue) {
  return epilogue == Epilogue::add_bias_relu_mask || epilogue == Epilogue::apply_mask;
}
constexpr bool adds_bias(Epilogue epilogue) {
  return epilogue == Epilogue::add_bias || epilogue == Epilogue::add_bias_relu ||
         epilogue == Epilogue::add_bias_relu_mask;
}

/// "512x256x64 bf16, bias and relu": rows, columns, depth.
std::string label_of(const Product& product);

using gpu_memory::bf16_ld;

/// Of a row of a mask. cuBLASLt asks for multiples of 128 bits.
constexpr std::int64_t mask_bytes(std::int64_t cols) {
  return (cols + 127) / 128 * 16;
}

/// All pointers of a product are multiples of this, and so are the bytes of an operand's rows. Rows of `out` may begin
/// anywhere.
inline constexpr std::uint32_t kProductAlignment = 16;

/// Where a product's matrices lie.
struct ProductMemory {
  void* out = nullptr;
  const void* first = nullptr;
  const void* second = nullptr;
  void* bias = nullptr;  ///< for the epilogues that have one
  void* mask = nullptr;
};

/// What the choice of an algorithm depends on besides the product.
struct GpuShape {
  int compute_capability_major = 0;
  int multiprocessors = 0;
};

/// NVIDIA's advice for cuBLAS and cuBLASLt: 32 MiB on Hopper and later, 4 MiB elsewhere.
constexpr std::size_t workspace_bytes(const GpuShape& gpu) {
  return gpu.compute_capability_major >= 9 ? std::size_t{32} << 20U : std::size_t{4} << 20U;
}

}  // namespace curate::cuda
