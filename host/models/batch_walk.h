#pragma once

#include <algorithm>
#include <cstdint>

#include "device/device.h"

namespace curate {

/// Rows of a network's batch outside of training.
inline constexpr std::int64_t kPredictionBatch = 16384;

/// Rows of a network's buffers for batches of that size. They are multiples of 128 if the buffers may go to a library
/// that multiplies matrices: its sums over the batch are then whole numbers of its tiles (an odd number of rows has no
/// fast algorithm in bf16). Rows past the batch are finite and add nothing.
constexpr std::int64_t batch_rows(std::int64_t batch) {
  constexpr std::int64_t kUnit = 128;
  constexpr std::int64_t kShortest = 512;  // shorter ones go to no library: kernels/dense_products.cpp
  return batch < kShortest ? batch : (batch + kUnit - 1) / kUnit * kUnit;
}

/// Walks pairs of users and items batch by batch, outside of training.
class BatchWalk {
 public:
  BatchWalk(Device& device, std::int64_t batch)
      : device_(&device), batch_(batch), state_(device.allocate_array<StepState>(1)) {}

  std::int64_t batch() const { return batch_; }

  /// Calls enqueue(state, begin, count) for every batch of `total` pairs.
  template <typename Enqueue>
  void run(std::int64_t total, Enqueue enqueue) const {
    const MatrixView state = state_.view(DType::step_state, 1);
    device_->zero(state);
    device_->enqueue(ops::BeginEpoch{state, {0, 0, total, batch_, {}}});
    for (std::int64_t begin = 0; begin < total; begin += batch_) {
      enqueue(state, begin, std::min(batch_, total - begin));
      device_->enqueue(ops::AdvanceStep{state});
    }
  }

 private:
  Device* device_;
  std::int64_t batch_;
  Buffer state_;
};

/// The first `count` rows of a matrix.
inline MatrixView first_rows(MatrixView matrix, std::int64_t count) {
  matrix.rows = std::min(matrix.rows, count);
  return matrix;
}

}  // namespace curate
