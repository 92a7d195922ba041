#include "kernels/context.h"

#include <algorithm>

#include "kernels/optimizer_step.cuh"
#include "kernels/segments.cuh"
#include "kernels/shared_memory.cuh"

namespace curate::cuda {
namespace {

// For sm_120 the compiler keeps to 48 registers, of which adagrad spills some. Four blocks of a multiprocessor
// admit 64.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
#define CURATE_UPDATE_BOUNDS __launch_bounds__(kBlockThreads, 4)
#else
#define CURATE_UPDATE_BOUNDS __launch_bounds__(kBlockThreads)
#endif

/// step_constants(), whose doubles are worked out once a block. All threads of the block must call it.
template <OptimizerKind kKind>
__device__ StepConstants block_constants(const OptimizerParams& params, const StepState& state) {
  CURATE_SHARED(StepConstants, constants, 1);
  if (threadIdx.x == 0) {
    constants[0] = step_constants<kKind>(params, state);
  }
  __syncthreads();
  const StepConstants step = constants[0];
  return step;
}

/// One optimizer step on the rows of the batch's segments, whose gradient becomes 0; formulas at ops::UpdateRows.
/// Weights [rows, cols] of T; gradient, moments [rows, cols] f32, moments maybe absent. A group of lanes takes a row,
/// in strides of the grid. Per touched row 12 cols (sgd), 20 cols (adagrad) or 28 cols (adam) bytes, 4 cols less with
/// weights of 16 bits. Deterministic.
template <typename T, OptimizerKind kKind, int kVector>
__global__ void CURATE_UPDATE_BOUNDS update_rows_kernel(Trained<T> table, Segments segments, OptimizerParams params,
                                                        RowShare share, const StepState* state) {
  const StepConstants step = block_constants<kKind>(params, *state);
  const std::int64_t thread = global_thread();
  const std::int64_t count = segments.count(*state);
  for (std::int64_t s = share.row(thread); s < count; s += share.row(grid_threads())) {
    const std::int64_t r = segments.rows[state->batch_begin + s];
    share.visit<kVector>(
        share.lane(thread), [&](std::int64_t c) { update_pack<kKind, kVector>(table, r, c, params, step, *state); },
        [&](std::int64_t c) { update_pack<kKind, 1>(table, r, c, params, step, *state); });
  }
}

/// The same step on all rows; nothing if the batch has no rating. Extents, sharing and bytes as above.
template <typename T, OptimizerKind kKind, int kVector>
__global__ void CURATE_UPDATE_BOUNDS update_dense_kernel(Trained<T> table, std::int64_t rows, OptimizerParams params,
                                                         RowShare share, const StepState* state) {
  const StepConstants step = block_constants<kKind>(params, *state);
  const std::int64_t thread = global_thread();
  const std::int64_t count = state->batch_count == 0 ? 0 : rows;
  for (std::int64_t r = share.row(thread); r < count; r += share.row(grid_threads())) {
    share.visit<kVector>(
        share.lane(thread), [&](std::int64_t c) { update_pack<kKind, kVector>(table, r, c, params, step, *state); },
        [&](std::int64_t c) { update_pack<kKind, 1>(table, r, c, params, step, *state); });
  }
}

/// Enough to fill the largest device several times over, few enough that their constants cost nothing.
constexpr std::int64_t kMostUpdateBlocks = 4096;

Geometry geometry(std::int64_t rows, const RowShare& share) {
  Geometry all = geometry_for_rows(rows, share);
  all.blocks = std::min(all.blocks, kMostUpdateBlocks);
  return all;
}

template <OptimizerKind kKind>
void launch_update_rows(cudaStream_t stream, const TrainedTable& table, const SegmentsView& segments,
                        const OptimizerParams& params, const MatrixView& state) {
  const int vector =
      vector_width(table.weights.cols, table.weights, table.gradient, table.first_moment, table.second_moment);
  const RowShare share = share_rows(table.weights.cols, vector);
  with_element(table.weights.dtype, [&](auto element) {
    using T = decltype(element);
    launch("update_rows", stream, geometry(std::min(table.weights.rows, segments.rows.rows), share),
           vector == 4 ? update_rows_kernel<T, kKind, 4> : update_rows_kernel<T, kKind, 1>, trained_of<T>(table),
           segments_of(segments), params, share, pointer_of<const StepState>(state));
  });
}

template <OptimizerKind kKind>
void launch_update_dense(cudaStream_t stream, const TrainedTable& table, const OptimizerParams& params,
                         const MatrixView& state) {
  const int vector =
      vector_width(table.weights.cols, table.weights, table.gradient, table.first_moment, table.second_moment);
  const RowShare share = share_rows(table.weights.cols, vector);
  with_element(table.weights.dtype, [&](auto element) {
    using T = decltype(element);
    launch("update_dense", stream, geometry(table.weights.rows, share),
           vector == 4 ? update_dense_kernel<T, kKind, 4> : update_dense_kernel<T, kKind, 1>, trained_of<T>(table),
           table.weights.rows, params, share, pointer_of<const StepState>(state));
  });
}

}  // namespace

void enqueue(const ops::UpdateRows& operation, const Context& context) {
  switch (operation.params.kind) {
    case OptimizerKind::sgd:
      return launch_update_rows<OptimizerKind::sgd>(context.stream, operation.table, operation.segments,
                                                    operation.params, operation.state);
    case OptimizerKind::adagrad:
      return launch_update_rows<OptimizerKind::adagrad>(context.stream, operation.table, operation.segments,
                                                        operation.params, operation.state);
    case OptimizerKind::adam:
      return launch_update_rows<OptimizerKind::adam>(context.stream, operation.table, operation.segments,
                                                     operation.params, operation.state);
  }
}

void enqueue(const ops::UpdateDense& operation, const Context& context) {
  switch (operation.params.kind) {
    case OptimizerKind::sgd:
      return launch_update_dense<OptimizerKind::sgd>(context.stream, operation.table, operation.params,
                                                     operation.state);
    case OptimizerKind::adagrad:
      return launch_update_dense<OptimizerKind::adagrad>(context.stream, operation.table, operation.params,
                                                         operation.state);
    case OptimizerKind::adam:
      return launch_update_dense<OptimizerKind::adam>(context.stream, operation.table, operation.params,
                                                      operation.state);
  }
}

}  // namespace curate::cuda
