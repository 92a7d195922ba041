#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "support/thread_pool.h"

/// The operations of device/ops on host memory; formulas and shapes are documented there.
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

inline const StepState& step_state(const MatrixView& view) {
  return *static_cast<const StepState*>(view.data);
}
inline ErrorSums& error_sums(const MatrixView& view) {
  return *static_cast<ErrorSums*>(view.data);
}
inline float* floats(const MatrixView& view) {
  return static_cast<float*>(view.data);
}
inline std::int32_t* ints(const MatrixView& view) {
  return static_cast<std::int32_t*>(view.data);
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

/// What the operations of a device share. `values` and `slices` are working memory that the next operation may use
/// again.
struct Context {
  explicit Context(int threads) : pool(threads) {}

  ThreadPool pool;
  std::vector<float> values;
  std::vector<float> slices;
};

#define CURATE_DECLARE(Operation) void run(const ops::Operation& operation, Context& context);
CURATE_OPERATIONS(CURATE_DECLARE)
#undef CURATE_DECLARE

/// Bytes that these operations take at most besides the buffers of their arguments, by extents alone. Of the others
/// none are worth counting; for per-rating SGD see mf_epoch_plan.h.
std::size_t working_bytes(const ops::Permute& operation);
std::size_t working_bytes(const ops::DenseBackward& operation);

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
