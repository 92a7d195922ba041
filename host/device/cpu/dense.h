#pragma once

#include <algorithm>
#include <cstdint>

/// What dense_forward and dense_backward share.
namespace curate::cpu {

/// Rows that go through a layer together, few enough to stay in a core's L2 cache for layers of common widths. Fixed,
/// so that a matrix product has the same shapes, and the same bits, for any number of threads.
constexpr std::int64_t kDenseRows = 256;

}  // namespace curate::cpu
