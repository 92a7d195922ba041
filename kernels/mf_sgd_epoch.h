#pragma once

#include <cuda_runtime.h>

#include "device/device.h"

namespace curate::cuda {

class CudaMfEpochPlan;
struct ErrorScratch;

/// ops::MfSgdEpoch. Not deterministic, unless there is one worker only: item rows are updated by atomic additions
/// of what each worker makes of the row that it has read. `most_blocks` of 256 threads work side by side. Takes 24
/// bytes a user while it runs.
void mf_sgd_epoch(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                  const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch, std::int64_t most_blocks);

}  // namespace curate::cuda
