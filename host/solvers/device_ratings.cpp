#include "solvers/device_ratings.h"

#include <span>

namespace curate {

DeviceRatings::DeviceRatings(Device& device, std::int64_t count)
    : count_(count),
      users_(device.allocate_array<std::int32_t>(count)),
      items_(device.allocate_array<std::int32_t>(count)),
      ratings_(device.allocate_array<float>(count)) {}

DeviceRatings::DeviceRatings(Device& device, const RatingTable& table) : DeviceRatings(device, table.size()) {
  if (count_ == 0) {
    return;
  }
  const RatingsView to = view();
  device.upload(to.users, std::span<const std::int32_t>(table.users));
  device.upload(to.items, std::span<const std::int32_t>(table.items));
  device.upload(to.ratings, std::span<const float>(table.ratings));
}

RatingsView DeviceRatings::view() const {
  return {users_.view(DType::i32, count_), items_.view(DType::i32, count_), ratings_.view(DType::f32, count_)};
}

}  // namespace curate
