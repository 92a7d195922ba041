#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/emulator/engine.h"
#include "tests/reference/build_segments.h"
#include "tests/support/compare.h"
#include "tests/support/random_inputs.h"

namespace curate::test {

/// The emulated GPU in the schedules in which a suite is run.
inline std::vector<std::string> emulated_test_devices([[maybe_unused]] const char* suite) {
  emulator::add_emulated_engine();
  std::vector<std::string> names = emulator::emulated_devices();
#if defined(__SANITIZE_ADDRESS__)
  // Slow: one schedule, another one for other suites, and none that of the last, in which workers wait for each other.
  const std::size_t chosen = std::string_view(suite).size() % (names.size() - 1);
  names = {names[chosen]};
#endif
  return names;
}

/// Every device that this build can test, as make_device takes them.
inline std::vector<std::string> test_devices(const char* suite) {
  std::vector<std::string> names = emulated_test_devices(suite);
#if defined(__SANITIZE_ADDRESS__)
  names.insert(names.begin(), "cpu-deferred");  // the kernels of "cpu", run when what the host passed may be gone
#else
  names.insert(names.begin(), {"cpu", "cpu-deferred"});
#endif
  if (why_no_cuda().empty()) {
    names.emplace_back("cuda");
  }
  return names;
}

/// Those of them that store embeddings in 16 bits.
inline std::vector<std::string> test_devices_with_16_bits(const char* suite) {
  std::vector<std::string> names = emulated_test_devices(suite);
  if (why_no_cuda().empty()) {
    names.emplace_back("cuda");
  }
  return names;
}

/// What outputs hold before an operation: finite, so that the comparator takes it, and far from any result.
constexpr float kUntouched = -98765.5F;
constexpr std::int32_t kUntouchedIndex = -98765;

/// What lies between the rows of padded matrices: reading it poisons a float result and leaves every table.
template <typename T>
T padding_of() {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<float>(0x7fc0beefU);  // a NaN that no arithmetic produces
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return std::numeric_limits<std::int32_t>::min();
  } else {
    return T{};
  }
}

/// A host matrix put on a device, with any distance between its rows. Without rows it stands for "absent".
template <typename T>
class DeviceMatrix {
 public:
  DeviceMatrix() = default;

  /// `values` is [rows, cols] contiguous. ld 0 means cols.
  DeviceMatrix(Device& device, const std::vector<T>& values, std::int64_t rows, std::int64_t cols = 1,
               std::int64_t ld = 0) {
    ld = ld == 0 ? cols : ld;
    const std::vector<T> padded = pad_rows(values, rows, cols, ld, padding_of<T>());
    buffer_ = device.allocate_array<T>(rows * ld);
    whole_ = buffer_.view(dtype_of<T>(), rows, ld);
    if (rows > 0) {
      device.upload(whole_, std::span<const T>(padded));
    }
    view_ = whole_.columns(0, cols);
  }

  const MatrixView& view() const { return view_; }

  /// [rows, cols] contiguous. Blocks.
  std::vector<T> values() const {
    const std::vector<T> padded = download();
    std::vector<T> values;
    values.reserve(static_cast<std::size_t>(view_.rows * view_.cols));
    for (std::int64_t row = 0; row < view_.rows; ++row) {
      const auto first = padded.begin() + row * whole_.ld;
      values.insert(values.end(), first, first + view_.cols);
    }
    return values;
  }

  /// Whether nobody wrote between the rows. Blocks.
  testing::AssertionResult padding_intact() const {
    const std::vector<T> padded = download();
    for (std::int64_t row = 0; row < whole_.rows; ++row) {
      for (std::int64_t col = view_.cols; col < whole_.cols; ++col) {
        const T value = padded[static_cast<std::size_t>(row * whole_.ld + col)];
        if (std::bit_cast<std::uint32_t>(value) != std::bit_cast<std::uint32_t>(padding_of<T>())) {
          return testing::AssertionFailure() << "padding of row " << row << " overwritten at column " << col;
        }
      }
    }
    return testing::AssertionSuccess();
  }

 private:
  std::vector<T> download() const {
    std::vector<T> padded(static_cast<std::size_t>(whole_.rows * whole_.cols));
    if (!padded.empty()) {
      whole_.device->download(std::span<T>(padded), whole_);
    }
    return padded;
  }

  Buffer buffer_;
  MatrixView whole_;
  MatrixView view_;
};

/// The first `count` rows. Blocks.
inline std::vector<float> first_rows(const DeviceMatrix<float>& matrix, std::int64_t count) {
  std::vector<float> values = matrix.values();
  values.resize(static_cast<std::size_t>(count * matrix.view().cols));
  return values;
}

/// Whether the rows from `first` on hold kUntouched still, and nobody wrote between any rows. Blocks.
inline testing::AssertionResult untouched_from(const DeviceMatrix<float>& matrix, std::int64_t first,
                                               const std::string& label) {
  const std::vector<float> values = matrix.values();
  for (auto i = static_cast<std::size_t>(first * matrix.view().cols); i < values.size(); ++i) {
    if (values[i] != kUntouched) {
      return testing::AssertionFailure() << label << ": element " << i << " past the count overwritten";
    }
  }
  if (const testing::AssertionResult result = matrix.padding_intact(); !result) {
    return testing::AssertionFailure() << label << ": " << result.message();
  }
  return testing::AssertionSuccess();
}

/// Whether nobody wrote between the rows, and, unless an operation may overwrite the rows from `first` on, there.
inline testing::AssertionResult untouched_from(const DeviceMatrix<float>& matrix, std::int64_t first,
                                               const std::string& label, bool may_overwrite) {
  return may_overwrite ? matrix.padding_intact() : untouched_from(matrix, first, label);
}

/// Predictions are taken as they are.
inline constexpr ClipRange kNoClip{-kInfinity, kInfinity};

/// The state at a batch of an epoch, written out here so that tests do not depend on the engine's arithmetic.
inline StepState batch_state(std::int64_t num_ratings, std::int64_t batch_size, std::int64_t batch = 0,
                             float learning_rate = 0.0F) {
  StepState state;
  state.num_ratings = num_ratings;
  state.batch_size = batch_size;
  state.batch = batch;
  state.batch_begin = batch * batch_size;
  state.batch_count = std::clamp<std::int64_t>(num_ratings - batch * batch_size, 0, batch_size);
  state.step = batch;
  state.learning_rate = learning_rate;
  return state;
}

/// The state of an epoch that is one batch.
inline StepState epoch_state(std::int64_t ratings, float learning_rate, std::int64_t epoch = 0) {
  StepState state = batch_state(ratings, ratings, 0, learning_rate);
  state.epoch = epoch;
  return state;
}

inline DeviceMatrix<StepState> on_device(Device& device, const StepState& state) {
  return DeviceMatrix<StepState>(device, {state}, 1);
}

inline DeviceMatrix<ErrorSums> on_device(Device& device, const ErrorSums& sums) {
  return DeviceMatrix<ErrorSums>(device, {sums}, 1);
}

inline testing::AssertionResult sums_match(const ErrorSums& got, const ErrorSums& expected, Tolerance tolerance,
                                           const std::string& label) {
  if (got.count != expected.count) {
    return testing::AssertionFailure() << label << ": count " << got.count << " instead of " << expected.count;
  }
  return all_close(std::vector<double>{got.squared, got.absolute, got.absolute_whole_stars},
                   std::vector<double>{expected.squared, expected.absolute, expected.absolute_whole_stars}, tolerance,
                   label + ", sums [squared, absolute, whole stars]");
}

/// A HostMf on a device, as tables or as the rows of a batch. Padding goes between all rows, those of the biases too:
/// then they are columns of a wider matrix.
struct DeviceMf {
  DeviceMf(Device& device, const HostMf& mf, std::int64_t padding = 0)
      : user(device, mf.user, mf.users, mf.dim, mf.dim + padding),
        item(device, mf.item, mf.items, mf.dim, mf.dim + padding),
        user_bias(device, mf.user_bias, mf.user_bias.empty() ? 0 : mf.users, 1, 1 + padding),
        item_bias(device, mf.item_bias, mf.item_bias.empty() ? 0 : mf.items, 1, 1 + padding),
        mean(device, {mf.mean}, 1) {}

  MfTables tables() const { return {user.view(), item.view(), user_bias.view(), item_bias.view(), mean.view()}; }
  MfRows rows() const { return {user.view(), item.view(), user_bias.view(), item_bias.view(), mean.view()}; }

  testing::AssertionResult padding_intact() const {
    for (const DeviceMatrix<float>* matrix : {&user, &item, &user_bias, &item_bias}) {
      if (const testing::AssertionResult result = matrix->padding_intact(); !result) {
        return result;
      }
    }
    return testing::AssertionSuccess();
  }

  DeviceMatrix<float> user;
  DeviceMatrix<float> item;
  DeviceMatrix<float> user_bias;
  DeviceMatrix<float> item_bias;
  DeviceMatrix<float> mean;
};

/// Ratings on the host and on a device.
struct HostRatings {
  std::vector<std::int32_t> users;
  std::vector<std::int32_t> items;
  std::vector<float> ratings;

  std::int64_t size() const { return static_cast<std::int64_t>(ratings.size()); }
};

struct DeviceRatings {
  DeviceRatings(Device& device, const HostRatings& host)
      : users(device, host.users, host.size()),
        items(device, host.items, host.size()),
        ratings(device, host.ratings, host.size()) {}

  RatingsView view() const { return {users.view(), items.view(), ratings.view()}; }

  DeviceMatrix<std::int32_t> users;
  DeviceMatrix<std::int32_t> items;
  DeviceMatrix<float> ratings;
};

/// Segments made by the reference on a device, so that no operation under test makes the input of another.
struct DeviceSegments {
  DeviceSegments(Device& device, const reference::Segments& host)
      : rows(device, host.rows, static_cast<std::int64_t>(host.rows.size())),
        starts(device, host.starts, static_cast<std::int64_t>(host.starts.size())),
        positions(device, host.positions, static_cast<std::int64_t>(host.positions.size())),
        counts(device, host.counts, static_cast<std::int64_t>(host.counts.size())) {}

  SegmentsView view() const { return {rows.view(), starts.view(), positions.view(), counts.view()}; }

  DeviceMatrix<std::int32_t> rows;
  DeviceMatrix<std::int32_t> starts;
  DeviceMatrix<std::int32_t> positions;
  DeviceMatrix<std::int32_t> counts;
};

/// Ends the process with 3 where no GPU's operation works any more: every test that follows would fail for the fault of
/// this one, or pass without having run. Programs that run these tests read the line, and run the others anew.
inline void end_where_context_is_broken(const std::string& device) {
  try {
    make_device(device)->synchronize();
  } catch (const Error& error) {  // also where the machine seems to have no GPU any more
    const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
    std::cout << "[ POISONED ] " << test->test_suite_name() << '.' << test->name() << '\n'
              << error.what() << "\nNo test after this one was run." << std::endl;
    std::_Exit(3);
  }
}

/// For the end of every test that has used a device.
inline void check_device_after_test(Device& used, const std::string& name) {
  try {
    used.synchronize();
  } catch (const DeviceError& error) {
    ADD_FAILURE() << "after the test: " << error.what();
  }
  if (testing::Test::HasFailure() && name.starts_with("cuda")) {
    end_where_context_is_broken(name);
  }
}

/// The fixture of all tests that run on every device.
class DeviceTest : public testing::TestWithParam<std::string> {
 protected:
  // Three threads, whatever the machine: few sizes divide by three, so uneven shares are always tested.
  DeviceTest() : device_(make_device(GetParam(), 3)) {}

  void TearDown() override { check_device_after_test(*device_, GetParam()); }

  Device& device() { return *device_; }

  /// The same kind of device with other numbers of threads, or other schedules, for results that must not depend on
  /// them.
  static std::vector<std::unique_ptr<Device>> devices_by_threads() {
    std::vector<std::unique_ptr<Device>> devices;
    if (GetParam().starts_with(emulator::kEmulatedDevice)) {
      devices.push_back(make_device(emulator::kEmulatedDevice));  // of every schedule's test: so all are compared
      return devices;
    }
    for (const int threads : {1, 2, 5}) {
      devices.push_back(make_device(GetParam(), threads));
    }
    return devices;
  }

 private:
  std::unique_ptr<Device> device_;
};

inline std::string device_test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '-' || c == ':' || c == ','; }, '_');
  return name;
}

}  // namespace curate::test

/// Runs the TEST_Ps of `suite`, a class derived from DeviceTest, on every device.
#define CURATE_TEST_ON_EVERY_DEVICE(suite)                                                        \
  INSTANTIATE_TEST_SUITE_P(devices, suite, testing::ValuesIn(curate::test::test_devices(#suite)), \
                           curate::test::device_test_name)
