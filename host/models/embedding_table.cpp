#include "models/embedding_table.h"

namespace curate {
namespace {

/// Elements of a row padded to 16 bytes, the widest vector access of the engines' kernels.
std::int64_t padded_columns(std::int64_t columns) {
  return (columns + 3) / 4 * 4;
}

}  // namespace

EmbeddingTable::Padded::Padded(Device& device, std::int64_t num_rows, std::int64_t num_factors, bool has_bias)
    : rows(num_rows), dim(num_factors), with_bias(has_bias) {
  const std::int64_t ld = padded_columns(dim + (with_bias ? 1 : 0));
  buffer = device.allocate_array<float>(rows * ld);
  if (rows > 0) {
    // The padding too: what is never written must not be read as NaN by a vector load.
    device.zero(buffer.view(DType::f32, rows, ld));
  }
}

MatrixView EmbeddingTable::Padded::embedding() const {
  return buffer.view(DType::f32, rows, dim, padded_columns(dim + (with_bias ? 1 : 0)));
}

MatrixView EmbeddingTable::Padded::bias() const {
  if (!with_bias) {
    return {};
  }
  return buffer.view(DType::f32, rows, 1, padded_columns(dim + 1), dim);
}

MatrixView EmbeddingTable::Padded::whole() const {
  return buffer.view(DType::f32, rows, padded_columns(dim + (with_bias ? 1 : 0)));
}

EmbeddingTable::EmbeddingTable(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias)
    : device_(&device), weights_(device, rows, dim, with_bias) {}

EmbeddingTable::EmbeddingTable(Device& device, const Feature& feature, std::int64_t dim, bool with_bias)
    : EmbeddingTable(device, static_cast<std::int64_t>(feature.values.size()), dim, with_bias) {
  num_bags_ = feature.rows();
  num_bag_rows_ = static_cast<std::int64_t>(feature.ids.size());
  bag_starts_ = device.allocate_array<std::int32_t>(num_bags_ + 1);
  bag_rows_ = device.allocate_array<std::int32_t>(num_bag_rows_);
  device.upload(bags().starts, std::span<const std::int32_t>(feature.starts));
  if (num_bag_rows_ > 0) {
    device.upload(bags().rows, std::span<const std::int32_t>(feature.ids));
  }
}

BagsView EmbeddingTable::bags() const {
  return {bag_starts_.view(DType::i32, num_bags_ + 1), bag_rows_.view(DType::i32, num_bag_rows_)};
}

void EmbeddingTable::prepare_training(const OptimizerParams& optimizer, bool dense) {
  optimizer_ = optimizer;
  // A feature has few values, of which a batch has most.
  dense_ = dense || is_feature();
  const auto make = [&] { return Padded(*device_, weights_.rows, weights_.dim, weights_.with_bias); };
  gradient_ = make();
  if (optimizer.kind == OptimizerKind::adam) {
    first_moment_ = make();
  }
  if (optimizer.kind != OptimizerKind::sgd) {
    second_moment_ = make();
  }
}

void EmbeddingTable::gather(const MatrixView& rows, const MatrixView& bias_rows, const MatrixView& index,
                            const MatrixView& state, bool add) const {
  if (is_feature()) {
    device_->bag_rows(rows, embedding(), bags(), index, BagKind::mean, state, add);
    if (weights_.with_bias) {
      device_->bag_rows(bias_rows, bias(), bags(), index, BagKind::mean, state, add);
    }
    return;
  }
  device_->gather_rows(rows, embedding(), index, state);
  if (weights_.with_bias) {
    device_->gather_rows(bias_rows, bias(), index, state);
  }
}

void EmbeddingTable::scatter_add(const MatrixView& grad_rows, const MatrixView& grad_bias_rows, const MatrixView& index,
                                 const SegmentsView& segments, ScatterKind kind, const MatrixView& state) {
  if (is_feature()) {
    device_->bag_rows_backward(gradient_.embedding(), grad_rows, bags(), index, BagKind::mean, kind, state);
    if (weights_.with_bias) {
      device_->bag_rows_backward(gradient_.bias(), grad_bias_rows, bags(), index, BagKind::mean, kind, state);
    }
    return;
  }
  device_->scatter_add_rows(gradient_.embedding(), grad_rows, index, segments, kind, state);
  if (weights_.with_bias) {
    device_->scatter_add_rows(gradient_.bias(), grad_bias_rows, index, segments, kind, state);
  }
}

void EmbeddingTable::add_l2(const MatrixView& grad_rows, const MatrixView& grad_bias_rows, const MatrixView& index,
                            float l2, const MatrixView& state) const {
  device_->add_l2_rows(grad_rows, embedding(), index, l2, state);
  if (weights_.with_bias) {
    device_->add_l2_rows(grad_bias_rows, bias(), index, l2, state);
  }
}

TrainedTable EmbeddingTable::trained(MatrixView (Padded::*view)() const) const {
  const auto of = [view](const Padded& table) { return table.rows == 0 ? MatrixView{} : (table.*view)(); };
  return {of(weights_), of(gradient_), of(first_moment_), of(second_moment_)};
}

void EmbeddingTable::update(const SegmentsView& segments, const MatrixView& state) {
  OptimizerParams bias_optimizer = optimizer_;
  bias_optimizer.non_negative = false;
  bias_optimizer.weight_decay = 0.0F;
  const bool alike = !optimizer_.non_negative && optimizer_.weight_decay == 0.0F;
  if (dense_ && (alike || !weights_.with_bias)) {
    // In one contiguous sweep: the padding is zero, has no gradient, and so stays zero.
    device_->update_dense(trained(&Padded::whole), optimizer_, state);
    return;
  }
  const auto step = [&](const TrainedTable& table, const OptimizerParams& optimizer) {
    if (dense_) {
      device_->update_dense(table, optimizer, state);
    } else {
      device_->update_rows(table, segments, optimizer, state);
    }
  };
  step(trained(&Padded::embedding), optimizer_);
  if (weights_.with_bias) {
    step(trained(&Padded::bias), bias_optimizer);
  }
}

std::vector<float> download_matrix(const MatrixView& source) {
  std::vector<float> values(static_cast<std::size_t>(source.rows * source.cols));
  if (values.empty()) {
    return values;
  }
  if (source.ld == source.cols) {
    source.device->download(std::span<float>(values), source);
    return values;
  }
  const Buffer dense = source.device->allocate_array<float>(source.rows * source.cols);
  const MatrixView view = dense.view(DType::f32, source.rows, source.cols);
  source.device->copy(view, source);
  source.device->download(std::span<float>(values), view);
  return values;
}

void upload_matrix(const MatrixView& destination, std::span<const float> source) {
  if (destination.empty()) {
    return;
  }
  if (destination.ld == destination.cols) {
    destination.device->upload(destination, source);
    return;
  }
  const Buffer dense = destination.device->allocate_array<float>(destination.rows * destination.cols);
  const MatrixView view = dense.view(DType::f32, destination.rows, destination.cols);
  destination.device->upload(view, source);
  destination.device->copy(destination, view);
}

}  // namespace curate
