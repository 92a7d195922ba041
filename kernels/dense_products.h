#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "kernels/dense.h"
#include "kernels/library_products.h"
#include "kernels/scratch.h"
#include "kernels/wide_stack.h"

namespace curate::cuda {

/// The products of dense layers: by NVIDIA's libraries if layers are wide and a library is there and right, else by
/// tiles of our own.
class DenseProducts {
 public:
  /// Looks for no library yet. The scratch is the device's.
  DenseProducts(cudaStream_t stream, const GpuShape& gpu, const ScratchFloats& scratch);

  /// ops::PrepareDense. Calls every product of a wide layer once, with matrices as models lay them out.
  void prepare(const DenseSize& size, ProductPrecision precision);

  /// What prepare() was told last.
  ProductPrecision precision() const { return precision_; }

  /// ops::DenseForward.
  void forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
               const MatrixView& state, bool capturing);

  /// ops::DenseBackward.
  void backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                const DenseParams& params, const Activation& activation, const MatrixView& state, bool capturing);

  /// How the library takes a stack of layers as a whole; nothing if it does not. Not inside a capture.
  std::optional<DenseStackLayout> lay_out_stack(const DenseStack& stack, std::int64_t batch);
  /// ops::DenseStackForward of a stack that lay_out_stack() took.
  void stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                     const MatrixView& state);
  /// ops::DenseStackBackward of the same.
  void stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params, const MatrixView& in,
                      const DenseStack& stack, const MatrixView& workspace, const MatrixView& state);

  /// What became of the libraries' products so far.
  std::vector<ProductReport> reports() const { return library_.reports(); }

 private:
  /// An operand as the library takes it.
  struct Operand {
    const void* data;
    std::int64_t ld;
  };
  /// A layer's operands of one operation, rounded if that is asked for.
  class Operands;

  /// A stack that lay_out_stack() took, in a workspace that has to have room for it.
  WideStack wide_stack(const DenseStack& stack, const MatrixView& in, const MatrixView& workspace);
  /// Whether a library may multiply such a layer; readies the memory that it takes.
  bool takes(const DenseSize& size, bool capturing);
  void reserve_rounded(const DenseSize& size);
  bool multiply(const char* operation, const Product& product, const MatrixView& out, const Operand& first,
                const Operand& second, const MatrixView& bias);
  /// Throws DeviceError if less than f32 was asked for: such a product is not done in f32 without a word.
  void refuse_f32(const char* operation, const Product& product) const;

  cudaStream_t stream_;
  ScratchFloats scratch_;
  ProductPrecision precision_ = ProductPrecision::f32;
  LibraryProducts library_;
  /// For bf16. The last one is the largest; captured operations may still name the others.
  std::vector<std::unique_ptr<Scratch<Bf16>>> rounded_;
  std::int64_t rounded_elements_ = 0;
};

}  // namespace curate::cuda
