#include "models/embedding_table.h"

namespace curate {
EmbeddingTable::EmbeddingTable(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias,
                               const Storage& storage)
    : device_(&device), storage_(storage), weights_(device, rows, dim, with_bias, storage.dtype) {}

EmbeddingTable::EmbeddingTable(Device& device, const FeatureSource& feature, std::int64_t dim, bool with_bias)
    : EmbeddingTable(device, feature.values, dim, with_bias) {
  const MemoryLabel label(device, "features");
  num_bags_ = feature.rows;
  num_bag_rows_ = feature.ids;
  bag_starts_ = device.allocate_array<std::int32_t>(num_bags_ + 1);
  bag_rows_ = device.allocate_array<std::int32_t>(num_bag_rows_);
  if (feature.data == nullptr) {
    return;
  }
  device.upload(bags().starts, std::span<const std::int32_t>(feature.data->starts));
  if (num_bag_rows_ > 0) {
    device.upload(bags().rows, std::span<const std::int32_t>(feature.data->ids));
  }
}

BagsView EmbeddingTable::bags() const {
  return {bag_starts_.view(DType::i32, num_bags_ + 1), bag_rows_.view(DType::i32, num_bag_rows_)};
}

void EmbeddingTable::prepare_gradients() {
  const MemoryLabel label(*device_, "gradients");
  gradient_ = EmbeddingRows(*device_, weights_.rows(), weights_.dim(), weights_.with_bias());
}

template <typename Each>
void EmbeddingTable::each_part(const MatrixView& rows, const Each& each) const {
  if (!in_16_bits()) {
    each(rows, moved(weights_));
    return;
  }
  each(rows.columns(0, weights_.dim()), weights_.embedding());
  if (weights_.with_bias()) {
    each(rows.columns(weights_.dim(), 1), weights_.bias());
  }
}

void EmbeddingTable::gather(const MatrixView& rows, const MatrixView& index, const MatrixView& state, bool add) const {
  if (is_feature()) {
    device_->enqueue(ops::BagRows{rows, moved(weights_), bags(), index, BagKind::mean, state, add});
    return;
  }
  each_part(rows, [&](const MatrixView& part, const MatrixView& table) {
    device_->enqueue(ops::GatherRows{part, table, index, state});
  });
}

void EmbeddingTable::scatter_add(const MatrixView& grad_rows, const MatrixView& index, const SegmentsView& segments,
                                 ScatterKind kind, const MatrixView& state) {
  if (is_feature()) {
    device_->enqueue(ops::BagRowsBackward{moved(gradient_), grad_rows, bags(), index, BagKind::mean, kind, state});
  } else {
    device_->enqueue(ops::ScatterAddRows{moved(gradient_), grad_rows, index, segments, kind, state});
  }
}

void EmbeddingTable::add_l2(const MatrixView& grad_rows, const MatrixView& index, float l2,
                            const MatrixView& state) const {
  each_part(grad_rows, [&](const MatrixView& part, const MatrixView& table) {
    device_->enqueue(ops::AddL2Rows{part, table, index, l2, state});
  });
}

}  // namespace curate
