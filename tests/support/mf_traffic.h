#pragma once

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/engine.h"
#include "tests/support/devices.h"

namespace curate::test {

/// Bytes that an epoch of per-rating SGD moves on the emulated GPU.
struct MfTraffic {
  std::int64_t ratings = 0;
  std::int64_t users = 0;
  std::int64_t plan = 0;     ///< read of the plan; every lane of a rating counts
  std::int64_t read = 0;     ///< of tables, and kOwnRead
  std::int64_t written = 0;  ///< to tables
  std::int64_t reduced = 0;  ///< to tables, and 4 for every user, and kOwnReduced

  static constexpr std::int64_t kOwnRead = sizeof(ErrorSums);  ///< the kernel's sums
  static constexpr std::int64_t kOwnReduced = 4 + 4;           ///< where users end, and the kernel's sums
};

/// Every user rates so many items once, half-stars; one worker, since what is moved does not depend on their number.
inline MfTraffic count_mf_traffic(std::int64_t dim, DType dtype, bool biases, std::int64_t users = 50,
                                  std::int64_t per_user = 40) {
  const std::int64_t items = 2 * per_user;
  emulator::add_emulated_engine();
  const auto device = make_device(emulator::kEmulatedDevice);
  HostRatings given;
  for (std::int64_t u = 0; u < users; ++u) {
    for (std::int64_t k = 0; k < per_user; ++k) {
      given.users.push_back(static_cast<std::int32_t>(u));
      given.items.push_back(static_cast<std::int32_t>((2 * k + u) % items));
      given.ratings.push_back(0.5F * static_cast<float>(1 + (k + u) % 10));
    }
  }
  const DeviceRatings ratings(*device, given);
  MfPlanOptions options;
  options.blocks = 1;
  const auto plan = device->run(ops::PlanMfEpoch{ratings.view(), users, items, options});
  const auto table = [&](std::int64_t rows) {
    Buffer buffer = device->allocate(static_cast<std::size_t>(rows * dim) * size_of(dtype));
    device->zero(buffer.view(dtype, rows, dim));
    return buffer;
  };
  const Buffer user = table(users);
  const Buffer item = table(items);
  const auto bias = [&](std::int64_t rows) {
    rows = biases ? rows : 0;
    return DeviceMatrix<float>(*device, std::vector<float>(static_cast<std::size_t>(rows), 0.0F), rows);
  };
  const DeviceMatrix<float> user_bias = bias(users);
  const DeviceMatrix<float> item_bias = bias(items);
  const DeviceMatrix<float> mean(*device, {3.5F}, 1);
  const MfTables tables{user.view(dtype, users, dim), item.view(dtype, items, dim), user_bias.view(), item_bias.view(),
                        mean.view()};
  const DeviceMatrix<ErrorSums> sums = on_device(*device, ErrorSums{});
  const DeviceMatrix<StepState> state = on_device(*device, batch_state(given.size(), given.size(), 0, 0.01F));
  device->synchronize();
  const emulator::Traffic before = emulator::traffic();
  device->enqueue(ops::MfSgdEpoch{tables, sums.view(), plan.get(), {0.05F, false}, state.view()});
  device->synchronize();
  const emulator::Traffic after = emulator::traffic();
  return {given.size(),
          users,
          after.read_only - before.read_only,
          after.read - before.read,
          after.written - before.written,
          after.reduced - before.reduced};
}

}  // namespace curate::test
