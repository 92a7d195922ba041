#pragma once

#include <cstddef>
#include <cstdint>

/// What the kernels of mf_sgd_epoch share with their caller. They are compiled for several instruction sets, so nothing
/// here may have code that the linker could take from one of them for all: plain data and declarations only.
namespace curate::cpu {

/// A rating of a plan in four bytes: the item's slot in the upper 24 bits, below it the rating's place on its grid.
struct PackedRating {
  std::uint32_t bits;
};

/// A rating that has no place on a grid, or whose item has no place in 24 bits.
struct WideRating {
  std::int32_t slot;
  float rating;
};

/// Ratings of one user, which lie together.
struct MfSgdRun {
  std::int32_t user = 0;
  std::uint32_t begin = 0;  ///< in the ratings of its block
  std::uint32_t end = 0;
};

/// Ratings of a block of users and items.
struct MfSgdBlock {
  const void* ratings = nullptr;   ///< PackedRating or WideRating, kMfSgdAhead more on either side
  const MfSgdRun* runs = nullptr;  ///< in the order to take them in
  std::uint32_t num_runs = 0;
  bool backward = false;  ///< the ratings of a run from its end
  bool packed = true;
  bool non_negative = false;
  float grid_start = 0.0F;  ///< packed: rating = grid_start + grid_step * place
  float grid_step = 0.0F;
  float* user = nullptr;  ///< rows of `dim`, `user_ld` apart, of any alignment
  std::size_t user_ld = 0;
  float* user_bias = nullptr;  ///< or null
  std::size_t user_bias_ld = 0;
  float* item = nullptr;  ///< rows by slot, `stride` apart: `dim`, then zeros
  /// [slots], or null; if one side alone has biases, the other's are zeros (users': null) and stay.
  float* item_bias = nullptr;
  bool item_biases_learn = false;
  const float* user_rates = nullptr;  ///< by user, what its learning rate is multiplied with, at most 1; or null
  const float* item_rates = nullptr;  ///< by slot; null if user_rates is
  float* lane_rows = nullptr;         ///< memory for kMfSgdMostLanes rows, aligned to 64 bytes
  std::size_t stride = 0;             ///< mf_row_stride(dim)
  std::size_t dim = 0;
  float mean = 0.0F;
  float learning_rate = 0.0F;
  float reg = 0.0F;
};

/// Sum over the ratings of a block, of errors before each update.
struct MfSgdErrors {
  double squared = 0.0;
};

/// How far ahead of its use a row is fetched at most, in ratings of the same lane.
inline constexpr std::ptrdiff_t kMfSgdAhead = 4;
inline constexpr std::size_t kMfSgdMostLanes = 12;

/// Elements from one item's row to the next: whole cache lines, which a kernel goes through in vectors.
constexpr std::size_t mf_row_stride(std::size_t dim) {
  const std::size_t lines = (dim + 15) / 16;
  return 16 * (lines == 5 || lines == 7 ? lines + 1 : lines);
}

/// The same computation with vectors of 4, 8 (AVX2, FMA) and 16 (AVX-512) floats. Not all are there: the compiler and
/// its target may lack some, and with sanitizers there is the first alone. mf_sgd_epoch.cpp knows which.
void mf_sgd_block_4(const MfSgdBlock& block, MfSgdErrors& errors);
void mf_sgd_block_8(const MfSgdBlock& block, MfSgdErrors& errors);
void mf_sgd_block_16(const MfSgdBlock& block, MfSgdErrors& errors);

/// Users that each kernel works on at a time. `common`: ratings are packed, and factors may be negative.
std::size_t mf_sgd_lanes_4(std::size_t dim, bool common);
std::size_t mf_sgd_lanes_8(std::size_t dim, bool common);
std::size_t mf_sgd_lanes_16(std::size_t dim, bool common);

struct MfSgdKernel {
  void (*run)(const MfSgdBlock& block, MfSgdErrors& errors);
  std::size_t (*lanes)(std::size_t dim, bool common);
};

}  // namespace curate::cpu
