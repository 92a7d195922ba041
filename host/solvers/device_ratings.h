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

  /// Uploads ratings to the places from `first` on. Throws std::out_of_range if they are more than there is room for.
  void load(const RatingTable& table, std::int64_t first = 0);

  std::int64_t size() const { return count_; }
  RatingsView view() const { return view(0, count_); }
  RatingsView view(std::int64_t first, std::int64_t count) const;

 private:
  Device* device_;
  std::int64_t count_;
  Buffer users_;
  Buffer items_;
  Buffer ratings_;
};

}  // namespace curate
