#include "device/ops/dense.h"

#include "device/checks.h"

namespace curate {
namespace {

void check_dense_params(const Checker& check, const char* weight_name, const char* bias_name, const DenseParams& params,
                        std::int64_t outputs, std::int64_t inputs) {
  check.matrix(weight_name, params.weight, DType::f32, outputs, inputs);
  check.require(params.weight.ld == inputs || outputs <= 1, weight_name, "is not contiguous");
  check.vector(bias_name, params.bias, DType::f32, outputs);
}

void check_dropout(const Checker& check, const DropoutParams& params) {
  check.require(params.rate >= 0.0F && params.rate < 1.0F, "rate", "is not in [0, 1)");
}

void check_stack(const Checker& check, const DenseStack& stack, const MatrixView& out, const MatrixView& in,
                 const MatrixView& workspace) {
  check.values("in", in);
  check.require(!stack.empty(), "stack", "has no layers");
  std::int64_t width = in.cols;
  for (const DenseStackLayer& layer : stack) {
    const std::int64_t outputs = layer.params.weight.rows;
    check_dense_params(check, "weight", "bias", layer.params, outputs, width);
    check.require(width >= 1 && outputs >= 1, "stack",
                  fmt::format("has a layer of {} inputs and {} outputs", width, outputs));
    check_dropout(check, layer.dropout);
    width = outputs;
  }
  check.require(stack.back().dropout.rate == 0.0F, "stack", "drops outputs of its last layer");
  check.matrix("out", out, DType::f32, in.rows, width);
  check.vector("workspace", workspace, DType::f32, workspace.rows);
}

}  // namespace

namespace ops {

void PrepareDense::check(const Device& /*device*/) const {
  if (size.batch < 0 || size.inputs < 0 || size.outputs < 0) {
    throw std::invalid_argument(fmt::format("prepare_dense: a layer of {} rows, {} inputs and {} outputs", size.batch,
                                            size.inputs, size.outputs));
  }
}

void DenseForward::check(const Device& device) const {
  const Checker check(device, kName);
  check.is("out", batch.out, DType::f32);
  check.matrix("in", batch.in, DType::f32, batch.out.rows, batch.in.cols);
  check_dense_params(check, "weight", "bias", params, batch.out.cols, batch.in.cols);
  check.state(state);
}

void DenseBackward::check(const Device& device) const {
  const Checker check(device, kName);
  check.is("out", batch.out, DType::f32);
  check.matrix("in", batch.in, DType::f32, batch.out.rows, batch.in.cols);
  check.matrix("grad.out", grad.out, DType::f32, batch.out.rows, batch.out.cols);
  if (!grad.in.empty()) {
    check.matrix("grad.in", grad.in, DType::f32, batch.in.rows, batch.in.cols);
  }
  check_dense_params(check, "weight", "bias", params, batch.out.cols, batch.in.cols);
  check_dense_params(check, "grad_params.weight", "grad_params.bias", grad_params, batch.out.cols, batch.in.cols);
  check.state(state);
}

void LayOutDenseStack::check(const Device& device) const {
  Checker(device, kName).require(batch >= 0, "batch", "is negative");
}

void DenseStackForward::check(const Device& device) const {
  const Checker check(device, kName);
  check_stack(check, stack, out, in, workspace);
  check.state(state);
}

void DenseStackBackward::check(const Device& device) const {
  const Checker check(device, kName);
  check_stack(check, stack, grad.out, in, workspace);
  if (!grad.in.empty()) {
    check.matrix("grad.in", grad.in, DType::f32, in.rows, in.cols);
  }
  check.require(grad_params.size() == stack.size(), "grad_params", fmt::format("are of {} layers", grad_params.size()));
  for (std::size_t l = 0; l < stack.size(); ++l) {
    const MatrixView& weight = stack[l].params.weight;
    check_dense_params(check, "grad_params.weight", "grad_params.bias", grad_params[l], weight.rows, weight.cols);
  }
  check.state(state);
}

void Dropout::check(const Device& device) const {
  const Checker check(device, kName);
  check.values("rows", rows);
  check_dropout(check, params);
  check.state(state);
}

}  // namespace ops
}  // namespace curate
