#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "kernels/cublaslt.h"
#include "kernels/dense.h"
#include "kernels/scratch.h"
#include "kernels/wide_stack.h"

namespace curate::cuda {

/// The products of dense layers: by cuBLASLt where layers are wide and the library is there, else by tiles of our own.
class DenseProducts {
 public:
  /// Allocates; looks for no library yet.
  DenseProducts(cudaStream_t stream, int compute_capability_major);

  /// Device::prepare_dense.
  void prepare(const DenseSize& size, ProductPrecision precision);

  /// What prepare() was told last.
  ProductPrecision precision() const { return precision_; }

  /// Device::dense_forward.
  void forward(const DenseBatch& batch, const DenseParams& params, const Activation& activation,
               const MatrixView& state, bool capturing);

  /// Device::dense_backward.
  void backward(const DenseBatch& grad, const DenseParams& grad_params, const DenseBatch& batch,
                const DenseParams& params, const Activation& activation, const MatrixView& state, bool capturing);

  /// How a stack of layers goes by the library as a whole, if it does. Not inside a capture.
  std::optional<DenseStackPlan> plan_stack(const DenseStack& stack, std::int64_t batch);
  /// Device::dense_stack_forward of a stack that plan_stack() took.
  void stack_forward(const MatrixView& out, const MatrixView& in, const DenseStack& stack, const MatrixView& workspace,
                     const MatrixView& state);
  /// Device::dense_stack_backward of the same.
  void stack_backward(const DenseBatch& grad, const std::vector<DenseParams>& grad_params, const MatrixView& in,
                      const DenseStack& stack, const MatrixView& workspace, const MatrixView& state);

  /// 16 MiB, for whatever operation needs it: eight slices of a layer of 512 x 1024, and more of smaller ones.
  DenseScratch scratch() const { return {scratch_.data(), kScratchFloats}; }

 private:
  static constexpr std::size_t kScratchFloats = std::size_t{4} << 20U;

  /// An operand as the library takes it.
  struct Operand {
    const void* data;
    std::int64_t ld;
  };
  /// A layer's operands of one operation, rounded where that is asked for.
  class Operands;

  void load();
  /// A stack that plan_stack() took, in a workspace that has to have room for it.
  WideStack wide_stack(const DenseStack& stack, const MatrixView& in, const MatrixView& workspace) const;
  CublasLt* library(bool capturing);
  /// That may multiply such a layer, with the memory that it takes; nullptr where there is none.
  CublasLt* library_for(const DenseSize& size, bool capturing);
  void reserve_rounded(const DenseSize& size);
  bool multiply(const char* operation, Product product, const MatrixView& out, const Operand& first,
                const Operand& second, const MatrixView& bias);
  void fall_back(const char* operation) const;

  cudaStream_t stream_;
  int compute_capability_major_;
  Scratch<float> scratch_;
  ProductPrecision precision_ = ProductPrecision::f32;
  bool looked_ = false;
  std::unique_ptr<CublasLt> library_;
  std::string why_not_;
  /// For bf16. The last one is the largest; captured operations may still name the others.
  std::vector<std::unique_ptr<Scratch<Bf16>>> rounded_;
  std::int64_t rounded_elements_ = 0;
};

}  // namespace curate::cuda
