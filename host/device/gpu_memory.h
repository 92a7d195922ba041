#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "curate/kinds.h"
#include "device/ops/dense.h"
#include "device/ops/mf.h"
#include "device/row_padding.h"
#include "device/step_state.h"

/// What the CUDA engine takes of a GPU besides the buffers that its callers allocate, by counts and options alone. The
/// engine allocates by it, and memory is planned by it; it is here so that builds without CUDA plan for GPUs too.
namespace curate::gpu_memory {

/// For partial sums, 16 MiB: eight slices of a layer of 512 x 1024, and more of smaller ones.
inline constexpr std::size_t kScratchFloats = std::size_t{4} << 20U;
/// Blocks of a grid that leave sums of errors, and the count of those that have.
inline constexpr std::size_t kErrorBlocks = 2048;
inline constexpr std::size_t kErrorScratchBytes = (kErrorBlocks + 1) * sizeof(ErrorSums);
/// For one library of NVIDIA, at most: its advice for Hopper and later.
inline constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20U;

/// What sort_pairs() takes for pairs of 64 and 32 bits: a second copy of them, and counts of digits. CUB says how much
/// when it is asked, which needs a GPU: an estimate from above.
constexpr std::size_t sort_bytes(std::int64_t count) {
  return static_cast<std::size_t>(12 * count + count / 4) + (std::size_t{1} << 18U);
}

/// Keys before and after the sort, and elements.
constexpr std::size_t permute_bytes(std::int64_t count) {
  return static_cast<std::size_t>(20 * count) + sort_bytes(count);
}

/// Keys before and after the sort, positions, ranks.
constexpr std::size_t segments_bytes(std::int64_t count) {
  return static_cast<std::size_t>(24 * count) + sort_bytes(count);
}

/// Keys before and after the sort, numbers and order of the pieces of a plan.
constexpr std::size_t piece_order_bytes(std::int64_t pieces) {
  return static_cast<std::size_t>(24 * pieces) + sort_bytes(pieces);
}

// ---- Plans of per-rating SGD

/// Groups of users, and of items, of a deterministic plan; a block's number has 16 bits in a key.
inline constexpr std::int32_t kMostPlanBlocks = 256;
/// Items that have a place in a packed rating.
inline constexpr std::int64_t kMostPackedItems = std::int64_t{1} << 23U;
inline constexpr std::int64_t kPackedBytes = 4;
inline constexpr std::int64_t kWideBytes = 8;
inline constexpr std::int64_t kPieceBytes = 16;

/// Ratings of a piece of a user, at most.
constexpr std::int32_t piece_split(const MfKernelOptions& kernel) {
  constexpr std::int32_t kDefaultSplit = 2048;
  constexpr std::int32_t kLeastSplit = 16;
  return kernel.split == 0 ? kDefaultSplit : std::max(kernel.split, kLeastSplit);
}

/// Groups of users and of items for a deterministic plan: enough to keep a GPU busy, few enough that their blocks have
/// some hundred ratings and the most popular item does not make its group's the last of every round.
inline std::int32_t plan_blocks(std::int64_t ratings, std::int64_t users, std::int64_t items,
                                const MfPlanOptions& options) {
  if (options.blocks > 0) {
    return std::min(options.blocks, kMostPlanBlocks);
  }
  constexpr double kRatings = 64.0;
  const auto by_ratings = static_cast<std::int64_t>(std::sqrt(static_cast<double>(ratings) / kRatings));
  return static_cast<std::int32_t>(
      std::max<std::int64_t>(1, std::min<std::int64_t>({kMostPlanBlocks, by_ratings, users, items})));
}

/// Bytes of the buffers that a plan keeps, and of what it takes besides while it is made.
struct PlanBytes {
  std::size_t ratings = 0;
  std::size_t user_counts = 0;
  std::size_t item_counts = 0;
  // Of plain plans:
  std::size_t pieces = 0;
  std::size_t hot_slots = 0;
  std::size_t hot_list = 0;
  // Of deterministic ones:
  std::size_t block_starts = 0;
  std::size_t rating_users = 0;
  std::size_t making = 0;
};

inline std::size_t rating_bytes(std::int64_t ratings, bool packed) {
  return static_cast<std::size_t>(ratings * (packed ? kPackedBytes : kWideBytes));
}

inline PlanBytes plan_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items,
                            const MfPlanOptions& options) {
  const auto of_ints = [](std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(std::int32_t); };
  PlanBytes bytes;
  bytes.user_counts = of_ints(users);
  bytes.item_counts = of_ints(items);
  if (ratings == 0) {
    return bytes;
  }
  bytes.ratings = rating_bytes(ratings, options.grid_step > 0.0F && items <= kMostPackedItems);
  bytes.making = static_cast<std::size_t>(24 * ratings) + sort_bytes(ratings);
  if (options.deterministic) {
    const std::int64_t blocks = plan_blocks(ratings, users, items, options);
    bytes.block_starts = of_ints(blocks * blocks + 1);
    bytes.rating_users = of_ints(ratings);
    bytes.making += of_ints(2 * users + items);
    return bytes;
  }
  // Users that have ratings, and once more for every whole piece's worth of ratings.
  const std::int64_t cuts = options.blocks == 1 ? 0 : ratings / piece_split(options.kernel);
  bytes.pieces = static_cast<std::size_t>((std::min(ratings, users) + cuts) * kPieceBytes);
  if (options.kernel.hot_items > 0) {
    bytes.hot_slots = of_ints(items);
    bytes.hot_list = of_ints(std::min<std::int64_t>(options.kernel.hot_items, items));
  }
  return bytes;
}

// ---- Dense layers

/// Which layers are for a library. Narrower ones are bound by memory or by launches, not by arithmetic, and a short
/// batch leaves most of a GPU idle either way: the tiled kernels take those with fewer launches, do no work past the
/// batch's count, and need no library to be loaded. The numbers are estimates: no GPU has measured them yet.
constexpr bool is_wide(const DenseSize& size) {
  constexpr std::int64_t kNarrowest = 64;
  constexpr std::int64_t kShortest = 512;
  return size.batch >= kShortest && size.inputs >= kNarrowest && size.outputs >= kNarrowest;
}

/// The same, and whether its rows begin where a library may load 16 bytes at once.
constexpr bool suits_library(const DenseSize& size) {
  constexpr std::int64_t kFloats = 4;
  return is_wide(size) && size.inputs % kFloats == 0 && size.outputs % kFloats == 0;
}

/// bf16 elements to a row, so that all rows begin at multiples of 16 bytes.
constexpr std::int64_t bf16_ld(std::int64_t cols) {
  return padded_columns(cols, 2);
}

/// bf16 elements of a layer's operands: what goes in, the gradient of what comes out, weights.
constexpr std::int64_t rounded_elements(const DenseSize& size) {
  return size.batch * (bf16_ld(size.inputs) + bf16_ld(size.outputs)) + size.outputs * bf16_ld(size.inputs);
}

/// What the largest of a layer's three products takes while it is tried, at most: its operands and its result.
constexpr std::size_t trial_bytes(const DenseSize& size) {
  constexpr std::int64_t kAround = std::int64_t{8} << 10U;
  const std::int64_t floats = size.batch * (bf16_ld(size.inputs) + bf16_ld(size.outputs)) +
                              size.outputs * bf16_ld(size.inputs) + std::max(size.inputs, size.outputs);
  return static_cast<std::size_t>(floats) * sizeof(float) + static_cast<std::size_t>(kAround);
}

}  // namespace curate::gpu_memory
