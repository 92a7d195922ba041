#include <algorithm>
#include <cmath>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/dense.h"
#include "device/cpu/gemm.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

CURATE_SIMD_CLONES
void fill_bias(Matrix<float> out, const float* bias, std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) {
    std::copy_n(bias, out.cols, out.row(b));
  }
}

/// A layer of one output: a dot product per row.
CURATE_SIMD_CLONES
void forward_one(Matrix<float> out, Matrix<const float> in, const float* weight, float bias, std::int64_t begin,
                 std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) {
    const float* x = in.row(b);
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < in.cols; ++k) {
      sum += x[k] * weight[k];
    }
    *out.row(b) = sum + bias;
  }
}

/// Every output as forward_one has it.
CURATE_SIMD_CLONES
void forward_each(float* out, const float* in, Matrix<const float> weight, const float* bias) {
  for (std::int64_t j = 0; j < weight.rows; ++j) {
    const float* w = weight.row(j);
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < weight.cols; ++k) {
      sum += in[k] * w[k];
    }
    out[j] = sum + bias[j];
  }
}

CURATE_SIMD_CLONES
void relu(float* row, std::int64_t cols, float low) {
#pragma omp simd
  for (std::int64_t j = 0; j < cols; ++j) {
    // NaN stays.
    row[j] = row[j] < low ? low : row[j];
  }
}

void activate(Matrix<float> out, const Activation& activation, std::int64_t begin, std::int64_t end) {
  if (activation.kind == ActivationKind::linear) {
    return;
  }
  for (std::int64_t b = begin; b < end; ++b) {
    float* row = out.row(b);
    switch (activation.kind) {
      case ActivationKind::linear:
        break;
      case ActivationKind::relu:
        relu(row, out.cols, activation.low);
        break;
      case ActivationKind::tanh:
        std::transform(row, row + out.cols, row, [](float z) { return std::tanh(z); });
        break;
      case ActivationKind::sigmoid: {
        const float width = activation.high - activation.low;
        std::transform(row, row + out.cols, row,
                       [&](float z) { return activation.low + width / (1.0F + std::exp(-z)); });
        break;
      }
    }
  }
}

}  // namespace

void dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                   const StepState& state, Context& context) {
  const auto out = resolve<float>(batch.out);
  const auto in = resolve<const float>(batch.in);
  const auto weight = resolve<const float>(params.weight);
  const float* bias = resolve<const float>(params.bias).data;
  context.pool.parallel_for(state.batch_count, kDenseRows, [&](std::int64_t begin, std::int64_t end) {
    if (out.cols == 1) {
      forward_one(out, in, weight.data, *bias, begin, end);
    } else {
      fill_bias(out, bias, begin, end);
      gemm(out.row(begin), out.ld, {in.row(begin), in.ld}, {weight.data, weight.cols, true}, end - begin, out.cols,
           in.cols, 1.0F);
    }
    activate(out, activation, begin, end);
  });
}

void run(const ops::DenseForward& operation, Context& context) {
  dense_forward(operation.batch, operation.params, operation.activation, step_state(operation.state), context);
}

void dense_row(float* out, const float* in, Matrix<const float> weight, const float* bias,
               const Activation& activation) {
  forward_each(out, in, weight, bias);
  activate({out, 1, weight.rows, weight.rows}, activation, 0, 1);
}

}  // namespace curate::cpu
