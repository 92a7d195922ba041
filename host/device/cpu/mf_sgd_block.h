#pragma once

#include <cstddef>
#include <cstdint>

/// What the kernels of mf_sgd_epoch share with their caller. They are compiled for several instruction sets, so nothing
/// here may have code that the linker could take from one of them for all: plain data and declarations only.
namespace curate::cpu {

/// A rating of a plan in four bytes: the item in the upper 24 bits, below it the rating's place on its grid.
struct PackedRating {
  std::uint32_t bits;
};

/// A rating that has no place on a grid, or whose item has no place in 24 bits.
struct WideRating {
  std::int32_t item;
  float rating;
};

/// Ratings of a block of users and items: runs of one user each, one after the other.
struct MfSgdBlock {
  const void* ratings = nullptr;            ///< PackedRating or WideRating, kMfSgdAhead more on either side
  const std::int32_t* users = nullptr;      ///< [runs]
  const std::uint32_t* run_ends = nullptr;  ///< [runs] end of each run in `ratings`
  const std::uint32_t* order = nullptr;     ///< [runs] the order to take runs in
  std::uint32_t runs = 0;
  bool backward = false;  ///< the ratings of a run from its end
  bool packed = true;
  bool non_negative = false;
  float grid_start = 0.0F;  ///< packed: rating = grid_start + grid_step * place
  float grid_step = 0.0F;
  float* user = nullptr;  ///< rows of `dim`, `user_ld` apart
  float* item = nullptr;
  float* user_bias = nullptr;  ///< or null
  float* item_bias = nullptr;  ///< or null
  std::size_t user_ld = 0;
  std::size_t item_ld = 0;
  std::size_t user_bias_ld = 0;
  std::size_t item_bias_ld = 0;
  std::size_t dim = 0;
  float mean = 0.0F;
  float learning_rate = 0.0F;
  float reg = 0.0F;
};

/// Sums over the ratings of a block, of errors before each update.
struct MfSgdErrors {
  double squared = 0.0;
  double absolute = 0.0;
  double absolute_whole_stars = 0.0;
};

/// How far ahead of its use a row is fetched, in ratings of the same lane.
inline constexpr std::ptrdiff_t kMfSgdAhead = 4;

using MfSgdKernel = void (*)(const MfSgdBlock& block, MfSgdErrors& errors);

/// The same computation with vectors of 4, 8 (AVX2, FMA) and 16 (AVX-512) floats. Those that the compiler or the
/// machine that it compiles for cannot have are not there: mf_sgd_epoch.cpp knows.
void mf_sgd_block_4(const MfSgdBlock& block, MfSgdErrors& errors);
void mf_sgd_block_8(const MfSgdBlock& block, MfSgdErrors& errors);
void mf_sgd_block_16(const MfSgdBlock& block, MfSgdErrors& errors);

}  // namespace curate::cpu
