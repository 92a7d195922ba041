#include "kernels/dense_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <stdexcept>

#include "curate/error.h"

namespace curate::cuda {
namespace {

/// Whether all rows begin where the library may load 16 bytes at once; absent matrices and vectors have one row.
bool rows_aligned(const MatrixView& view) {
  const auto elements = static_cast<std::int64_t>(CublasLt::kAlignment / size_of(view.dtype));
  return reinterpret_cast<std::uintptr_t>(view.data) % CublasLt::kAlignment == 0 &&
         (view.cols <= 1 || view.ld % elements == 0);
}

/// Which layers are for cuBLASLt. Narrower ones are bound by memory or by launches, not by arithmetic, and a short
/// batch leaves most of a GPU idle either way: the tiled kernels take those with fewer launches, do no work past the
/// batch's count, and need no library to be loaded. The numbers are estimates: no GPU has measured them yet.
bool is_wide(const DenseSize& size) {
  constexpr std::int64_t kNarrowest = 64;
  constexpr std::int64_t kShortest = 512;
  return size.batch >= kShortest && size.inputs >= kNarrowest && size.outputs >= kNarrowest;
}

/// Whether it gets them as they lie in memory. Its fast kernels load 16 bytes at once, so that rows have to begin
/// there: those of the weights do where widths are multiples of four.
bool suits_library(const DenseSize& size, std::initializer_list<MatrixView> matrices) {
  constexpr std::int64_t kFloats = 4;
  return is_wide(size) && size.inputs % kFloats == 0 && size.outputs % kFloats == 0 &&
         std::all_of(matrices.begin(), matrices.end(), rows_aligned);
}

/// bf16 elements of a layer's operands: what goes in, the gradient of what comes out, weights.
std::int64_t rounded_elements(const DenseSize& size) {
  return size.batch * (bf16_ld(size.inputs) + bf16_ld(size.outputs)) + size.outputs * bf16_ld(size.inputs);
}

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

DenseProducts::DenseProducts(cudaStream_t stream, int compute_capability_major)
    : stream_(stream),
      compute_capability_major_(compute_capability_major),
      scratch_(stream, static_cast<std::int64_t>(kScratchFloats)) {}

void DenseProducts::load() {
  const std::optional<CublasLtFunctions> functions = find_cublaslt(why_not_);
  if (functions) {
    library_ = std::make_unique<CublasLt>(*functions, stream_, compute_capability_major_);
  }
  looked_ = true;
}

/// Nobody may load it while a capture runs: whoever captures without prepare_dense() gets the tiled kernels.
CublasLt* DenseProducts::library(bool capturing) {
  if (!looked_ && !capturing) {
    load();
  }
  return library_.get();
}

void DenseProducts::prepare(const DenseSize& size, ProductPrecision precision) {
  const bool rounds = precision != ProductPrecision::f32;
  if ((rounds || suits_library(size, {})) && library(false) == nullptr && rounds) {
    throw InputError(
        fmt::format("--products {}: cuBLASLt is needed: {}; or give --products f32", name_of(precision), why_not_));
  }
  precision_ = precision;
  if (precision == ProductPrecision::bf16) {
    reserve_rounded(size);
  }
}

void DenseProducts::reserve_rounded(const DenseSize& size) {
  const std::int64_t elements = rounded_elements(size);
  if (elements > rounded_elements_) {
    rounded_.push_back(std::make_unique<Scratch<Bf16>>(stream_, elements));
    rounded_elements_ = elements;
  }
}

CublasLt* DenseProducts::library_for(const DenseSize& size, bool capturing) {
  CublasLt* const found = library(capturing);
  if (found != nullptr && precision_ == ProductPrecision::bf16 && rounded_elements(size) > rounded_elements_) {
    if (capturing) {
      throw std::logic_error("a dense layer inside a capture that prepare_dense was not told of");
    }
    reserve_rounded(size);
  }
  return found;
}

/// Whether the library did it.
bool DenseProducts::multiply(const char* operation, Product product, const MatrixView& out, const Operand& first,
                             const Operand& second, const MatrixView& bias) {
  product.rows = out.rows;
  product.cols = out.cols;
  product.out_ld = out.ld;
  product.first_ld = first.ld;
  product.second_ld = second.ld;
  product.precision = precision_;
  return library_->multiply(operation, product, {out.data, first.data, second.data, bias.data, nullptr});
}

/// What was asked for in less than f32 is not done in f32 unseen.
void DenseProducts::fall_back(const char* operation) const {
  if (precision_ != ProductPrecision::f32) {
    throw DeviceError(fmt::format("{}: cuBLASLt has no {} product for this layer; give --products f32", operation,
                                  name_of(precision_)));
  }
}

void DenseProducts::forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                            const MatrixView& state, bool capturing) {
  constexpr const char* kOperation = "dense_forward";
  const DenseSize size = {batch.out.rows, batch.in.cols, batch.out.cols};
  if (suits_library(size, {batch.in, batch.out, params.weight, params.bias}) &&
      library_for(size, capturing) != nullptr) {
    Operands operand(*this);
    Product product;
    product.depth = size.inputs;
    product.second_transposed = true;
    product.epilogue = Epilogue::add_bias;
    const Operand in = operand(batch.in);
    const Operand weight = operand(params.weight);
    if (multiply(kOperation, product, batch.out, in, weight, params.bias)) {
      // The library's relu is documented as max(x, 0), which may take 0 over NaN: a diverged network would look well.
      if (activation.kind != ActivationKind::linear) {
        activation_forward(stream_, batch.out, activation, state);
      }
      return;
    }
    fall_back(kOperation);
  }
  dense_forward(stream_, batch, params, activation, state);
}

void DenseProducts::backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                             const DenseParams& params, const Activation& activation, const MatrixView& state,
                             bool capturing) {
  constexpr const char* kOperation = "dense_backward";
  const DenseSize size = {batch.out.rows, batch.in.cols, batch.out.cols};
  const bool wide = suits_library(size, {batch.in, batch.out, params.weight, params.bias, grad.in, grad.out,
                                         grad_params.weight, grad_params.bias}) &&
                    library_for(size, capturing) != nullptr;
  if (!wide) {
    if (activation.kind != ActivationKind::linear) {
      activation_backward(stream_, grad.out, batch.out, activation, PastCount::stays, state);
    }
    dense_grad_params(stream_, grad_params, grad.out, batch.in, state, scratch());
    if (!grad.in.empty()) {
      dense_grad_in(stream_, grad.in, grad.out, params.weight, state);
    }
    return;
  }
  // The library sums over all rows of the buffers: those past the batch's count have to add nothing.
  activation_backward(stream_, grad.out, batch.out, activation, PastCount::zeros, state);
  Operands operand(*this);
  const Operand h = operand(grad.out);
  const Operand in = operand(batch.in);
  Product by_weight;
  by_weight.depth = size.batch;
  by_weight.first_transposed = true;
  by_weight.epilogue = Epilogue::sum_of_first;
  if (!multiply(kOperation, by_weight, grad_params.weight, h, in, grad_params.bias)) {
    by_weight.epilogue = Epilogue::none;
    if (multiply(kOperation, by_weight, grad_params.weight, h, in, {})) {
      dense_grad_bias(stream_, grad_params.bias, grad.out);
    } else {
      fall_back(kOperation);
      dense_grad_params(stream_, grad_params, grad.out, batch.in, state, scratch());
    }
  }
  if (!grad.in.empty()) {
    Product by_inputs;
    by_inputs.depth = size.outputs;
    if (!multiply(kOperation, by_inputs, grad.in, h, operand(params.weight), {})) {
      fall_back(kOperation);
      dense_grad_in(stream_, grad.in, grad.out, params.weight, state);
    }
  }
}

std::optional<DenseStackPlan> DenseProducts::plan_stack(const DenseStack& stack, std::int64_t batch) {
  const bool any_wide = std::any_of(stack.begin(), stack.end(), [batch](const DenseStackLayer& layer) {
    return is_wide({batch, layer.params.weight.cols, layer.params.weight.rows});
  });
  if (precision_ != ProductPrecision::bf16 || !any_wide || !WideStack::suits(stack) || library(false) == nullptr) {
    return std::nullopt;
  }
  WideStack wide(stream_, *library_, stack, batch, nullptr);
  if (!wide.supported()) {
    return std::nullopt;
  }
  return DenseStackPlan{DType::bf16, wide.bytes() / static_cast<std::int64_t>(sizeof(float))};
}

WideStack DenseProducts::wide_stack(const DenseStack& stack, const MatrixView& in, const MatrixView& workspace) const {
  if (library_ == nullptr || !WideStack::suits(stack)) {
    throw std::logic_error("a stack that plan_dense_stack has no plan for");
  }
  if (!rows_aligned(in) || !rows_aligned(workspace)) {
    throw std::logic_error("inputs of a wide stack or its workspace that do not begin at multiples of 16 bytes");
  }
  WideStack wide(stream_, *library_, stack, in.rows, workspace.data);
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
  wide_stack(stack, in, workspace).backward(grad, grad_params, in, state, scratch());
}

}  // namespace curate::cuda
