#pragma once

#include <cstdint>

#include "device/device.h"

namespace curate {

/// A [rows, dim (+ 1)] matrix in rows padded to 16 bytes: embeddings and, in the column after them, biases; at first 0.
/// With embeddings in 16 bits the biases are f32 in an array of their own.
class EmbeddingRows {
 public:
  EmbeddingRows() = default;
  EmbeddingRows(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias, DType dtype = DType::f32);

  MatrixView embedding() const;
  /// Absent without biases.
  MatrixView bias() const;
  /// All columns: embedding, bias (of f32 rows that have one) and padding, in which nothing but 0 is ever written.
  MatrixView whole() const;
  /// Whether a row has its bias too.
  bool holds_bias() const { return with_bias_ && dtype_ == DType::f32; }

  std::int64_t rows() const { return rows_; }
  std::int64_t dim() const { return dim_; }
  bool with_bias() const { return with_bias_; }
  bool in_f32() const { return dtype_ == DType::f32; }

 private:
  std::int64_t ld() const;

  Buffer buffer_;
  Buffer bias_;  ///< if rows do not hold it
  std::int64_t rows_ = 0;
  std::int64_t dim_ = 0;
  bool with_bias_ = false;
  DType dtype_ = DType::f32;
};

}  // namespace curate
