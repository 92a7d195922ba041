#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "curate/options.h"
#include "device/measuring_device.h"
#include "train/device_training.h"

namespace curate {

/// Bytes that a training takes at its peak, which a MeasuringDevice has counted.
struct MemoryEstimate {
  /// In buffers of the device when they hold the most, by what they are for: TrainResult::device_bytes, to the byte.
  ///   ratings     users, items and ratings as given and in the order of the epoch, or in the plan of per-rating SGD
  ///   segments    batches grouped by user and by item
  ///   parameters  as they are stored, with padding
  ///   features    which values a user or item has, and in mf the sums of their vectors
  ///   gradients, optimizer, best_epoch (its parameters), batches (rows, values and predictions), and
  ///   transfers   beside parameters that are padded or have 16 bits, while they go to or come from the host
  std::vector<MeasuringDevice::Part> arrays;
  std::int64_t scratch = 0;   ///< what the device takes besides
  std::int64_t host = 0;      ///< what comes on top in the host's memory
  std::int64_t data_set = 0;  ///< of `host`: ratings and ids, which are there before

  std::int64_t array_bytes() const;
  /// Of the arrays for that; 0: there are none.
  std::int64_t array_bytes(std::string_view what) const;
  /// On the device. A GPU's driver and the libraries' code take more.
  std::int64_t device_bytes() const { return array_bytes() + scratch; }
  /// In all, if the host is the device.
  std::int64_t all_bytes() const { return device_bytes() + host; }
};

/// Goes through a training on `device`, which is new. `resolved` as resolve() returns them. Throws as check_ratings()
/// and check_device() do.
MemoryEstimate estimate_memory(MeasuringDevice& device, const TrainOptions& resolved, const TrainingSize& size);

}  // namespace curate
