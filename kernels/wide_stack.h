#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "kernels/dense.h"
#include "kernels/library_products.h"
#include "kernels/stack_head.h"

namespace curate::cuda {

/// A stack of wide layers by NVIDIA's libraries, multiplied in bf16, with everything between its layers in bf16: a
/// product rounds hidden outputs and their gradients when it writes them, and the next ones read them as they are.
/// Biases, relus and their slopes are part of the products if cuBLASLt has that. What it lacks for a product costs that
/// product a kernel:
///
///   bias and relu        fill_with_bias before it, relu_in_place after it
///   masks of the relu    none are written; relu_backward reads the outputs instead. Both products that a mask is for
///                        have to have it.
///   gradient of a bias   bias_gradient
///
/// The last layer, of one output, is a kernel of our own (stack_head.h).
///
/// The library's relu is max(x, 0), which may make 0 of NaN: a diverged network would look well. So all outputs are NaN
/// if a hidden layer's parameter is not finite; the last layer hides nothing. Anything else that is not finite while
/// training makes a parameter so in the same step: the gradient of a weight is a sum over what goes into its layer, and
/// 0 times infinity or NaN is NaN. One thing does not show: a sum that overflows both ways from finite terms.
class WideStack {
 public:
  /// Lays a stack out in its workspace, of `batch` rows. The library, the stack and the workspace have to outlive this.
  WideStack(cudaStream_t stream, LibraryProducts& library, const DenseStack& stack, std::int64_t batch,
            void* workspace);

  /// Whether layers are of the kind that this takes: relu behind all but the last one, which has one output of up to
  /// kWidestHead inputs at multiples of 16 bytes; hidden widths are multiples of four.
  static bool suits(const DenseStack& stack);

  /// Whether libraries have all of its products, each of which is called once. Not inside a capture.
  bool supported();

  /// Of the workspace.
  std::int64_t bytes() const { return bytes_; }

  /// ops::DenseStackForward.
  void forward(const MatrixView& out, const MatrixView& in, const MatrixView& state);

  /// ops::DenseStackBackward.
  void backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params, const MatrixView& in,
                const MatrixView& state, const ScratchFloats& scratch);

 private:
  /// A hidden layer.
  struct Layer {
    RoundedLayer params;
    MatrixView out;   ///< [batch, outputs] bf16: after relu and dropout
    void* mask;       ///< of the relu; the last hidden layer's is in its outputs
    MatrixView grad;  ///< as `out`: the gradient by the sums before the relu
  };

  Product forward_product(std::size_t l, std::int64_t in_ld, bool with_mask) const;
  Product weight_product(std::size_t l, std::int64_t in_ld) const;
  Product input_product(std::size_t l, std::int64_t out_ld, bool with_mask) const;
  /// Whether a mask leads from layer l's outputs to their gradient.
  bool has_mask(std::size_t l, std::int64_t in_ld);
  std::int64_t in_ld(std::size_t l, const MatrixView& in) const;
  void multiply(const char* operation, const Product& product, const ProductMemory& memory);

  cudaStream_t stream_;
  LibraryProducts* library_;
  const DenseStack* stack_;
  std::int64_t batch_;
  float* poison_ = nullptr;  ///< [1]
  std::vector<Layer> layers_;
  std::int64_t bytes_ = 0;
};

}  // namespace curate::cuda
