#include "models/embedding_table.h"

#include <utility>

namespace curate {
namespace {

/// Elements of a row padded to 16 bytes, the widest vector access of the engines' kernels.
std::int64_t padded_columns(std::int64_t columns, DType dtype) {
  const auto unit = static_cast<std::int64_t>(16 / size_of(dtype));
  return (columns + unit - 1) / unit * unit;
}

}  // namespace

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
  return padded_columns(dim_ + (holds_bias() ? 1 : 0), dtype_);
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

EmbeddingTable::EmbeddingTable(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias,
                               const Storage& storage)
    : device_(&device), storage_(storage), weights_(device, rows, dim, with_bias, storage.dtype) {}

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
  const auto make = [&] { return EmbeddingRows(*device_, weights_.rows(), weights_.dim(), weights_.with_bias()); };
  gradient_ = make();
  if (optimizer.kind == OptimizerKind::adam) {
    first_moment_ = make();
  }
  if (optimizer.kind != OptimizerKind::sgd) {
    second_moment_ = make();
  }
}

void EmbeddingTable::end_training() {
  gradient_ = {};
  first_moment_ = {};
  second_moment_ = {};
}

void EmbeddingTable::add_slots(std::vector<NamedParameter>& all, const std::string& prefix) const {
  for (const auto& [name, slot] : {std::pair("first_moment", &first_moment_), {"second_moment", &second_moment_}}) {
    if (slot->rows() > 0) {
      all.push_back({prefix + "." + name, slot->whole()});
    }
  }
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
    device_->bag_rows(rows, moved(weights_), bags(), index, BagKind::mean, state, add);
    return;
  }
  each_part(rows,
            [&](const MatrixView& part, const MatrixView& table) { device_->gather_rows(part, table, index, state); });
}

void EmbeddingTable::scatter_add(const MatrixView& grad_rows, const MatrixView& index, const SegmentsView& segments,
                                 ScatterKind kind, const MatrixView& state) {
  if (is_feature()) {
    device_->bag_rows_backward(moved(gradient_), grad_rows, bags(), index, BagKind::mean, kind, state);
  } else {
    device_->scatter_add_rows(moved(gradient_), grad_rows, index, segments, kind, state);
  }
}

void EmbeddingTable::add_l2(const MatrixView& grad_rows, const MatrixView& index, float l2,
                            const MatrixView& state) const {
  each_part(grad_rows, [&](const MatrixView& part, const MatrixView& table) {
    device_->add_l2_rows(part, table, index, l2, state);
  });
}

TrainedTable EmbeddingTable::trained(MatrixView (EmbeddingRows::*view)() const) const {
  const auto of = [view](const EmbeddingRows& table) { return table.rows() == 0 ? MatrixView{} : (table.*view)(); };
  return {of(weights_), of(gradient_), of(first_moment_), of(second_moment_), storage_.rounding};
}

void EmbeddingTable::update(const SegmentsView& segments, const MatrixView& state) {
  const auto step = [&](const TrainedTable& table, const OptimizerParams& optimizer) {
    if (dense_) {
      device_->update_dense(table, optimizer, state);
    } else {
      device_->update_rows(table, segments, optimizer, state);
    }
  };
  const bool alike = !optimizer_.non_negative && optimizer_.weight_decay == 0.0F;
  if (!in_16_bits() && (alike || !weights_.with_bias())) {
    // In one sweep: the padding is zero, has no gradient, and so stays zero.
    step(trained(&EmbeddingRows::whole), optimizer_);
    return;
  }
  OptimizerParams bias_optimizer = optimizer_;
  bias_optimizer.non_negative = false;
  bias_optimizer.weight_decay = 0.0F;
  step(trained(&EmbeddingRows::embedding), optimizer_);
  if (weights_.with_bias()) {
    step(trained(&EmbeddingRows::bias), bias_optimizer);
  }
}

}  // namespace curate
