#include "solvers/device_ratings.h"

#include <span>

namespace curate {

DeviceRatings::DeviceRatings(Device& device, std::int64_t count)
    : device_(&device),
      count_(count),
      users_(device.allocate_array<std::int32_t>(count)),
      items_(device.allocate_array<std::int32_t>(count)),
      ratings_(device.allocate_array<float>(count)) {}

DeviceRatings::DeviceRatings(Device& device, const RatingTable& table) : DeviceRatings(device, table.size()) {
  load(table);
}

void DeviceRatings::load(const RatingTable& table, std::int64_t first) {
  if (table.size() == 0) {
    return;
  }
  const RatingsView to = view(first, table.size());
  device_->upload(to.users, std::span<const std::int32_t>(table.users));
  device_->upload(to.items, std::span<const std::int32_t>(table.items));
  device_->upload(to.ratings, std::span<const float>(table.ratings));
}

RatingsView DeviceRatings::view(std::int64_t first, std::int64_t count) const {
  return {users_.view(DType::i32, count, 1, 0, first), items_.view(DType::i32, count, 1, 0, first),
          ratings_.view(DType::f32, count, 1, 0, first)};
}

}  // namespace curate
