#pragma once

#include <cstdint>
#include <vector>

#include "models/rating_model.h"
#include "tests/support/devices.h"

namespace curate::test {

/// An epoch on a device, its ratings in the order given, at its first batch.
class TestEpoch {
 public:
  TestEpoch(Device& device, const HostRatings& ratings, std::int64_t batch, float learning_rate)
      : device_(&device),
        ratings_(device, ratings),
        state_(device, {StepState{}}, 1),
        sums_(device, {ErrorSums{}}, 1),
        user_segments_(device, reference::build_segments(ratings.users, batch, 0)),
        item_segments_(device, reference::build_segments(ratings.items, batch, 0)) {
    view_ = {ratings_.view(), user_segments_.view(), item_segments_.view(), state_.view(), sums_.view()};
    device.enqueue(
        ops::BeginEpoch{view_.state, {1, 0, ratings.size(), batch, {ScheduleKind::constant, learning_rate, 1, 0}}});
  }

  const EpochView& view() const { return view_; }
  ErrorSums sums() const { return device_->read<ErrorSums>(view_.sums); }

 private:
  Device* device_;
  DeviceRatings ratings_;
  DeviceMatrix<StepState> state_;
  DeviceMatrix<ErrorSums> sums_;
  DeviceSegments user_segments_;
  DeviceSegments item_segments_;
  EpochView view_;
};

}  // namespace curate::test
