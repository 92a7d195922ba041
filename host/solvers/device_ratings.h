#pragma once

#include <cstdint>

#include "curate/dataset.h"
#include "device/device.h"

namespace curate {

/// Users, items and ratings in device memory.
class DeviceRatings {
 public:
  /// Uninitialised room for `count` ratings.
  DeviceRatings(Device& device, std::int64_t count);
  DeviceRatings(Device& device, const RatingTable& table);

  std::int64_t size() const { return count_; }
  RatingsView view() const;

 private:
  std::int64_t count_;
  Buffer users_;
  Buffer items_;
  Buffer ratings_;
};

}  // namespace curate
