#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "device/device.h"

namespace curate {

/// A table of one embedding per row, with an optional bias that lives in the same padded row, so that a rating touches
/// one stretch of memory per side.
class EmbeddingTable {
 public:
  EmbeddingTable(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias);

  MatrixView embedding() const { return weights_.embedding(); }
  MatrixView bias() const { return weights_.bias(); }

  /// Allocates gradients and the optimizer's slots, all zero.
  /// With `dense` updates the optimizer steps on every row, else on the batch's.
  void prepare_training(const OptimizerParams& optimizer, bool dense);

  /// Only after prepare_training.
  MatrixView gradient() const { return gradient_.embedding(); }
  MatrixView bias_gradient() const { return gradient_.bias(); }

  /// rows[b, :] = the embedding of index[b]; bias_rows likewise where the table has biases.
  void gather(const MatrixView& rows, const MatrixView& bias_rows, const MatrixView& index,
              const MatrixView& state) const;

  /// Adds a batch's gradients of gathered rows.
  void scatter_add(const MatrixView& grad_rows, const MatrixView& grad_bias_rows, const MatrixView& index,
                   const SegmentsView& segments, ScatterKind kind, const MatrixView& state);

  /// One optimizer step; biases are not decayed nor kept non-negative.
  void update(const SegmentsView& segments, const MatrixView& state);

 private:
  /// A [rows, dim (+ 1)] matrix in rows padded to 16 bytes.
  struct Padded {
    Padded() = default;
    Padded(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias);
    MatrixView embedding() const;
    MatrixView bias() const;
    /// All columns, the padding included.
    MatrixView whole() const;

    Buffer buffer;
    std::int64_t rows = 0;
    std::int64_t dim = 0;
    bool with_bias = false;
  };

  /// The same view of weights, gradients and slots.
  TrainedTable trained(MatrixView (Padded::*view)() const) const;

  Device* device_;
  Padded weights_;
  Padded gradient_;
  Padded first_moment_;
  Padded second_moment_;
  OptimizerParams optimizer_;
  bool dense_ = false;
};

/// A device matrix of any ld to a contiguous host array.
std::vector<float> download_matrix(const MatrixView& source);
/// A contiguous host array to a device matrix of any ld.
void upload_matrix(const MatrixView& destination, std::span<const float> source);

}  // namespace curate
