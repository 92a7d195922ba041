#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

CURATE_SIMD_CLONES
void dot_range(float* prediction, Matrix<const float> user, Matrix<const float> item, std::int64_t begin,
               std::int64_t end) {
  const std::int64_t dim = user.cols;
  for (std::int64_t b = begin; b < end; ++b) {
    const float* p = user.row(b);
    const float* q = item.row(b);
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < dim; ++k) {
      sum += p[k] * q[k];
    }
    prediction[b] = sum;
  }
}

CURATE_SIMD_CLONES
void backward_range(Matrix<float> grad_user, Matrix<float> grad_item, const float* grad_prediction,
                    Matrix<const float> user, Matrix<const float> item, float decay, std::int64_t begin,
                    std::int64_t end) {
  const std::int64_t dim = user.cols;
  for (std::int64_t b = begin; b < end; ++b) {
    const float* p = user.row(b);
    const float* q = item.row(b);
    float* grad_p = grad_user.row(b);
    float* grad_q = grad_item.row(b);
    const float g = grad_prediction[b];
#pragma omp simd
    for (std::int64_t k = 0; k < dim; ++k) {
      grad_p[k] = g * q[k] + decay * p[k];
      grad_q[k] = g * p[k] + decay * q[k];
    }
  }
}

void bias_backward(Matrix<float> grad, const float* grad_prediction, Matrix<const float> bias, float decay,
                   std::int64_t begin, std::int64_t end) {
  for (std::int64_t b = begin; b < end; ++b) {
    *grad.row(b) = grad_prediction[b] + decay * *bias.row(b);
  }
}

}  // namespace

void run(const ops::DotRows& operation, Context& context) {
  const MfRows& rows = operation.rows;
  float* prediction = floats(operation.prediction);
  const auto user = resolve<const float>(rows.user);
  const auto item = resolve<const float>(rows.item);
  const auto user_bias = resolve<const float>(rows.user_bias);
  const auto item_bias = resolve<const float>(rows.item_bias);
  const float mean = *resolve<const float>(rows.mean).data;
  context.pool.parallel_for(step_state(operation.state).batch_count, row_grain(user.cols),
                            [&](std::int64_t begin, std::int64_t end) {
                              dot_range(prediction, user, item, begin, end);
                              for (std::int64_t b = begin; b < end; ++b) {
                                float base = mean;
                                base += user_bias.empty() ? 0.0F : *user_bias.row(b);
                                base += item_bias.empty() ? 0.0F : *item_bias.row(b);
                                prediction[b] += base;
                              }
                            });
}

float dot_row(const float* user, const float* item, std::int64_t dim) {
  float sum = 0.0F;
  dot_range(&sum, {user, 1, dim, dim}, {item, 1, dim, dim}, 0, 1);
  return sum;
}

void run(const ops::DotRowsBackward& operation, Context& context) {
  const MfRows& grad = operation.grad;
  const MfRows& rows = operation.rows;
  const float* grad_prediction = floats(operation.grad_prediction);
  const StepState& state = step_state(operation.state);
  if (state.batch_count == 0) {
    return;
  }
  const float decay = 2.0F * operation.l2 / static_cast<float>(state.batch_count);
  context.pool.parallel_for(state.batch_count, row_grain(rows.user.cols), [&](std::int64_t begin, std::int64_t end) {
    backward_range(resolve<float>(grad.user), resolve<float>(grad.item), grad_prediction,
                   resolve<const float>(rows.user), resolve<const float>(rows.item), decay, begin, end);
    if (!grad.user_bias.empty()) {
      bias_backward(resolve<float>(grad.user_bias), grad_prediction, resolve<const float>(rows.user_bias), decay, begin,
                    end);
    }
    if (!grad.item_bias.empty()) {
      bias_backward(resolve<float>(grad.item_bias), grad_prediction, resolve<const float>(rows.item_bias), decay, begin,
                    end);
    }
  });
}

}  // namespace curate::cpu
