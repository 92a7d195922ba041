#include "recommend/pair_scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "device/cpu/cpu_ops.h"
#include "models/members.h"

namespace curate {
namespace {

/// The mean of what a user's or item's values of a feature have, in out[cols].
void mean_of_values(float* out, const Feature& feature, const float* table, std::int64_t cols, std::int32_t id) {
  const auto begin = static_cast<std::size_t>(feature.starts[static_cast<std::size_t>(id)]);
  const auto end = static_cast<std::size_t>(feature.starts[static_cast<std::size_t>(id) + 1]);
  const auto values = static_cast<std::int64_t>(feature.values.size());
  cpu::mean_row(out, {table, values, cols, cols}, feature.ids.data() + begin, static_cast<std::int64_t>(end - begin));
}

void fetch_row(const float* row, std::int64_t cols) {
  if (cols == 0) {
    return;
  }
  constexpr std::int64_t kLine = 16;    // floats
  constexpr std::int64_t kMost = 1024;  // the memory finds the rest of a long row by itself
  for (std::int64_t k = 0; k < std::min(cols, kMost); k += kLine) {
    __builtin_prefetch(row + k);
  }
  __builtin_prefetch(row + cols - 1);
}

}  // namespace

PairScorer::Table PairScorer::table_of(const TensorMap& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    return {};
  }
  const Tensor& tensor = found->second;
  const std::int64_t cols = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
  return {tensor.values.data(), tensor.shape[0], cols, cols};
}

PairScorer::Side PairScorer::side_of(const TensorMap& tensors, const std::string& name) {
  return {table_of(tensors, name + ".embedding"), table_of(tensors, name + ".bias"),
          table_of(tensors, name + ".factors")};
}

PairScorer::PairScorer(const Model::Parts& parts, std::size_t member) : scratch_(std::make_unique<ScratchPool>(0)) {
  const ModelSpec spec = member_spec(parts, member);
  const TensorMap& tensors = member_tensors(parts, member);
  network_ = is_network(spec.kind);
  product_ = spec.product;
  user_ = side_of(tensors, "user");
  item_ = side_of(tensors, "item");
  for (const Feature& feature : parts.spec.features) {
    features_.push_back(
        {&feature, table_of(tensors, feature.prefix() + ".embedding"), table_of(tensors, feature.prefix() + ".bias")});
  }
  if (network_) {
    const std::vector<Activation> activations = mlp_shape_of(spec, tensors).activations;
    for (std::size_t layer = 0; layer < activations.size(); ++layer) {
      const Table weight = table_of(tensors, fmt::format("dense.{}.weight", layer));
      layers_.push_back({weight, table_of(tensors, fmt::format("dense.{}.bias", layer)).values, activations[layer]});
      row_floats_ = std::max({row_floats_, weight.rows, weight.cols});
    }
    scratch_->set_floats(static_cast<std::size_t>(2 * row_floats_));
  } else {
    row_floats_ = mf_shape_of(spec, tensors).dim + 1;
    scratch_->set_floats(static_cast<std::size_t>(3 * row_floats_));
    mean_ = tensors.at("global_mean").values.at(0);
  }
}

void PairScorer::read_from(const MfTables& tables) {
  const auto table_of_view = [](const MatrixView& view) {
    return view.empty() ? Table{} : Table{static_cast<const float*>(view.data), view.rows, view.cols, view.ld};
  };
  user_.embedding = table_of_view(tables.user);
  item_.embedding = table_of_view(tables.item);
  user_.bias = table_of_view(tables.user_bias);
  item_.bias = table_of_view(tables.item_bias);
}

void PairScorer::fetch(const Side& side, std::int32_t id) {
  if (id < 0) {
    return;
  }
  fetch_row(side.embedding.row(id), side.embedding.cols);
  if (side.bias.values != nullptr) {
    __builtin_prefetch(side.bias.row(id));
  }
  if (side.factors.values != nullptr) {
    fetch_row(side.factors.row(id), side.factors.cols);
  }
}

float PairScorer::score(std::int32_t user, std::int32_t item) const {
  if (!network_ && features_.empty()) {
    return score_mf(user, item);
  }
  const auto score_in = [&](float* scratch) {
    return network_ ? score_network(user, item, scratch) : score_mf_with_features(user, item, scratch);
  };
  if (scratch_->floats() <= kStackFloats) {
    std::array<float, kStackFloats> scratch;
    return score_in(scratch.data());
  }
  std::unique_ptr<float[]> scratch = scratch_->take();
  const float score = score_in(scratch.get());
  scratch_->give_back(std::move(scratch));
  return score;
}

float PairScorer::score_mf(std::int32_t user, std::int32_t item) const {
  // In the order of cpu::dot_rows.
  float base = mean_;
  base += user_.bias.values == nullptr ? 0.0F : *user_.bias.row(user);
  base += item_.bias.values == nullptr ? 0.0F : *item_.bias.row(item);
  return cpu::dot_row(user_.embedding.row(user), item_.embedding.row(item), user_.embedding.cols) + base;
}

/// row[dim, + 1 with biases] is what a user or item has of its own; the means of its features' values are added.
/// scratch: as long.
void PairScorer::add_features(float* row, float* scratch, FeatureSide side, std::int32_t id) const {
  for (const FeatureTables& tables : features_) {
    if (tables.feature->side != side) {
      continue;
    }
    const std::int64_t dim = tables.embedding.cols;
    mean_of_values(scratch, *tables.feature, tables.embedding.values, dim, id);
    std::int64_t cols = dim;
    if (tables.bias.values != nullptr) {
      mean_of_values(scratch + dim, *tables.feature, tables.bias.values, 1, id);
      ++cols;
    }
    for (std::int64_t k = 0; k < cols; ++k) {
      row[k] += scratch[k];
    }
  }
}

float PairScorer::score_mf_with_features(std::int32_t user, std::int32_t item, float* scratch) const {
  const std::int64_t dim = user_.embedding.cols;
  const bool biases = user_.bias.values != nullptr;
  float* const rows[2] = {scratch, scratch + row_floats_};
  for (const FeatureSide side : {FeatureSide::user, FeatureSide::item}) {
    const bool of_user = side == FeatureSide::user;
    const Side& own = of_user ? user_ : item_;
    const std::int32_t id = of_user ? user : item;
    float* const row = rows[of_user ? 0 : 1];
    std::copy_n(own.embedding.row(id), dim, row);
    row[dim] = biases ? *own.bias.row(id) : 0.0F;
    add_features(row, scratch + 2 * row_floats_, side, id);
  }
  float base = mean_;
  base += rows[0][dim];
  base += rows[1][dim];
  return cpu::dot_row(rows[0], rows[1], dim) + base;
}

float PairScorer::score_network(std::int32_t user, std::int32_t item, float* scratch) const {
  float* in = scratch;
  float* next = std::copy_n(user_.embedding.row(user), user_.embedding.cols, in);
  next = std::copy_n(item_.embedding.row(item), item_.embedding.cols, next);
  for (const FeatureTables& tables : features_) {
    const std::int32_t id = tables.feature->side == FeatureSide::user ? user : item;
    mean_of_values(next, *tables.feature, tables.embedding.values, tables.embedding.cols, id);
    next += tables.embedding.cols;
  }
  float* out = scratch + row_floats_;
  for (const DenseTables& layer : layers_) {
    const Table& weight = layer.weight;
    cpu::dense_row(out, in, {weight.values, weight.rows, weight.cols, weight.cols}, layer.bias, layer.activation);
    std::swap(in, out);
  }
  const float sum = in[0];
  if (product_) {
    return cpu::dot_row(user_.embedding.row(user), item_.embedding.row(item), user_.embedding.cols) + sum;
  }
  if (user_.factors.values == nullptr) {
    return sum;
  }
  return cpu::dot_row(user_.factors.row(user), item_.factors.row(item), user_.factors.cols) + sum;
}

}  // namespace curate
