#pragma once

#include "device/gpu_memory.h"
#include "device/step_state.h"

namespace curate::cuda {

/// Memory for the sums of a grid's blocks, and the number of blocks that have left theirs; for one grid at a time.
/// `arrived` is 0 between grids.
struct ErrorScratch {
  static constexpr int kMostBlocks = static_cast<int>(gpu_memory::kErrorBlocks);
  ErrorSums partial[kMostBlocks];
  unsigned arrived;
};
static_assert(sizeof(ErrorScratch) <= gpu_memory::kErrorScratchBytes);

}  // namespace curate::cuda
