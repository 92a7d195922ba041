#pragma once

#include <cstdint>

#include "device/views.h"

namespace curate {

enum class OptimizerKind : std::uint8_t { sgd, adagrad, adam };

enum class ScatterKind : std::uint8_t {
  atomic,    ///< order of additions is the device's choice
  segments,  ///< sums each segment in order: deterministic
};

struct OptimizerParams {
  OptimizerKind kind = OptimizerKind::sgd;
  bool non_negative = false;
  float l2 = 0.0F;            ///< the gradient of l2 * |w|^2 is added to that of the loss
  float weight_decay = 0.0F;  ///< decoupled from the gradient: w -= lr * weight_decay * w (Loshchilov, Hutter 2019)
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float rate = 1.0F;  ///< times the state's learning rate
};

/// Rows of a table that belong together, as the genres of a film: those of bag i are rows[starts[i]] ..
/// rows[starts[i + 1] - 1].
struct BagsView {
  MatrixView starts;  ///< [bags + 1] i32, ascending from 0
  MatrixView rows;    ///< [n] i32; absent if all bags are empty
};

enum class BagKind : std::uint8_t { sum, mean };

/// Weights with their gradient and the optimizer's slots, all [rows, dim] f32: an embedding table, or a dense layer's
/// matrix or bias. Weights may be f16 or bf16.
struct TrainedTable {
  MatrixView weights;
  MatrixView gradient;
  MatrixView first_moment;   ///< Adam; else absent
  MatrixView second_moment;  ///< Adam, Adagrad; else absent
  RandomPurpose rounding{};  ///< of weights in 16 bits: tells the tables of one step apart
};

namespace ops {

/// out[b, :] = table[index[state.batch_begin + b], :]. out [batch, d] f32 (any ld, so that several gathers build one
/// concatenated matrix), table [rows, d] f32, index [n] i32. Bit-exact. 8d + 4 bytes. out may be bf16 if tables
/// may: then it is rounded to the nearest.
struct GatherRows {
  static constexpr const char* kName = "gather_rows";

  MatrixView out;
  MatrixView table;
  MatrixView index;
  MatrixView state;

  void check(const Device& device) const;
};

/// out[b, :] = the sum of table[row, :] over the rows of bag index[state.batch_begin + b], added in their order;
/// mean: that divided by their number. An empty bag gives zeros. With `add` it is added to what out[b, :] is. out
/// [batch, d] f32 or bf16 as in GatherRows (any ld), table [rows, d] f32, index [n] i32 in [0, bags). Bit-exact.
/// With m rows to a bag (4d + 4) m + 4d + 12 bytes, 4d more with `add`.
struct BagRows {
  static constexpr const char* kName = "bag_rows";

  MatrixView out;
  MatrixView table;
  BagsView bags;
  MatrixView index;
  BagKind kind = BagKind::sum;
  MatrixView state;
  bool add = false;

  void check(const Device& device) const;
};

/// Its gradient: grad_table[row, :] += grad_rows[b, :], mean: divided by the number of rows in the bag, for every b
/// of the batch and every row of bag index[state.batch_begin + b], as often as the bag has it. segments:
/// deterministic; on a GPU each row of the table goes through all bags of the batch, so it is for tables of some
/// hundred rows. atomic: (12d + 4) m + 12 bytes.
struct BagRowsBackward {
  static constexpr const char* kName = "bag_rows_backward";

  MatrixView grad_table;
  MatrixView grad_rows;
  BagsView bags;
  MatrixView index;
  BagKind kind = BagKind::sum;
  ScatterKind scatter = ScatterKind::atomic;
  MatrixView state;

  void check(const Device& device) const;
};

/// grad_table[index[state.batch_begin + b], :] += grad_rows[b, :] for every b of the batch. `segments` belong to the
/// same index; the atomic variant ignores them. segments: bit-exact whatever the schedule. 12d + 4 bytes.
struct ScatterAddRows {
  static constexpr const char* kName = "scatter_add_rows";

  MatrixView grad_table;
  MatrixView grad_rows;
  MatrixView index;
  SegmentsView segments;
  ScatterKind kind = ScatterKind::atomic;
  MatrixView state;

  void check(const Device& device) const;
};

/// grad_rows[b, :] += 2 * l2 / state.batch_count * table[index[state.batch_begin + b], :]: the gradient of
/// mean(l2 * |row|^2) over the batch, lambda per rating, for gathered rows that were changed since. grad_rows
/// [batch, d] f32, table [rows, d] f32, index [n] i32. Deterministic. 12d + 4 bytes.
struct AddL2Rows {
  static constexpr const char* kName = "add_l2_rows";

  MatrixView grad_rows;
  MatrixView table;
  MatrixView index;
  float l2 = 0.0F;
  MatrixView state;

  void check(const Device& device) const;
};

/// One optimizer step with lr = state.learning_rate * rate, t = state.step + 1 on the rows of the batch's segments
/// (lazy). With g = the row's gradient + 2 l2 w, elementwise, after w -= lr weight_decay w:
///   sgd      w -= lr g
///   adagrad  v += g^2; w -= lr g / (sqrt(v) + epsilon)                     (Duchi et al. 2011)
///   adam     m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
///            w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)   (Kingma and Ba 2015, algorithm 1)
/// then w = max(w, 0) if non_negative; the gradient of every row updated is set to zero.
/// A batch of 0 ratings changes nothing. Deterministic. Lazy: 12d to 28d bytes per touched row.
struct UpdateRows {
  static constexpr const char* kName = "update_rows";

  TrainedTable table;
  SegmentsView segments;
  OptimizerParams params;
  MatrixView state;

  void check(const Device& device) const;
};

/// The same step on all rows, as Keras takes it on embeddings too. Deterministic. 12 to 28 bytes per element.
struct UpdateDense {
  static constexpr const char* kName = "update_dense";

  TrainedTable table;
  OptimizerParams params;
  MatrixView state;

  void check(const Device& device) const;
};

/// table *= exp(-state.learning_rate * rate), all rows: what an epoch of that learning rate makes of an L2 that counts
/// once an epoch, however many ratings a row has. table [rows, d] f32, f16 or bf16 (rounded to the nearest), any ld.
/// Deterministic. 8d bytes a row, 4d in 16 bits.
struct DecayRows {
  static constexpr const char* kName = "decay_rows";

  MatrixView table;
  float rate = 0.0F;
  MatrixView state;

  void check(const Device& device) const;
};

}  // namespace ops
}  // namespace curate

#define CURATE_ROW_OPERATIONS(X) \
  X(GatherRows) X(BagRows) X(BagRowsBackward) X(ScatterAddRows) X(AddL2Rows) X(UpdateRows) X(UpdateDense) X(DecayRows)
