#include <algorithm>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/dense.h"
#include "device/cpu/gemm.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

/// Partial sums of a layer's gradients: at most this many, so that a large batch needs little memory for them.
constexpr std::int64_t kMostSlices = 32;

/// grad = grad * activation'(z), from y = activation(z).
CURATE_SIMD_CLONES
void activation_backward(float* grad, const float* y, std::int64_t cols, const Activation& activation) {
  switch (activation.kind) {
    case ActivationKind::linear:
      break;
    case ActivationKind::relu: {
      const float low = activation.low;
#pragma omp simd
      for (std::int64_t j = 0; j < cols; ++j) {
        grad[j] = y[j] > low ? grad[j] : 0.0F;
      }
      break;
    }
    case ActivationKind::tanh:
#pragma omp simd
      for (std::int64_t j = 0; j < cols; ++j) {
        grad[j] *= 1.0F - y[j] * y[j];
      }
      break;
    case ActivationKind::sigmoid: {
      const float low = activation.low;
      const float high = activation.high;
      // A sigmoid from low to low is a constant.
      const float scale = high == low ? 0.0F : 1.0F / (high - low);
#pragma omp simd
      for (std::int64_t j = 0; j < cols; ++j) {
        grad[j] *= (y[j] - low) * (high - y[j]) * scale;
      }
      break;
    }
  }
}

CURATE_SIMD_CLONES
void add_row(float* sum, const float* row, std::int64_t cols) {
#pragma omp simd
  for (std::int64_t j = 0; j < cols; ++j) {
    sum[j] += row[j];
  }
}

/// sum += factor * row.
CURATE_SIMD_CLONES
void add_scaled_rows(float* sum, Matrix<const float> h, Matrix<const float> in, std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) {
    const float factor = *h.row(b);
    const float* row = in.row(b);
#pragma omp simd
    for (std::int64_t k = 0; k < in.cols; ++k) {
      sum[k] += factor * row[k];
    }
  }
}

CURATE_SIMD_CLONES
void outer_rows(Matrix<float> out, Matrix<const float> h, const float* weight, std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) {
    const float factor = *h.row(b);
    float* row = out.row(b);
#pragma omp simd
    for (std::int64_t k = 0; k < out.cols; ++k) {
      row[k] = factor * weight[k];
    }
  }
}

struct Slices {
  std::int64_t count = 0;
  std::int64_t floats = 0;  ///< of a slice's gradients: of the weights, then of the biases
  /// The first slice sums in place.
  std::size_t scratch() const { return static_cast<std::size_t>(std::max<std::int64_t>(0, count - 1) * floats); }
};

Slices slices_of(std::int64_t rows, std::int64_t inputs, std::int64_t outputs) {
  return {std::min((rows + kDenseRows - 1) / kDenseRows, kMostSlices), (inputs + 1) * outputs};
}

}  // namespace

std::size_t working_bytes(const ops::DenseBackward& operation) {
  const DenseBatch& batch = operation.batch;
  return slices_of(batch.out.rows, batch.in.cols, batch.out.cols).scratch() * sizeof(float);
}

void dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                    const DenseParams& params, const Activation& activation, const StepState& state, Context& context) {
  const auto h = resolve<float>(grad.out);
  const auto grad_in = resolve<float>(grad.in);
  const auto out = resolve<const float>(batch.out);
  const auto in = resolve<const float>(batch.in);
  const float* weight = resolve<const float>(params.weight).data;
  float* grad_weight = resolve<float>(grad_params.weight).data;
  float* grad_bias = resolve<float>(grad_params.bias).data;
  const Matrix<const float> h_in{h.data, h.rows, h.cols, h.ld};
  const std::int64_t weights = out.cols * in.cols;

  // The rows in slices, a slice in chunks. A slice sums its chunks' gradients; the slices are added up in order.
  const std::int64_t chunks = (state.batch_count + kDenseRows - 1) / kDenseRows;
  const Slices sliced = slices_of(state.batch_count, in.cols, out.cols);
  const std::int64_t slices = sliced.count;
  const std::int64_t slice_size = sliced.floats;
  std::vector<float>& scratch = context.slices;
  scratch.resize(sliced.scratch());
  if (slices == 0) {
    std::fill_n(grad_weight, weights, 0.0F);
    std::fill_n(grad_bias, out.cols, 0.0F);
    return;
  }
  context.pool.run(slices, [&](std::int64_t slice) {
    float* slice_weight = slice == 0 ? grad_weight : scratch.data() + (slice - 1) * slice_size;
    float* slice_bias = slice == 0 ? grad_bias : slice_weight + weights;
    std::fill_n(slice_bias, out.cols, 0.0F);
    const std::int64_t first = slice * chunks / slices;
    for (std::int64_t chunk = first; chunk < (slice + 1) * chunks / slices; ++chunk) {
      const std::int64_t begin = chunk * kDenseRows;
      const std::int64_t end = std::min(begin + kDenseRows, state.batch_count);
      for (std::int64_t b = begin; b < end; ++b) {
        activation_backward(h.row(b), out.row(b), out.cols, activation);
        add_row(slice_bias, h.row(b), out.cols);
      }
      if (out.cols == 1) {
        if (chunk == first) {
          std::fill_n(slice_weight, weights, 0.0F);
        }
        add_scaled_rows(slice_weight, h_in, in, begin, end);
        if (!grad_in.empty()) {
          outer_rows(grad_in, h_in, weight, begin, end);
        }
        continue;
      }
      gemm(slice_weight, in.cols, {h.row(begin), h.ld, true}, {in.row(begin), in.ld}, out.cols, in.cols, end - begin,
           chunk == first ? 0.0F : 1.0F);
      if (!grad_in.empty()) {
        gemm(grad_in.row(begin), grad_in.ld, {h.row(begin), h.ld}, {weight, in.cols}, end - begin, in.cols, out.cols,
             0.0F);
      }
    }
  });
  for (std::int64_t slice = 1; slice < slices; ++slice) {
    const float* sums = scratch.data() + (slice - 1) * slice_size;
    add_row(grad_weight, sums, weights);
    add_row(grad_bias, sums + weights, out.cols);
  }
}

void run(const ops::DenseBackward& operation, Context& context) {
  dense_backward(operation.grad, operation.grad_params, operation.batch, operation.params, operation.activation,
                 step_state(operation.state), context);
}

}  // namespace curate::cpu
