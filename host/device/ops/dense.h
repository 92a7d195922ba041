#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "curate/kinds.h"
#include "device/views.h"

namespace curate {

/// y = activation(z), elementwise: z; max(z, 0); tanh(z); low + (high - low) / (1 + exp(-z)).
struct Activation {
  ActivationKind kind = ActivationKind::linear;
  float low = 0.0F;   ///< relu and sigmoid: where the output ends
  float high = 1.0F;  ///< sigmoid only
};

/// A fully connected layer's parameters, or their gradients.
struct DenseParams {
  MatrixView weight;  ///< [outputs, inputs] f32, contiguous
  MatrixView bias;    ///< [outputs] f32, contiguous
};

/// One layer's values for a batch, or their gradients.
struct DenseBatch {
  MatrixView out;  ///< [batch, outputs] f32, any ld
  MatrixView in;   ///< [batch, inputs] f32, any ld
};

/// The extents of a dense layer's batch.
struct DenseSize {
  std::int64_t batch = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
};

struct DropoutParams {
  float rate = 0.0F;        ///< in [0, 1): the share of elements set to zero
  RandomPurpose purpose{};  ///< tells the masks of several dropouts of one step apart
};

/// One layer of a stack that is worked on as a whole.
struct DenseStackLayer {
  DenseParams params;
  Activation activation;
  DropoutParams dropout;  ///< of what comes out, rate 0: none; the last layer has none
};

/// Dense layers one after the other, the first of them first.
using DenseStack = std::vector<DenseStackLayer>;

/// What a GPU takes at most of a stack with inputs in f32; Device::supports says so.
inline constexpr std::int64_t kMostStackLayers = 4;
inline constexpr std::int64_t kWidestStackLayer = 128;

/// How a device takes a stack as a whole.
struct DenseStackLayout {
  DType in = DType::f32;       ///< of what goes into the first layer
  std::int64_t workspace = 0;  ///< floats of memory that belong to the two operations, between them too
};

namespace ops {

/// Readies DenseForward and DenseBackward for captures, for a wide layer of that size with rows as close as 16
/// bytes allow. From here on operands of wide layers are rounded as `precision` says (f32 until the first call);
/// those are the layers that a GPU multiplies by a library (kernels/dense_products.cpp has the rule), narrow ones
/// stay f32. Throws InputError if nothing multiplies in that precision (the CPU engine, a GPU without cuBLASLt). Not
/// inside a capture.
struct PrepareDense {
  using Result = void;
  static constexpr const char* kName = "prepare_dense";

  DenseSize size;
  ProductPrecision precision = ProductPrecision::f32;

  void check(const Device& device) const;
};

/// batch.out[b, j] = activation(bias[j] + sum_k batch.in[b, k] * weight[j, k]). What batch.out holds past the batch's
/// count is undefined afterwards, and finite if the same rows of batch.in are (a GPU works on all of a wide
/// layer's rows). Deterministic: on a GPU for one version of cuBLASLt and one kind of GPU.
/// 4 (inputs + outputs) bytes and 2 inputs outputs flops per row.
struct DenseForward {
  static constexpr const char* kName = "dense_forward";

  DenseBatch batch;
  DenseParams params;
  Activation activation;
  MatrixView state;

  void check(const Device& device) const;
};

/// With h[b, j] = grad.out[b, j] * activation'(z), where the derivative is taken from batch.out[b, j]
/// (relu: 0 at 0):
///   grad_params.weight[j, k] = sum_b h[b, j] * batch.in[b, k], grad_params.bias[j] = sum_b h[b, j],
///   grad.in[b, k] = sum_j h[b, j] * weight[j, k] (not computed if grad.in is absent).
/// grad_params are overwritten (with zeros for a batch of 0 ratings), and so is grad.out, with h. Rows of batch.in
/// past the batch's count have to be finite: a GPU multiplies them by zeros if a layer is wide. What grad.out and
/// grad.in hold past the count is undefined afterwards. Deterministic, as DenseForward is: the sums over b do not
/// depend on the number of threads. 8 (inputs + outputs) + 8 outputs bytes and 4 inputs outputs flops per row.
struct DenseBackward {
  static constexpr const char* kName = "dense_backward";

  DenseBatch grad;
  DenseParams grad_params;
  DenseBatch batch;
  DenseParams params;
  Activation activation;
  MatrixView state;

  void check(const Device& device) const;
};

/// How a model should hand a stack of layers, for batches of up to that size, to the two operations below. Nothing if
/// its layers should go one by one to the two above. Comes after PrepareDense, which says how operands are rounded;
/// not inside a capture. The CPU engine: never; a GPU: kernels/README.md has the rule.
struct LayOutDenseStack {
  using Result = std::optional<DenseStackLayout>;
  static constexpr const char* kName = "lay_out_dense_stack";

  DenseStack stack;
  std::int64_t batch = 0;

  void check(const Device& device) const;
};

/// out = the last layer's output. `in` is the first layer's input; every other layer's input is the output of the
/// layer before, after its dropout: DenseForward and dropout of all layers. out [batch, outputs of the last layer],
/// in [batch, inputs of the first], any ld. Rounds as PrepareDense was asked to, narrow layers too: inputs, weights,
/// and hidden outputs once when they are made and once after their dropout. Deterministic.
/// `in` of f32: keeps nothing in between, and needs no workspace. 4 (inputs + outputs) bytes of the stack and 2 inputs
/// outputs flops of every layer per row.
///
/// `in` of bf16, with a workspace [n] f32, if LayOutDenseStack asks for that: the hidden layers' outputs stay in the
/// workspace in bf16. Rows begin at multiples of 16 bytes; those of `in` past the batch's count have to be finite.
/// The biases of hidden layers are rounded too; the last layer's product is one of f32. If a weight or a bias of a
/// hidden layer is not finite, no output is. Of a hidden layer 2 (inputs + outputs) bytes per row.
struct DenseStackForward {
  static constexpr const char* kName = "dense_stack_forward";

  MatrixView out;
  MatrixView in;
  DenseStack stack;
  MatrixView workspace;
  MatrixView state;

  void check(const Device& device) const;
};

/// Its gradients, from grad.out and what DenseStackForward has seen: grad_params of every layer and grad.in (f32;
/// not computed if absent), by the formulas of DenseBackward and dropout. Slopes come from the hidden outputs as
/// they were rounded, and gradients are rounded as they are made. grad_params are overwritten (with zeros for a batch
/// of 0 ratings); grad.out stays. Deterministic, as DenseForward is.
///
/// `in` of f32: outputs of layers are computed anew. Rows past the batch's count are not read, and what grad.in holds
/// there stays, too. The same for every GPU. 4 (2 inputs + outputs) bytes of the stack and 6 inputs outputs flops of
/// every layer per row.
///
/// `in` of bf16: comes after DenseStackForward of the same batch with the same workspace. What grad.in holds past
/// the count is undefined afterwards. Of a hidden layer 4 (inputs + outputs) bytes per row, 2 inputs more of the
/// first.
struct DenseStackBackward {
  static constexpr const char* kName = "dense_stack_backward";

  DenseBatch grad;
  std::vector<DenseParams> grad_params;
  MatrixView in;
  DenseStack stack;
  MatrixView workspace;
  MatrixView state;

  void check(const Device& device) const;
};

/// In place: rows[b, c] = 0 if the mask drops the element, else rows[b, c] * (1 / (1 - rate)) in f32. The mask is
/// drawn anew by each call (dropout_mask.h) and depends on the state's seed and epoch, the position state.batch_begin
/// + b, c and purpose alone, so that the same call in the backward pass masks the gradient (Srivastava et al. 2014,
/// inverted). rows [batch, cols] f32 or bf16 as in GatherRows, any ld. Bit-exact on every device. 8 bytes per
/// element.
struct Dropout {
  static constexpr const char* kName = "dropout";

  MatrixView rows;
  DropoutParams params;
  MatrixView state;

  void check(const Device& device) const;
};

}  // namespace ops
}  // namespace curate

#define CURATE_DENSE_OPERATIONS(X) \
  X(DenseForward) X(DenseBackward) X(DenseStackForward) X(DenseStackBackward) X(Dropout)
