#include "solvers/optimizer.h"

#include <cstdint>
#include <string>
#include <utility>

namespace curate {
namespace {

bool has_first_moment(const OptimizerParams& params) {
  return params.kind == OptimizerKind::adam;
}
bool has_second_moment(const OptimizerParams& params) {
  return params.kind != OptimizerKind::sgd;
}

std::int64_t elements_of(const TrainableLayer& layer) {
  return layer.weights.weight.rows * (layer.weights.weight.cols + 1);
}

/// The part of a layer's buffer that belongs to its weight, or its bias; absent if the buffer is.
DenseParams views_of(const Buffer& buffer, const TrainableLayer& layer) {
  if (buffer.bytes() == 0) {
    return {};
  }
  const MatrixView& weight = layer.weights.weight;
  return {buffer.view(DType::f32, weight.rows, weight.cols),
          buffer.view(DType::f32, weight.rows, 1, 1, weight.rows * weight.cols)};
}

Buffer zeros(Device& device, std::int64_t elements) {
  Buffer buffer = device.allocate_array<float>(elements);
  device.zero(buffer.view(DType::f32, elements));
  return buffer;
}

}  // namespace

OptimizerParams OptimizerOptions::features() const {
  OptimizerParams params = shared.value_or(rows);
  params.l2 = feature_reg;
  return params;
}

OptimizerParams OptimizerOptions::dense() const {
  OptimizerParams params = shared.value_or(rows);
  params.non_negative = false;
  params.l2 = dense_reg;
  return params;
}

Optimizer::Optimizer(Device& device, const Trainables& trainables, const OptimizerOptions& options) : device_(&device) {
  const MemoryLabel label(device, "optimizer");
  for (const TrainableTable& table : trainables.tables) {
    const bool feature = table.rows == TableRows::values;
    const OptimizerParams params = feature ? options.features() : options.rows;
    const auto make = [&](bool wanted) {
      const EmbeddingRows& weights = *table.weights;
      return wanted ? EmbeddingRows(device, weights.rows(), weights.dim(), weights.with_bias()) : EmbeddingRows();
    };
    // A feature has few values, and a batch has most of them.
    tables_.push_back({table, params, options.dense_updates || feature, make(has_first_moment(params)),
                       make(has_second_moment(params))});
  }
  for (const TrainableLayer& layer : trainables.layers) {
    const OptimizerParams params = options.dense();
    const auto make = [&](bool wanted) { return wanted ? zeros(device, elements_of(layer)) : Buffer(); };
    layers_.push_back({layer, params, make(has_first_moment(params)), make(has_second_moment(params))});
  }
}

std::vector<NamedParameter> Optimizer::slots() const {
  std::vector<NamedParameter> all;
  for (const Table& table : tables_) {
    for (const auto& [name, slot] :
         {std::pair(".first_moment", &table.first_moment), {".second_moment", &table.second_moment}}) {
      if (slot->rows() > 0) {
        all.push_back({table.trainable.name + name, slot->whole()});
      }
    }
  }
  for (const Layer& layer : layers_) {
    for (const auto& [name, slot] :
         {std::pair(".first_moment", &layer.first_moment), {".second_moment", &layer.second_moment}}) {
      if (slot->bytes() > 0) {
        all.push_back({layer.trainable.name + name, slot->view(DType::f32, elements_of(layer.trainable)), true});
      }
    }
  }
  return all;
}

void Optimizer::enqueue_step(const EpochView& epoch) {
  for (const Table& table : tables_) {
    step_on(table, epoch);
  }
  for (const Layer& layer : layers_) {
    step_on(layer, epoch.state);
  }
}

TrainedTable Optimizer::Table::trained(MatrixView (EmbeddingRows::*view)() const) const {
  const auto of = [view](const EmbeddingRows& rows) { return rows.rows() == 0 ? MatrixView{} : (rows.*view)(); };
  return {of(*trainable.weights), of(*trainable.gradient), of(first_moment), of(second_moment), trainable.rounding};
}

void Optimizer::step_on(const Table& table, const EpochView& epoch) {
  const SegmentsView& segments = table.trainable.rows == TableRows::users ? epoch.user_segments : epoch.item_segments;
  const auto step = [&](MatrixView (EmbeddingRows::*view)() const, const OptimizerParams& params) {
    if (table.every_row) {
      device_->enqueue(ops::UpdateDense{table.trained(view), params, epoch.state});
    } else {
      device_->enqueue(ops::UpdateRows{table.trained(view), segments, params, epoch.state});
    }
  };
  const EmbeddingRows& weights = *table.trainable.weights;
  const bool alike = !table.params.non_negative && table.params.weight_decay == 0.0F;
  if (weights.in_f32() && (alike || !weights.with_bias())) {
    // In one sweep: the padding is zero, has no gradient, and so stays zero.
    step(&EmbeddingRows::whole, table.params);
    return;
  }
  step(&EmbeddingRows::embedding, table.params);
  if (weights.with_bias()) {
    OptimizerParams params = table.params;
    params.non_negative = false;
    params.weight_decay = 0.0F;
    step(&EmbeddingRows::bias, params);
  }
}

void Optimizer::step_on(const Layer& layer, const MatrixView& state) {
  const auto& [name, weights, gradient] = layer.trainable;
  const DenseParams first = views_of(layer.first_moment, layer.trainable);
  const DenseParams second = views_of(layer.second_moment, layer.trainable);
  device_->enqueue(
      ops::UpdateDense{{weights.weight, gradient.weight, first.weight, second.weight}, layer.params, state});
  OptimizerParams params = layer.params;
  params.l2 = 0.0F;
  params.weight_decay = 0.0F;
  device_->enqueue(ops::UpdateDense{{weights.bias, gradient.bias, first.bias, second.bias}, params, state});
}

}  // namespace curate
