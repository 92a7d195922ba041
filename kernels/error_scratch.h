#pragma once

#include "device/step_state.h"

namespace curate::cuda {

/// Where the blocks of a grid leave their sums, and how many have; for one grid at a time. `arrived` is 0 between
/// grids.
struct ErrorScratch {
  static constexpr int kMostBlocks = 2048;
  ErrorSums partial[kMostBlocks];
  unsigned arrived;
};

}  // namespace curate::cuda
