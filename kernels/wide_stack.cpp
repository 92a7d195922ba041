#include "kernels/wide_stack.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "curate/error.h"
#include "kernels/cuda_error.h"
#include "kernels/dropout.h"
#include "kernels/epilogue.h"

namespace curate::cuda {
namespace {

constexpr const char* kStackForward = "dense_stack_forward";
constexpr const char* kStackBackward = "dense_stack_backward";

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::int64_t inputs_of(const DenseStackLayer& layer) {
  return layer.params.weight.cols;
}
std::int64_t outputs_of(const DenseStackLayer& layer) {
  return layer.params.weight.rows;
}

}  // namespace

WideStack::WideStack(cudaStream_t stream, LibraryProducts& library, const DenseStack& stack, std::int64_t batch,
                     void* workspace)
    : stream_(stream), library_(&library), stack_(&stack), batch_(batch) {
  const auto take = [&](std::int64_t bytes) -> void* {
    constexpr std::int64_t kUnit = 256;
    const std::int64_t at = std::exchange(bytes_, bytes_ + round_up(bytes, kUnit));
    return workspace == nullptr ? nullptr : static_cast<std::byte*>(workspace) + at;
  };
  const auto take_bf16 = [&](std::int64_t elements) {
    return static_cast<Bf16*>(take(elements * static_cast<std::int64_t>(sizeof(Bf16))));
  };
  poison_ = static_cast<float*>(take(sizeof(float)));
  for (std::size_t l = 0; l + 1 < stack.size(); ++l) {
    const std::int64_t outputs = outputs_of(stack[l]);
    const std::int64_t weight_ld = bf16_ld(inputs_of(stack[l]));
    const std::int64_t ld = bf16_ld(outputs);
    const auto take_values = [&] {
      return MatrixView{nullptr, take_bf16(batch * ld), batch, outputs, ld, DType::bf16};
    };
    const RoundedLayer params = {take_bf16(outputs * weight_ld), weight_ld, take_bf16(outputs)};
    const MatrixView out = take_values();
    void* const mask = l + 2 < stack.size() ? take(batch * mask_bytes(outputs)) : nullptr;
    layers_.push_back({params, out, mask, take_values()});
  }
}

bool WideStack::suits(const DenseStack& stack) {
  const auto hidden_end = stack.end() - 1;
  const DenseStackLayer& last = stack.back();
  constexpr std::int64_t kUnit = 4;
  return stack.size() >= 2 && outputs_of(last) == 1 && inputs_of(last) <= kWidestHead &&
         reinterpret_cast<std::uintptr_t>(last.params.weight.data) % kProductAlignment == 0 &&
         std::all_of(stack.begin(), hidden_end, [](const DenseStackLayer& layer) {
           return layer.activation.kind == ActivationKind::relu && outputs_of(layer) % kUnit == 0;
         });
}

Product WideStack::forward_product(std::size_t l, std::int64_t in_ld, bool with_mask) const {
  Product product;
  product.rows = batch_;
  product.cols = outputs_of((*stack_)[l]);
  product.depth = inputs_of((*stack_)[l]);
  product.second_transposed = true;
  product.first_ld = in_ld;
  product.second_ld = layers_[l].params.weight_ld;
  product.out_ld = layers_[l].out.ld;
  product.epilogue = with_mask ? Epilogue::add_bias_relu_mask : Epilogue::add_bias_relu;
  product.precision = ProductPrecision::bf16;
  product.out = DType::bf16;
  return product;
}

Product WideStack::weight_product(std::size_t l, std::int64_t in_ld) const {
  Product product;
  product.rows = outputs_of((*stack_)[l]);
  product.cols = inputs_of((*stack_)[l]);
  product.depth = batch_;
  product.first_transposed = true;
  product.first_ld = layers_[l].grad.ld;
  product.second_ld = in_ld;
  product.out_ld = product.cols;
  product.epilogue = Epilogue::sum_of_first;
  product.precision = ProductPrecision::bf16;
  return product;
}

Product WideStack::input_product(std::size_t l, std::int64_t out_ld, bool with_mask) const {
  Product product;
  product.rows = batch_;
  product.cols = inputs_of((*stack_)[l]);
  product.depth = outputs_of((*stack_)[l]);
  product.first_ld = layers_[l].grad.ld;
  product.second_ld = layers_[l].params.weight_ld;
  product.out_ld = out_ld;
  product.epilogue = with_mask ? Epilogue::apply_mask : Epilogue::none;
  product.precision = ProductPrecision::bf16;
  product.out = l == 0 ? DType::f32 : DType::bf16;
  return product;
}

std::int64_t WideStack::in_ld(std::size_t l, const MatrixView& in) const {
  return l == 0 ? in.ld : layers_[l - 1].out.ld;
}

/// The last hidden layer's slopes are the head's.
bool WideStack::has_mask(std::size_t l, std::int64_t in_ld) {
  return l + 1 < layers_.size() && library_->prepare(kStackForward, forward_product(l, in_ld, true)) &&
         library_->prepare(kStackBackward, input_product(l + 1, layers_[l].grad.ld, true));
}

bool WideStack::supported() {
  // As models lay inputs and their gradients out.
  const std::int64_t inputs = inputs_of(stack_->front());
  const MatrixView in = {nullptr, nullptr, batch_, inputs, bf16_ld(inputs), DType::bf16};
  bool all = true;
  for (std::size_t l = 0; all && l < layers_.size(); ++l) {
    const bool mask = has_mask(l, in_ld(l, in));
    const bool mask_below = l > 0 && has_mask(l - 1, in_ld(l - 1, in));
    const std::int64_t grad_ld = l == 0 ? round_up(inputs, 4) : layers_[l - 1].grad.ld;
    all = library_->prepare(kStackForward, forward_product(l, in_ld(l, in), mask)) &&
          library_->prepare(kStackBackward, weight_product(l, in_ld(l, in))) &&
          library_->prepare(kStackBackward, input_product(l, grad_ld, mask_below));
  }
  return all;
}

void WideStack::multiply(const char* operation, const Product& product, const ProductMemory& memory) {
  if (!library_->multiply(operation, product, memory)) {
    throw DeviceError(std::string(operation) + ": no library has a product of " + label_of(product) +
                      "; give `products` f32 (" + library_->why(product) + ")");
  }
}

void WideStack::forward(const MatrixView& out, const MatrixView& in, const MatrixView& state) {
  CURATE_CUDA_CHECK(cudaMemsetAsync(poison_, 0, sizeof(float), stream_));
  MatrixView values = in;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    round_layer(stream_, layer.params, poison_, (*stack_)[l].params);
    multiply(kStackForward, forward_product(l, values.ld, has_mask(l, values.ld)),
             {layer.out.data, values.data, layer.params.weight, layer.params.bias, layer.mask});
    dropout(stream_, layer.out, (*stack_)[l].dropout, state);
    values = layer.out;
  }
  stack_head_forward(stream_, out, values, stack_->back(), poison_, state);
}

void WideStack::backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params, const MatrixView& in,
                         const MatrixView& state, const ScratchFloats& scratch) {
  const std::size_t hidden = layers_.size();
  stack_head_backward(stream_, {grad.out, layers_[hidden - 1].grad}, grad_params[hidden], layers_[hidden - 1].out,
                      stack_->back(), (*stack_)[hidden - 1].dropout.rate, state, scratch);
  for (std::size_t l = hidden; l-- > 0;) {
    const Layer& layer = layers_[l];
    const MatrixView& values = l == 0 ? in : layers_[l - 1].out;
    multiply(kStackBackward, weight_product(l, values.ld),
             {grad_params[l].weight.data, layer.grad.data, values.data, grad_params[l].bias.data, nullptr});
    if (l == 0 && grad.in.empty()) {
      break;
    }
    const MatrixView& to = l == 0 ? grad.in : layers_[l - 1].grad;
    const bool mask = l > 0 && has_mask(l - 1, in_ld(l - 1, in));
    multiply(kStackBackward, input_product(l, to.ld, mask),
             {to.data, layer.grad.data, layer.params.weight, nullptr, mask ? layers_[l - 1].mask : nullptr});
    if (l > 0) {
      if (!mask) {
        relu_backward(stream_, to, layers_[l - 1].out);
      }
      dropout(stream_, to, (*stack_)[l - 1].dropout, state);
    }
  }
}

}  // namespace curate::cuda
