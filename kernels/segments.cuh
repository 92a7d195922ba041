#pragma once

#include <cuda_runtime.h>

#include "kernels/rows.cuh"

namespace curate::cuda {

/// SegmentsView as kernels take it.
struct Segments {
  const std::int32_t* rows;
  const std::int32_t* starts;
  const std::int32_t* positions;
  const std::int32_t* counts;

  /// Segments of the state's batch; past the end of the epoch there is none, nor a count to read.
  __device__ std::int64_t count(const StepState& state) const {
    return state.batch_count == 0 ? 0 : counts[state.batch];
  }
};

inline Segments segments_of(const SegmentsView& view) {
  return {pointer_of<const std::int32_t>(view.rows), pointer_of<const std::int32_t>(view.starts),
          pointer_of<const std::int32_t>(view.positions), pointer_of<const std::int32_t>(view.counts)};
}

}  // namespace curate::cuda
