#pragma once

#include <cstdint>
#include <vector>

#include "curate/column.h"
#include "curate/options.h"
#include "device/device.h"
#include "support/thread_pool.h"

namespace curate {

/// Bytes that per-rating SGD cannot do without: read and write of the item's row and, with biases, of its bias, and the
/// rating in four bytes. 8 dim + 8 + 4. Rows of users are read and written once for many ratings and do not count.
double mf_bytes_per_rating(std::int32_t dim, bool biases, EmbeddingPrecision precision = EmbeddingPrecision::f32);

/// Operations of the dense layers, forward and backward: 3 x 2 x the sum of inputs x outputs. Of the mlp model, options
/// resolved.
double mlp_flops_per_rating(const TrainOptions& resolved);

/// Reads, changes and writes rows of items and does nothing else: what an epoch of per-rating SGD would take on the CPU
/// if it only moved the rows of items. `items` are those of ratings (at most the first kMostRatings), dealt into groups
/// of about equally many ratings. A thread goes through the ratings of one group, shuffled as an epoch's are, in a
/// table of that group alone, with the most rated items first and rows fetched ahead as mf_sgd_kernel.h does.
class ItemRowProbe {
 public:
  static constexpr std::int64_t kMostRatings = std::int64_t{1} << 23U;

  /// Items lie in [0, num_items); groups >= 1. The pool has to outlive the probe.
  ItemRowProbe(const Column<std::int32_t>& items, std::int32_t num_items, std::int32_t dim, std::int32_t groups,
               ThreadPool& pool);

  std::int64_t ratings() const { return ratings_; }
  /// Read and written in a pass: 8 dim for the row, 4 for its number.
  double bytes() const;

  /// One pass: every row becomes (row + 1) / 2 as often as it has ratings. Seconds.
  double run();

  /// The first element of an item's row; 0 before the first pass.
  float value(std::int32_t item) const;

 private:
  ThreadPool& pool_;
  std::size_t dim_;
  std::int64_t ratings_ = 0;
  std::vector<std::int32_t> row_of_item_;
  std::vector<std::int64_t> first_row_;     ///< by group
  std::vector<std::int64_t> first_rating_;  ///< by group, in rows_
  Column<std::int32_t> rows_;               ///< by group: rows within its table, and a few more to be fetched ahead
  Column<float> tables_;
};

/// Multiplications of square matrices by the engine's own gemm, one on each thread at once.
double gemm_flops_per_second(ThreadPool& pool, std::int64_t size);

/// A dense layer of `size` inputs and outputs over a batch of as many, on any device.
double dense_flops_per_second(Device& device, std::int64_t size);

/// A copy on the device: bytes read and bytes written.
double copy_bytes_per_second(Device& device, std::int64_t bytes);

}  // namespace curate
