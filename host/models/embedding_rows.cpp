#include "models/embedding_rows.h"

#include "device/row_padding.h"

namespace curate {

EmbeddingRows::EmbeddingRows(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias, DType dtype)
    : rows_(rows), dim_(dim), with_bias_(with_bias), dtype_(dtype) {
  buffer_ = device.allocate(static_cast<std::size_t>(rows_ * ld()) * size_of(dtype_));
  if (with_bias_ && !holds_bias()) {
    bias_ = device.allocate_array<float>(rows_);
  }
  if (rows_ > 0) {
    // The padding too: what is never written must not be read as NaN by a vector load.
    device.zero(whole());
    if (bias_.bytes() > 0) {
      device.zero(bias());
    }
  }
}

std::int64_t EmbeddingRows::ld() const {
  return padded_columns(dim_ + (holds_bias() ? 1 : 0), size_of(dtype_));
}

MatrixView EmbeddingRows::embedding() const {
  return buffer_.view(dtype_, rows_, dim_, ld());
}

MatrixView EmbeddingRows::bias() const {
  if (!with_bias_) {
    return {};
  }
  return holds_bias() ? buffer_.view(DType::f32, rows_, 1, ld(), dim_) : bias_.view(DType::f32, rows_);
}

MatrixView EmbeddingRows::whole() const {
  return buffer_.view(dtype_, rows_, ld());
}

}  // namespace curate
