#include "kernels/context.h"
#include "kernels/step_state.h"

#include "kernels/rows.cuh"

static_assert(__cplusplus >= 202002L, "the build has lost -std=c++20");

namespace curate::cuda {
namespace {

/// *state = the first batch of an epoch. One thread.
__global__ void begin_epoch_kernel(StepState* state, EpochStart start) {
  start_epoch(*state, start);
}

/// *state = the next batch. One thread.
__global__ void advance_step_kernel(StepState* state) {
  advance(*state);
}

}  // namespace

void enqueue(const ops::BeginEpoch& operation, const Context& context) {
  launch("begin_epoch", context.stream, {1, 1}, begin_epoch_kernel, pointer_of<StepState>(operation.state),
         operation.start);
}

void enqueue(const ops::AdvanceStep& operation, const Context& context) {
  launch("advance_step", context.stream, {1, 1}, advance_step_kernel, pointer_of<StepState>(operation.state));
}

KernelCode code_of_kernels() {
  cudaFuncAttributes attributes{};
  CURATE_CUDA_CHECK(cudaFuncGetAttributes(&attributes, begin_epoch_kernel));
  return {attributes.binaryVersion, attributes.ptxVersion};
}

std::vector<int> built_architectures() {
#if defined(__CUDA_ARCH_LIST__)
  std::vector<int> architectures = {__CUDA_ARCH_LIST__};
  for (int& architecture : architectures) {
    architecture /= 10;
  }
  return architectures;
#else
  return {90};  // what the emulated GPU is like
#endif
}

}  // namespace curate::cuda
