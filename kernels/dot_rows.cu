#include "kernels/context.h"

#include "kernels/mf_rows.cuh"
#include "kernels/warp_reduce.cuh"

namespace curate::cuda {
namespace {

/// prediction[b] = *mean + user_bias[b] + item_bias[b] + <user[b, :], item[b, :]> for b < batch_count.
/// prediction [batch] f32; user, item [batch, dim] f32; biases [batch] f32 or absent; mean [1] f32. A group of n lanes
/// takes a rating, each lane every n-th pack, and shuffles add up. Per rating 8 dim + 12 bytes, 2 dim flops.
/// Deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    dot_rows_kernel(float* prediction, Factors<const float> rows, const float* mean, RowShare share,
                    const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  const std::int64_t lane = share.lane(thread);
  const bool in_batch = b < state->batch_count;
  float sum = in_batch ? partial_dot<kVector>(rows.user.row(b), rows.item.row(b), share, lane) : 0.0F;
  sum = group_sum(sum, share.lane_bits);
  if (in_batch && lane == 0) {
    prediction[b] = sum + base_of(rows, mean, b, b);
  }
}

/// With g = grad_prediction[b], c = 2 l2 / batch_count: grad.user[b, :] = g item[b, :] + c user[b, :], grad.item[b, :]
/// = g user[b, :] + c item[b, :], grad biases = g + c bias, for b < batch_count.
/// grad.user, grad.item, user, item [batch, dim] f32; grad_prediction and biases [batch] f32, biases maybe absent.
/// Neighbouring threads take neighbouring packs. Per rating 16 dim + 20 bytes, 6 dim flops. Deterministic.
template <int kVector>
__global__ void __launch_bounds__(kBlockThreads)
    dot_rows_backward_kernel(Factors<float> grad, const float* grad_prediction, Factors<const float> rows,
                             float l2_twice, RowShare share, const StepState* state) {
  const std::int64_t thread = global_thread();
  const std::int64_t b = share.row(thread);
  if (b >= state->batch_count) {
    return;
  }
  const std::int64_t lane = share.lane(thread);
  const float g = grad_prediction[b];
  const float decay = l2_twice / static_cast<float>(state->batch_count);
  const float* const p = rows.user.row(b);
  const float* const q = rows.item.row(b);
  float* const grad_p = grad.user.row(b);
  float* const grad_q = grad.item.row(b);
  share.visit<kVector>(
      lane,
      [&](std::int64_t c) {
        const auto user = Pack<kVector>::load(p + c);
        const auto item = Pack<kVector>::load(q + c);
        Pack<kVector> grad_user;
        Pack<kVector> grad_item;
        for (int i = 0; i < kVector; ++i) {
          grad_user.value[i] = g * item.value[i] + decay * user.value[i];
          grad_item.value[i] = g * user.value[i] + decay * item.value[i];
        }
        grad_user.store(grad_p + c);
        grad_item.store(grad_q + c);
      },
      [&](std::int64_t c) {
        grad_p[c] = g * q[c] + decay * p[c];
        grad_q[c] = g * p[c] + decay * q[c];
      });
  if (lane == 0) {
    if (grad.user_bias.data != nullptr) {
      *grad.user_bias.row(b) = g + decay * *rows.user_bias.row(b);
    }
    if (grad.item_bias.data != nullptr) {
      *grad.item_bias.row(b) = g + decay * *rows.item_bias.row(b);
    }
  }
}

}  // namespace

void enqueue(const ops::DotRows& operation, const Context& context) {
  const int vector = vector_width(operation.rows.user.cols, operation.rows.user, operation.rows.item);
  const RowShare share = share_rows(operation.rows.user.cols, vector);
  launch("dot_rows", context.stream, geometry_for_rows(operation.prediction.rows, share),
         vector == 4 ? dot_rows_kernel<4> : dot_rows_kernel<1>, pointer_of<float>(operation.prediction),
         factors_of<const float>(operation.rows), pointer_of<const float>(operation.rows.mean), share,
         pointer_of<const StepState>(operation.state));
}

void enqueue(const ops::DotRowsBackward& operation, const Context& context) {
  const int vector = vector_width(operation.rows.user.cols, operation.rows.user, operation.rows.item,
                                  operation.grad.user, operation.grad.item);
  const RowShare share = share_rows(operation.rows.user.cols, vector);
  launch("dot_rows_backward", context.stream, geometry_for_rows(operation.grad_prediction.rows, share),
         vector == 4 ? dot_rows_backward_kernel<4> : dot_rows_backward_kernel<1>, factors_of<float>(operation.grad),
         pointer_of<const float>(operation.grad_prediction), factors_of<const float>(operation.rows),
         2.0F * operation.l2, share, pointer_of<const StepState>(operation.state));
}

}  // namespace curate::cuda
