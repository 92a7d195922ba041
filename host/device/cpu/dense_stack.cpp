#include <algorithm>
#include <cstddef>
#include <vector>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/dense.h"

namespace curate::cpu {
namespace {

/// Takes [batch, cols] matrices from the front of a vector that is as long as they need.
class Matrices {
 public:
  Matrices(std::vector<float>& memory, std::int64_t batch, std::int64_t cols) : batch_(batch) {
    memory.resize(std::max(memory.size(), static_cast<std::size_t>(batch * cols)));
    free_ = memory.data();
  }

  MatrixView take(std::int64_t cols) {
    float* const data = free_;
    free_ += batch_ * cols;
    return {nullptr, data, batch_, cols, cols, DType::f32};
  }

 private:
  std::int64_t batch_;
  float* free_ = nullptr;
};

std::int64_t outputs_of(const DenseStackLayer& layer) {
  return layer.params.weight.rows;
}

std::int64_t widest(const DenseStack& stack) {
  std::int64_t most = 0;
  for (const DenseStackLayer& layer : stack) {
    most = std::max(most, outputs_of(layer));
  }
  return most;
}

void copy_rows(Matrix<float> to, Matrix<const float> from, std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    std::copy_n(from.row(b), from.cols, to.row(b));
  }
}

}  // namespace

void run(const ops::DenseStackForward& operation, Context& context) {
  const DenseStack& stack = operation.stack;
  const StepState& state = step_state(operation.state);
  const std::int64_t most = widest(stack);
  Matrices matrices(context.values, operation.in.rows, 2 * most);
  MatrixView hidden[2] = {matrices.take(most), matrices.take(most)};
  MatrixView values = operation.in;
  for (std::size_t l = 0; l < stack.size(); ++l) {
    const DenseStackLayer& layer = stack[l];
    MatrixView to = l + 1 == stack.size() ? operation.out : hidden[l % 2];
    to.cols = outputs_of(layer);
    dense_forward({to, values}, layer.params, layer.activation, state, context);
    dropout(to, layer.dropout, state, context);
    values = to;
  }
}

void run(const ops::DenseStackBackward& operation, Context& context) {
  const DenseStack& stack = operation.stack;
  const DenseBatch& grad = operation.grad;
  const MatrixView& in = operation.in;
  const StepState& state = step_state(operation.state);
  const std::size_t layers = stack.size();
  std::int64_t cols = 2 * widest(stack);
  for (const DenseStackLayer& layer : stack) {
    cols += 2 * outputs_of(layer);
  }
  Matrices matrices(context.values, in.rows, cols);
  std::vector<MatrixView> inputs = {in};
  std::vector<MatrixView> outputs;
  for (const DenseStackLayer& layer : stack) {
    outputs.push_back(matrices.take(outputs_of(layer)));
    dense_forward({outputs.back(), inputs.back()}, layer.params, layer.activation, state, context);
    inputs.push_back(outputs.back());
    if (layer.dropout.rate > 0.0F) {
      // Not in place: the slope needs the output as it was.
      inputs.back() = matrices.take(outputs_of(layer));
      copy_rows(resolve<float>(inputs.back()), resolve<const float>(outputs.back()), state.batch_count);
      dropout(inputs.back(), layer.dropout, state, context);
    }
  }
  MatrixView gradients[2] = {matrices.take(widest(stack)), matrices.take(widest(stack))};
  MatrixView gradient = gradients[0];
  gradient.cols = grad.out.cols;
  copy_rows(resolve<float>(gradient), resolve<const float>(grad.out), state.batch_count);
  for (std::size_t l = layers; l-- > 0;) {
    MatrixView to = grad.in;
    if (l > 0) {
      to = gradients[(layers - l) % 2];
      to.cols = outputs_of(stack[l - 1]);
    }
    dense_backward({gradient, to}, operation.grad_params[l], {outputs[l], inputs[l]}, stack[l].params,
                   stack[l].activation, state, context);
    if (l > 0) {
      dropout(to, stack[l - 1].dropout, state, context);
    }
    gradient = to;
  }
}

}  // namespace curate::cpu
