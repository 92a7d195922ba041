#include "kernels/dense_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <stdexcept>

#include "curate/error.h"
#include "device/gpu_memory.h"
#include "kernels/context.h"
#include "kernels/dense_stack.h"

namespace curate::cuda {
namespace {

/// Whether all rows begin where the library may load 16 bytes at once; absent matrices and vectors have one row.
bool rows_aligned(const MatrixView& view) {
  const auto elements = static_cast<std::int64_t>(kProductAlignment / size_of(view.dtype));
  return reinterpret_cast<std::uintptr_t>(view.data) % kProductAlignment == 0 &&
         (view.cols <= 1 || view.ld % elements == 0);
}

/// Whether a library takes a layer's matrices as they lie in memory. Its fast kernels load 16 bytes at once, so every
/// row has to begin at a multiple of 16 bytes; the rows of the weights do if widths are multiples of four.
bool suits_library(const DenseSize& size, std::initializer_list<MatrixView> matrices) {
  return gpu_memory::suits_library(size) && std::all_of(matrices.begin(), matrices.end(), rows_aligned);
}

/// Elements from one row of an operand to the next.
std::int64_t ld_of(std::int64_t cols, ProductPrecision precision) {
  return precision == ProductPrecision::bf16 ? bf16_ld(cols) : cols;
}

/// The three products of a layer, of operands in `precision`, whose rows are as far apart as rounded ones are, or as
/// models lay them out.
Product forward_product(const DenseSize& size, ProductPrecision precision) {
  Product product;
  product.rows = size.batch;
  product.cols = size.outputs;
  product.depth = size.inputs;
  product.second_transposed = true;
  product.first_ld = ld_of(size.inputs, precision);
  product.second_ld = product.first_ld;
  product.out_ld = size.outputs;
  product.epilogue = Epilogue::add_bias;
  product.precision = precision;
  return product;
}
Product weight_product(const DenseSize& size, ProductPrecision precision) {
  Product product;
  product.rows = size.outputs;
  product.cols = size.inputs;
  product.depth = size.batch;
  product.first_transposed = true;
  product.first_ld = ld_of(size.outputs, precision);
  product.second_ld = ld_of(size.inputs, precision);
  product.out_ld = size.inputs;
  product.epilogue = Epilogue::sum_of_first;
  product.precision = precision;
  return product;
}
Product input_product(const DenseSize& size, ProductPrecision precision) {
  Product product;
  product.rows = size.batch;
  product.cols = size.inputs;
  product.depth = size.outputs;
  product.first_ld = ld_of(size.outputs, precision);
  product.second_ld = ld_of(size.inputs, precision);
  product.out_ld = size.inputs;
  product.precision = precision;
  return product;
}

constexpr const char* kForward = "dense_forward";
constexpr const char* kBackward = "dense_backward";

}  // namespace

/// Takes the memory for rounded operands from the front.
class DenseProducts::Operands {
 public:
  explicit Operands(const DenseProducts& products)
      : products_(&products), free_(products.rounded_.empty() ? nullptr : products.rounded_.back()->data()) {}

  Operand operator()(const MatrixView& view) {
    if (products_->precision_ != ProductPrecision::bf16) {
      return {view.data, view.ld};
    }
    const std::int64_t ld = bf16_ld(view.cols);
    Bf16* const to = free_;
    free_ += view.rows * ld;
    to_bf16(products_->stream_, to, ld, view);
    return {to, ld};
  }

 private:
  const DenseProducts* products_;
  Bf16* free_;
};

DenseProducts::DenseProducts(cudaStream_t stream, const GpuShape& gpu, const ScratchFloats& scratch)
    : stream_(stream), scratch_(scratch), library_(stream, gpu, scratch) {}

void DenseProducts::prepare(const DenseSize& size, ProductPrecision precision) {
  const bool rounds = precision != ProductPrecision::f32;
  const bool wide = suits_library(size, {});
  if ((rounds || wide) && !library_.load() && rounds) {
    throw InputError("products", std::string(name_of(precision)),
                     fmt::format("cuBLASLt is needed: {}; or give `products` f32", library_.why_not()));
  }
  precision_ = precision;
  if (!wide || !library_.loaded()) {
    return;
  }
  if (precision == ProductPrecision::bf16) {
    reserve_rounded(size);
  }
  const auto call_once = [&](const char* operation, const Product& product) {
    if (!library_.prepare(operation, product) && rounds) {
      throw InputError("products", std::string(name_of(precision)),
                       fmt::format("no library has a product of {}: {}; give `products` f32", label_of(product),
                                   library_.why(product)));
    }
  };
  call_once(kForward, forward_product(size, precision));
  call_once(kBackward, weight_product(size, precision));
  call_once(kBackward, input_product(size, precision));
}

void DenseProducts::reserve_rounded(const DenseSize& size) {
  const std::int64_t elements = gpu_memory::rounded_elements(size);
  if (elements > rounded_elements_) {
    rounded_.push_back(std::make_unique<Scratch<Bf16>>(stream_, elements));
    rounded_elements_ = elements;
  }
}

/// No library is loaded while a capture runs: a capture without prepare_dense() gets the tiled kernels.
bool DenseProducts::takes(const DenseSize& size, bool capturing) {
  if (!(capturing ? library_.loaded() : library_.load())) {
    return false;
  }
  if (precision_ == ProductPrecision::bf16 && gpu_memory::rounded_elements(size) > rounded_elements_) {
    if (capturing) {
      throw std::logic_error("a dense layer inside a capture that prepare_dense was not told of");
    }
    reserve_rounded(size);
  }
  return true;
}

/// Whether a library did it.
bool DenseProducts::multiply(const char* operation, const Product& product, const MatrixView& out, const Operand& first,
                             const Operand& second, const MatrixView& bias) {
  Product here = product;
  here.out_ld = out.ld;
  here.first_ld = first.ld;
  here.second_ld = second.ld;
  const bool done = library_.multiply(operation, here, {out.data, first.data, second.data, bias.data, nullptr});
  if (!done) {
    refuse_f32(operation, here);
  }
  return done;
}

void DenseProducts::refuse_f32(const char* operation, const Product& product) const {
  if (precision_ != ProductPrecision::f32) {
    throw DeviceError(fmt::format("{}: no library has a product of {}; give `products` f32 ({})", operation,
                                  label_of(product), library_.why(product)));
  }
}

void DenseProducts::forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                            const MatrixView& state, bool capturing) {
  const DenseSize size = {batch.out.rows, batch.in.cols, batch.out.cols};
  if (suits_library(size, {batch.in, batch.out, params.weight, params.bias}) && takes(size, capturing)) {
    Operands operand(*this);
    const Operand in = operand(batch.in);
    const Operand weight = operand(params.weight);
    if (multiply(kForward, forward_product(size, precision_), batch.out, in, weight, params.bias)) {
      // The library's relu is documented as max(x, 0), which may take 0 over NaN: a diverged network would look well.
      if (activation.kind != ActivationKind::linear) {
        activation_forward(stream_, batch.out, activation, state);
      }
      return;
    }
  }
  dense_forward(stream_, batch, params, activation, state);
}

void DenseProducts::backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                             const DenseParams& params, const Activation& activation, const MatrixView& state,
                             bool capturing) {
  const DenseSize size = {batch.out.rows, batch.in.cols, batch.out.cols};
  const bool wide = suits_library(size, {batch.in, batch.out, params.weight, params.bias, grad.in, grad.out,
                                         grad_params.weight, grad_params.bias}) &&
                    takes(size, capturing);
  if (!wide) {
    if (activation.kind != ActivationKind::linear) {
      activation_backward(stream_, grad.out, batch.out, activation, PastCount::stays, state);
    }
    dense_grad_params(stream_, grad_params, grad.out, batch.in, state, scratch_);
    if (!grad.in.empty()) {
      dense_grad_in(stream_, grad.in, grad.out, params.weight, state);
    }
    return;
  }
  // A library sums over all rows of the buffers: those past the batch's count have to add nothing.
  activation_backward(stream_, grad.out, batch.out, activation, PastCount::zeros, state);
  Operands operand(*this);
  const Operand h = operand(grad.out);
  const Operand in = operand(batch.in);
  if (!multiply(kBackward, weight_product(size, precision_), grad_params.weight, h, in, grad_params.bias)) {
    dense_grad_params(stream_, grad_params, grad.out, batch.in, state, scratch_);
  }
  if (!grad.in.empty()) {
    const Operand weight = operand(params.weight);
    if (!multiply(kBackward, input_product(size, precision_), grad.in, h, weight, {})) {
      dense_grad_in(stream_, grad.in, grad.out, params.weight, state);
    }
  }
}

std::optional<DenseStackLayout> DenseProducts::lay_out_stack(const DenseStack& stack, std::int64_t batch) {
  const bool any_wide = std::any_of(stack.begin(), stack.end(), [batch](const DenseStackLayer& layer) {
    return gpu_memory::is_wide({batch, layer.params.weight.cols, layer.params.weight.rows});
  });
  if (precision_ != ProductPrecision::bf16 || !any_wide || !WideStack::suits(stack) || !library_.load()) {
    return std::nullopt;
  }
  WideStack wide(stream_, library_, stack, batch, nullptr);
  if (!wide.supported()) {
    return std::nullopt;
  }
  return DenseStackLayout{DType::bf16, wide.bytes() / static_cast<std::int64_t>(sizeof(float))};
}

WideStack DenseProducts::wide_stack(const DenseStack& stack, const MatrixView& in, const MatrixView& workspace) {
  if (!library_.loaded() || !WideStack::suits(stack)) {
    throw std::logic_error("a stack that lay_out_dense_stack has no plan for");
  }
  if (!rows_aligned(in) || !rows_aligned(workspace)) {
    throw std::logic_error("inputs of a wide stack or its workspace that do not begin at multiples of 16 bytes");
  }
  WideStack wide(stream_, library_, stack, in.rows, workspace.data);
  if (wide.bytes() > workspace.rows * static_cast<std::int64_t>(sizeof(float))) {
    throw std::logic_error("a workspace for a smaller stack");
  }
  return wide;
}

void DenseProducts::stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack,
                                  const MatrixView& workspace, const MatrixView& state) {
  wide_stack(stack, in, workspace).forward(out, in, state);
}

void DenseProducts::stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params,
                                   const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                                   const MatrixView& state) {
  wide_stack(stack, in, workspace).backward(grad, grad_params, in, state, scratch_);
}

void enqueue(const ops::DenseForward& operation, const Context& context) {
  context.products->forward(operation.batch, operation.params, operation.activation, operation.state,
                            context.capturing);
}

void enqueue(const ops::DenseBackward& operation, const Context& context) {
  context.products->backward(operation.grad, operation.grad_params, operation.batch, operation.params,
                             operation.activation, operation.state, context.capturing);
}

void enqueue(const ops::DenseStackForward& operation, const Context& context) {
  if (operation.in.dtype == DType::bf16) {
    context.products->stack_forward(operation.out, operation.in, operation.stack, operation.workspace, operation.state);
  } else {
    dense_stack_forward(context.stream, operation.out, operation.in, operation.stack, context.products->precision(),
                        operation.state);
  }
}

void enqueue(const ops::DenseStackBackward& operation, const Context& context) {
  if (operation.in.dtype == DType::bf16) {
    context.products->stack_backward(operation.grad, operation.grad_params, operation.in, operation.stack,
                                     operation.workspace, operation.state);
  } else {
    dense_stack_backward(context.stream, operation.grad, operation.grad_params, operation.in, operation.stack,
                         context.products->precision(), operation.state, context.scratch);
  }
}

}  // namespace curate::cuda
