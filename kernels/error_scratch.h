#pragma once

#include "device/step_state.h"

namespace curate::cuda {

/// Memory for the sums of a grid's blocks, and the number of blocks that have left theirs; for one grid at a time.
/// `arrived` is 0 between grids.
struct ErrorScratch {
  static constexpr int kMostBlocks = 2048;
  ErrorSums partial[kMostBlocks];
  unsigned arrived;
};

}  // namespace curate::cuda
