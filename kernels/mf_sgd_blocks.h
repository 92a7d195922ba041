#pragma once

#include <cuda_runtime.h>

#include "device/device.h"
#include "kernels/error_scratch.h"
#include "kernels/mf_epoch_plan.h"

namespace curate::cuda {

/// ops::MfSgdEpoch of a deterministic plan.
void mf_sgd_blocks(cudaStream_t stream, const MfTables& tables, const MatrixView& sums, const CudaMfEpochPlan& plan,
                   const MfSgdParams& params, const MatrixView& state, ErrorScratch* scratch);

}  // namespace curate::cuda
