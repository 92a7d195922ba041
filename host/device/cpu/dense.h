#pragma once

#include <cstdint>

#include "device/cpu/cpu_ops.h"

/// What the operations of dense layers share.
namespace curate::cpu {

/// Rows that go through a layer together, few enough to stay in a core's L2 cache for layers of common widths. Fixed,
/// so that a matrix product has the same shapes, and the same bits, for any number of threads.
constexpr std::int64_t kDenseRows = 256;

/// ops::DenseForward, ops::DenseBackward and ops::Dropout, as a stack of layers calls them.
void dense_forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
                   const StepState& state, Context& context);
void dense_backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                    const DenseParams& params, const Activation& activation, const StepState& state, Context& context);
void dropout(const MatrixView& view, const DropoutParams& params, const StepState& state, Context& context);

}  // namespace curate::cpu
