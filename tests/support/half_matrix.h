#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/support/devices.h"

namespace curate::test {

/// A matrix of 16 bits on a device, of values rounded to the nearest.
class HalfMatrix {
 public:
  HalfMatrix(Device& device, DType dtype, const std::vector<float>& values, std::int64_t rows, std::int64_t cols,
             std::int64_t ld = 0)
      : device_(&device), buffer_(device.allocate(static_cast<std::size_t>(rows * (ld == 0 ? cols : ld)) * 2)) {
    view_ = buffer_.view(dtype, rows, cols, ld);
    const DeviceMatrix<float> exact(device, values, rows, cols);
    device.copy(view_, exact.view());
  }

  const MatrixView& view() const { return view_; }
  std::vector<float> values() const {
    const DeviceMatrix<float> exact(*device_, std::vector<float>(static_cast<std::size_t>(view_.rows * view_.cols)),
                                    view_.rows, view_.cols);
    device_->copy(exact.view(), view_);
    return exact.values();
  }

 private:
  Device* device_;
  Buffer buffer_;
  MatrixView view_;
};

}  // namespace curate::test
