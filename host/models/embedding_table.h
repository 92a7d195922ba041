#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "models/embedding_rows.h"
#include "models/feature_source.h"
#include "models/trainables.h"

namespace curate {

/// How a table's embeddings are stored.
struct Storage {
  DType dtype = DType::f32;
  RandomPurpose rounding{};  ///< of 16 bits
};

/// A table of one embedding per row, with an optional bias that lives in the same padded row, so that a rating touches
/// one stretch of memory per side. Or a table of one embedding per value of a feature; a user or item then has the mean
/// of the embeddings of its values.
class EmbeddingTable {
 public:
  EmbeddingTable(Device& device, std::int64_t rows, std::int64_t dim, bool with_bias, const Storage& storage = {});
  EmbeddingTable(Device& device, const FeatureSource& feature, std::int64_t dim, bool with_bias);

  MatrixView embedding() const { return weights_.embedding(); }
  MatrixView bias() const { return weights_.bias(); }
  /// Whole rows of 16 bytes if embeddings have 16 bits, zeros after them; else embedding().
  MatrixView padded_embedding() const { return in_16_bits() ? weights_.whole() : weights_.embedding(); }

  /// Allocates gradients, all zero.
  void prepare_gradients();
  /// Frees them.
  void end_gradients() { gradient_ = {}; }

  /// Between the two.
  MatrixView gradient() const { return gradient_.embedding(); }
  MatrixView bias_gradient() const { return gradient_.bias(); }
  TrainableTable trainable(const std::string& name, TableRows rows) const {
    return {name, is_feature() ? TableRows::values : rows, &weights_, &gradient_, storage_.rounding};
  }

  /// rows[b, :] = the embedding of index[b], a user or item: EmbeddingRows::whole() with biases, else [batch, dim].
  /// `add` (only features): it is added to what is there.
  void gather(const MatrixView& rows, const MatrixView& index, const MatrixView& state, bool add = false) const;

  /// Adds a batch's gradients of gathered rows, of the same columns.
  void scatter_add(const MatrixView& grad_rows, const MatrixView& index, const SegmentsView& segments, ScatterKind kind,
                   const MatrixView& state);

  /// With c = 2 * l2 / state.batch_count: grad_rows[b, :] += c * the embedding (and bias) of index[b]. Not of features.
  void add_l2(const MatrixView& grad_rows, const MatrixView& index, float l2, const MatrixView& state) const;

 private:
  bool is_feature() const { return bag_starts_.bytes() > 0; }
  bool in_16_bits() const { return storage_.dtype != DType::f32; }
  BagsView bags() const;

  /// What is gathered for a user or item: all columns with biases, else the embedding.
  MatrixView moved(const EmbeddingRows& rows) const { return rows.with_bias() ? rows.whole() : rows.embedding(); }

  /// Calls each(columns of `rows`, the weights that belong there) for a batch's rows: once, if both are laid out alike.
  template <typename Each>
  void each_part(const MatrixView& rows, const Each& each) const;

  Device* device_;
  Storage storage_;
  EmbeddingRows weights_;
  EmbeddingRows gradient_;
  // Of a feature: the values of every user or item.
  Buffer bag_starts_;
  Buffer bag_rows_;
  std::int64_t num_bags_ = 0;
  std::int64_t num_bag_rows_ = 0;
};

}  // namespace curate
