#pragma once

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "support/thread_pool.h"

/// The operations of device.h on host memory; formulas and shapes are documented there.
namespace curate::cpu {

/// A view resolved to a host address.
template <typename T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t ld = 0;

  T* row(std::int64_t r) const { return data + r * ld; }
  T* row_or_null(std::int64_t r) const { return empty() ? nullptr : row(r); }
  bool empty() const { return rows == 0; }
};

template <typename T>
Matrix<T> resolve(const MatrixView& view) {
  return {static_cast<T*>(view.data), view.rows, view.cols, view.ld};
}

/// Rows to a piece of work of some 16,000 elements: below that a second thread does not pay.
inline std::int64_t row_grain(std::int64_t cols) {
  return cols >= 16384 ? 1 : 16384 / (cols < 1 ? 1 : cols);
}

/// NaN passes through, so that a diverged model is seen.
inline float clamp_to(float value, ClipRange clip) {
  value = value < clip.min ? clip.min : value;
  return value > clip.max ? clip.max : value;
}

/// Adds up sums made piece by piece, in the order of the pieces, so that no thread count changes a digit.
inline void add_pieces(ErrorSums& sums, const std::vector<ErrorSums>& pieces) {
  for (const ErrorSums& piece : pieces) {
    add_errors(sums, piece);
  }
}

void permute(ThreadPool& pool, const RatingsView& out, std::int32_t* order, const RatingsView& in,
             const StepState& state);
void build_segments(ThreadPool& pool, const SegmentsView& out, const std::int32_t* index, const StepState& state);
void gather_rows(ThreadPool& pool, Matrix<float> out, Matrix<const float> table, const std::int32_t* index,
                 const StepState& state);
/// BagsView on the host.
struct Bags {
  const std::int32_t* starts = nullptr;
  const std::int32_t* rows = nullptr;
};
void bag_rows(ThreadPool& pool, Matrix<float> out, Matrix<const float> table, const Bags& bags,
              const std::int32_t* index, BagKind kind, const StepState& state, bool add);
void bag_rows_backward(ThreadPool& pool, Matrix<float> grad_table, Matrix<const float> grad_rows, const Bags& bags,
                       const std::int32_t* index, BagKind kind, const StepState& state);
void dot_rows(ThreadPool& pool, float* prediction, const MfRows& rows, const StepState& state);
void dot_rows_backward(ThreadPool& pool, const MfRows& grad, const float* grad_prediction, const MfRows& rows, float l2,
                       const StepState& state);
void rating_loss(ThreadPool& pool, float* grad, ErrorSums& sums, const float* prediction, const float* ratings,
                 LossKind kind, const StepState& state);
void scatter_add_rows(ThreadPool& pool, Matrix<float> grad_table, Matrix<const float> grad_rows,
                      const std::int32_t* index, const StepState& state);
void scatter_add_segments(ThreadPool& pool, Matrix<float> grad_table, Matrix<const float> grad_rows,
                          const SegmentsView& segments, const StepState& state);
void update_rows(ThreadPool& pool, const TrainedTable& table, const SegmentsView& segments,
                 const OptimizerParams& params, const StepState& state);
void add_l2_rows(ThreadPool& pool, Matrix<float> grad_rows, Matrix<const float> table, const std::int32_t* index,
                 float l2, const StepState& state);
void update_dense(ThreadPool& pool, const TrainedTable& table, const OptimizerParams& params, const StepState& state);
void dense_forward(ThreadPool& pool, const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                   const StepState& state);
/// `scratch` is working memory that the next call may use again.
void dense_backward(ThreadPool& pool, std::vector<float>& scratch, const DenseBatch& grad,
                    const DenseParams& grad_params, const DenseBatch& batch, const DenseParams& params,
                    const Activation& activation, const StepState& state);
/// `memory` and `scratch` are working memory that the next call may use again.
void dense_stack_forward(ThreadPool& pool, std::vector<float>& memory, const MatrixView& out, const MatrixView& in,
                         const DenseStack& stack, const StepState& state);
struct DenseStackScratch {
  std::vector<float> values;
  std::vector<float> sums;
};
void dense_stack_backward(ThreadPool& pool, DenseStackScratch& scratch, const DenseBatch& grad,
                          const std::vector<DenseParams>& grad_params, const MatrixView& in, const DenseStack& stack,
                          const StepState& state);
void dropout(ThreadPool& pool, Matrix<float> rows, const DropoutParams& params, const StepState& state);
void rating_errors(ThreadPool& pool, ErrorSums& sums, const float* prediction, const float* ratings, ClipRange clip,
                   const StepState& state);
void sum_squared_error(ThreadPool& pool, ErrorSums& sums, const MfTables& tables, const RatingsView& ratings,
                       ClipRange clip);

// One row on the caller's thread, without a pool and without memory from the heap.

/// <user, item>, to the bit as dot_rows has it.
float dot_row(const float* user, const float* item, std::int64_t dim);
/// out[table.cols] = the mean of `count` rows of a table, to the bit as bag_rows has it.
void mean_row(float* out, Matrix<const float> table, const std::int32_t* rows, std::int64_t count);
/// out[outputs] = activation(weight in + bias), weight [outputs, inputs]. Products of many rows are summed in another
/// order: of dense_forward it differs by the rounding of f32.
void dense_row(float* out, const float* in, Matrix<const float> weight, const float* bias,
               const Activation& activation);

}  // namespace curate::cpu
