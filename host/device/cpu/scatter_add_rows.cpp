#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

/// Rows that a thread of the segment variant takes at a time. Few, as a row may stand for many ratings.
constexpr std::int64_t kSegmentGrain = 64;

CURATE_SIMD_CLONES
void add_in_order(Matrix<float> grad_table, Matrix<const float> grad_rows, const std::int32_t* index,
                  std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    float* sum = grad_table.row(index[b]);
    const float* row = grad_rows.row(b);
#pragma omp simd
    for (std::int64_t k = 0; k < grad_rows.cols; ++k) {
      sum[k] += row[k];
    }
  }
}

CURATE_SIMD_CLONES
void add_segment(float* sum, Matrix<const float> grad_rows, const std::int32_t* positions, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) {
    const float* row = grad_rows.row(positions[j]);
#pragma omp simd
    for (std::int64_t k = 0; k < grad_rows.cols; ++k) {
      sum[k] += row[k];
    }
  }
}

void scatter_add_segments(ThreadPool& pool, Matrix<float> grad_table, Matrix<const float> grad_rows,
                          const SegmentsView& segments, const StepState& state) {
  if (state.batch_count == 0) {
    return;
  }
  const std::int32_t* rows = resolve<const std::int32_t>(segments.rows).data + state.batch_begin;
  const std::int32_t* starts = resolve<const std::int32_t>(segments.starts).data + state.batch_begin;
  const std::int32_t* positions = resolve<const std::int32_t>(segments.positions).data + state.batch_begin;
  const std::int64_t count = resolve<const std::int32_t>(segments.counts).data[state.batch];
  pool.parallel_for(count, kSegmentGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int64_t last = s + 1 < count ? starts[s + 1] : state.batch_count;
      add_segment(grad_table.row(rows[s]), grad_rows, positions + starts[s], last - starts[s]);
    }
  });
}

}  // namespace

void run(const ops::ScatterAddRows& operation, Context& context) {
  const StepState& state = step_state(operation.state);
  const auto grad_table = resolve<float>(operation.grad_table);
  const auto grad_rows = resolve<const float>(operation.grad_rows);
  if (operation.kind == ScatterKind::segments) {
    scatter_add_segments(context.pool, grad_table, grad_rows, operation.segments, state);
  } else {
    add_in_order(grad_table, grad_rows, ints(operation.index) + state.batch_begin, state.batch_count);
  }
}

}  // namespace curate::cpu
