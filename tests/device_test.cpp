#include "device/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "device/cuda_engine.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/random_inputs.h"

// Sanitizers end the process at an allocation that they find absurd, unless they are told to fail like malloc does.
// Weak, so that another file of the same executable may say more; exported, for the sanitizer's library looks it up.
extern "C" {
__attribute__((weak, visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
__attribute__((weak, visibility("default"))) const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}
}

namespace curate::test {
namespace {

using ContractTest = DeviceTest;
CURATE_TEST_ON_EVERY_DEVICE(ContractTest);

using Floats = std::vector<float>;
using Ids = std::vector<std::int32_t>;

// ---------------------------------------------------------------------------------------------------- making devices

TEST(MakeDevice, rejects_a_name_that_does_not_exist) {
  try {
    make_device("nonsense");
    FAIL() << "nonsense is no device";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("nonsense"), std::string::npos) << error.what();
  }
  EXPECT_THROW(make_device(""), InputError);
}

TEST(MakeDevice, auto_picks_a_device_that_works_and_says_why) {
  const AutoDevice chosen = choose_device();
  EXPECT_NE(chosen.name, "cpu-deferred") << "a device for tests";
  EXPECT_FALSE(chosen.reason.empty());
  EXPECT_EQ(make_device(chosen.name)->info().name, chosen.name);
}

// Catches: a GPU that quietly turns into the CPU, and a reason given where nothing is wrong.
TEST(MakeDevice, cuda_works_or_the_reason_is_known) {
  const std::string reason = why_no_cuda();
  EXPECT_EQ(reason.find('\n'), std::string::npos) << reason;
  if (reason.empty()) {
    EXPECT_EQ(make_device("cuda")->info().name, "cuda");
  } else {
    EXPECT_THROW(make_device("cuda"), InputError);
  }
}

TEST(MakeDevice, names_of_gpus) {
  EXPECT_EQ(gpu_of("cuda"), 0);
  EXPECT_EQ(gpu_of("cuda:0"), 0);
  EXPECT_EQ(gpu_of("cuda:11"), 11);
  for (const char* name :
       {"cpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda1", "cuda:99999999999", "cuda-emulated"}) {
    EXPECT_EQ(gpu_of(name), std::nullopt) << name;
  }
  EXPECT_TRUE(is_device_name("cuda:3"));
  EXPECT_FALSE(is_device_name("cuda:x"));
  EXPECT_THROW(make_device("cuda:x"), InputError);
  EXPECT_THROW(make_device("cuda:987"), InputError);  // no machine has as many
}

TEST_P(ContractTest, info_names_the_device) {
  const DeviceInfo info = device().info();
  EXPECT_EQ(info.name, GetParam());
  EXPECT_FALSE(info.description.empty());
  EXPECT_GT(info.memory_bytes, 0U);
  if (GetParam().starts_with("cpu")) {
    EXPECT_EQ(info.threads, 3);
  }
}

// ------------------------------------------------------------------------------------------------- buffers and views

TEST(DTypes, have_the_sizes_of_their_types) {
  EXPECT_EQ(size_of(DType::f32), sizeof(float));
  EXPECT_EQ(size_of(DType::i32), sizeof(std::int32_t));
  EXPECT_EQ(size_of(DType::step_state), sizeof(StepState));
  EXPECT_EQ(size_of(DType::error_sums), sizeof(ErrorSums));
  EXPECT_STRNE(name_of(DType::f32), name_of(DType::i32));
}

TEST_P(ContractTest, view_carries_its_extents) {
  const Buffer buffer = device().allocate_array<float>(20);
  EXPECT_EQ(buffer.bytes(), 20 * sizeof(float));
  EXPECT_EQ(buffer.device(), &device());
  const MatrixView view = buffer.view(DType::f32, 3, 4, 6, 2);
  EXPECT_EQ(view.device, &device());
  EXPECT_EQ(view.rows, 3);
  EXPECT_EQ(view.cols, 4);
  EXPECT_EQ(view.ld, 6);
  EXPECT_EQ(view.dtype, DType::f32);
  EXPECT_FALSE(view.empty());
  EXPECT_EQ(buffer.view(DType::f32, 5, 4).ld, 4) << "ld defaults to cols";
  EXPECT_EQ(buffer.view(DType::f32, 20).cols, 1);
  EXPECT_EQ(buffer.view(DType::f32, 20).ld, 1);
}

// The end of a view is the end of its last row, not of its last stride: the last column of a matrix must be a view too.
TEST_P(ContractTest, view_may_end_with_the_buffer) {
  const Buffer buffer = device().allocate_array<float>(12);
  EXPECT_NO_THROW(buffer.view(DType::f32, 12));
  EXPECT_NO_THROW(buffer.view(DType::f32, 4, 3));
  EXPECT_NO_THROW(buffer.view(DType::f32, 4, 1, 3, 2));
  EXPECT_NO_THROW(buffer.view(DType::f32, 1, 5, 5, 7));
}

// Catches: bytes mistaken for elements, an offset left out of the sum, a product that overflows to something small.
TEST_P(ContractTest, view_out_of_range_throws) {
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max() / 2;
  const Buffer buffer = device().allocate_array<float>(12);
  EXPECT_THROW(buffer.view(DType::f32, 13), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 12, 1, 0, 1), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 4, 4), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 4, 1, 4), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 4, 1, 3, 3), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 1, 1, 1, 12), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 1, 1, 1, -1), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::step_state, 1), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, kHuge, 4), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 2, 1, kHuge * 2), std::out_of_range);
  EXPECT_THROW(buffer.view(DType::f32, 1, 1, 1, kHuge * 2), std::out_of_range);
  // What is no matrix at all is an error of the caller, of whichever kind.
  EXPECT_THROW(buffer.view(DType::f32, -1), std::logic_error);
  EXPECT_THROW(buffer.view(DType::f32, 2, 3, 2), std::logic_error);
  EXPECT_THROW(Buffer().view(DType::f32, 1), std::logic_error);
}

TEST_P(ContractTest, columns_are_a_window) {
  const DeviceMatrix<float> matrix(device(), {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4);
  const DeviceMatrix<float> out(device(), Floats(4, kUntouched), 2, 2);
  const MatrixView middle = matrix.view().columns(1, 2);
  EXPECT_EQ(middle.rows, 2);
  EXPECT_EQ(middle.cols, 2);
  EXPECT_EQ(middle.ld, 4);
  device().copy(out.view(), middle);
  EXPECT_TRUE(bits_equal(out.values(), Floats{2, 3, 6, 7}, "columns [1, 3)"));
  const DeviceMatrix<float> column(device(), Floats(2, kUntouched), 2);
  device().copy(column.view(), middle.columns(1, 1));
  EXPECT_TRUE(bits_equal(column.values(), Floats{3, 7}, "column 1 of the window"));
}

TEST_P(ContractTest, columns_out_of_range_throw) {
  const DeviceMatrix<float> matrix(device(), {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4, 6);
  EXPECT_THROW(matrix.view().columns(3, 2), std::out_of_range) << "reaches into the padding";
  EXPECT_THROW(matrix.view().columns(-1, 2), std::out_of_range);
  EXPECT_THROW(matrix.view().columns(0, 5), std::out_of_range);
}

TEST_P(ContractTest, buffers_move) {
  Buffer first = device().allocate_array<float>(2);
  device().upload(first.view(DType::f32, 2), std::span<const float>(Floats{1, 2}));
  Buffer second = std::move(first);
  EXPECT_EQ(first.bytes(), 0U);  // NOLINT(bugprone-use-after-move): the moved-from buffer must own nothing
  EXPECT_EQ(second.bytes(), 2 * sizeof(float));
  Buffer third = device().allocate_array<float>(5);
  third = std::move(second);
  EXPECT_EQ(third.bytes(), 2 * sizeof(float));
  Floats got(2);
  device().download(std::span<float>(got), third.view(DType::f32, 2));
  EXPECT_EQ(got, (Floats{1, 2}));
}

TEST_P(ContractTest, columns_whose_sum_overflows_throw) {
  const Buffer buffer = device().allocate_array<float>(4);
  const MatrixView view = buffer.view(DType::f32, 2, 2);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_THROW(view.columns(1, kMost), std::out_of_range);
  EXPECT_THROW(view.columns(kMost, 1), std::out_of_range);
}

TEST_P(ContractTest, a_move_empties_its_source_and_releases_what_the_target_held) {
  Buffer target = device().allocate_array<float>(4);
  Buffer source = device().allocate_array<float>(8);
  target = std::move(source);
  EXPECT_EQ(target.bytes(), 32U);
  EXPECT_EQ(source.bytes(), 0U);  // NOLINT: a moved-from buffer is empty by contract
  EXPECT_EQ(source.device(), nullptr);
}

TEST_P(ContractTest, allocating_nothing_inside_a_capture_throws_too) {
  EXPECT_THROW(device().capture([&] { device().allocate(0); }), std::logic_error);
  EXPECT_EQ(device().allocate(0).bytes(), 0U);
}

TEST_P(ContractTest, too_large_an_allocation_throws_and_names_its_size) {
  constexpr std::size_t kTooMuch = std::size_t{1} << 60U;
  try {
    const Buffer buffer = device().allocate(kTooMuch);
    FAIL() << "an exbibyte was allocated";
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find_first_of("0123456789"), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(device().allocate(1024)) << "the device must survive";
}

// ---------------------------------------------------------------------------------------------- transfers and copies

TEST_P(ContractTest, uploads_and_downloads_every_type) {
  const DeviceMatrix<float> floats(device(), {1.5F, -2.5F, 3.0F, 4.0F, 5.0F, 6.0F}, 2, 3);
  EXPECT_TRUE(bits_equal(floats.values(), Floats{1.5F, -2.5F, 3.0F, 4.0F, 5.0F, 6.0F}, "f32"));
  const DeviceMatrix<std::int32_t> ids(device(), {7, -8, 9}, 3);
  EXPECT_TRUE(bits_equal(ids.values(), Ids{7, -8, 9}, "i32"));
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(10, 4, 1, 0.5F));
  const auto got_state = device().read<StepState>(state.view());
  EXPECT_EQ(got_state.batch_begin, 4);
  EXPECT_EQ(got_state.learning_rate, 0.5F);
  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{1.5, 2.5, 3.5, 4});
  const auto got_sums = device().read<ErrorSums>(sums.view());
  EXPECT_EQ(got_sums.absolute_whole_stars, 3.5);
  EXPECT_EQ(got_sums.count, 4);
}

TEST_P(ContractTest, upload_writes_only_its_view) {
  const Buffer buffer = device().allocate_array<float>(6);
  device().upload(buffer.view(DType::f32, 6), std::span<const float>(Floats{1, 2, 3, 4, 5, 6}));
  device().upload(buffer.view(DType::f32, 1, 2, 2, 3), std::span<const float>(Floats{40, 50}));
  Floats got(6);
  device().download(std::span<float>(got), buffer.view(DType::f32, 6));
  EXPECT_EQ(got, (Floats{1, 2, 3, 40, 50, 6}));
  EXPECT_EQ(device().read<float>(buffer.view(DType::f32, 1, 1, 1, 4)), 50.0F);
}

// Catches: an upload that only remembers where its source is.
TEST_P(ContractTest, upload_source_is_reusable_at_once) {
  const Buffer buffer = device().allocate_array<float>(1000);
  const MatrixView view = buffer.view(DType::f32, 1000);
  {
    Floats source(1000, 1.0F);
    device().upload(view, std::span<const float>(source));
    source.assign(1000, 2.0F);
  }
  Floats got(1000);
  device().download(std::span<float>(got), view);
  EXPECT_TRUE(bits_equal(got, Floats(1000, 1.0F), "upload"));
}

// Catches: an upload that overtakes what was enqueued before it, or a download that does not wait.
TEST_P(ContractTest, transfers_keep_the_order_of_the_stream) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  const DeviceMatrix<float> b(device(), {0.0F}, 1);
  device().copy(b.view(), a.view());
  device().upload(a.view(), std::span<const float>(Floats{2.0F}));
  EXPECT_EQ(device().read<float>(b.view()), 1.0F) << "the copy was enqueued before the upload";
  device().copy(b.view(), a.view());
  EXPECT_EQ(device().read<float>(b.view()), 2.0F);
}

TEST_P(ContractTest, transfers_that_do_not_fit_throw) {
  const DeviceMatrix<float> matrix(device(), Floats(6, 0.0F), 2, 3);
  const DeviceMatrix<float> padded(device(), Floats(6, 0.0F), 2, 3, 5);
  Floats five(5);
  Floats six(6);
  Floats seven(7);
  Ids ids(6);
  EXPECT_THROW(device().upload(matrix.view(), std::span<const float>(five)), std::invalid_argument);
  EXPECT_THROW(device().upload(matrix.view(), std::span<const float>(seven)), std::invalid_argument);
  EXPECT_THROW(device().upload(matrix.view(), std::span<const std::int32_t>(ids)), std::invalid_argument);
  EXPECT_THROW(device().upload(padded.view(), std::span<const float>(six)), std::invalid_argument) << "ld != cols";
  EXPECT_THROW(device().download(std::span<float>(five), matrix.view()), std::invalid_argument);
  EXPECT_THROW(device().download(std::span<float>(seven), matrix.view()), std::invalid_argument);
  EXPECT_THROW(device().download(std::span<std::int32_t>(ids), matrix.view()), std::invalid_argument);
  EXPECT_THROW(device().download(std::span<float>(six), padded.view()), std::invalid_argument) << "ld != cols";
  EXPECT_THROW(device().read<float>(matrix.view()), std::invalid_argument);
  const std::unique_ptr<Device> other = make_device(GetParam());
  EXPECT_THROW(other->upload(matrix.view(), std::span<const float>(six)), std::invalid_argument);
  EXPECT_THROW(other->download(std::span<float>(six), matrix.view()), std::invalid_argument);
}

TEST_P(ContractTest, copy_honours_both_strides) {
  for (const std::int64_t cols : {1, 2, 3, 7, 16, 17, 64, 100, 128}) {
    RandomInputs inputs(static_cast<std::uint64_t>(cols));
    const Floats values = inputs.matrix(5, cols);
    const std::string label = std::to_string(cols) + " columns";
    for (const std::int64_t from : {0, 3}) {
      for (const std::int64_t to : {0, 5}) {
        const DeviceMatrix<float> source(device(), values, 5, cols, cols + from);
        const DeviceMatrix<float> destination(device(), Floats(values.size(), kUntouched), 5, cols, cols + to);
        device().copy(destination.view(), source.view());
        EXPECT_TRUE(bits_equal(destination.values(), values, label));
        EXPECT_TRUE(destination.padding_intact()) << label;
      }
    }
  }
  // Of rows that a thread each copies.
  for (const std::int64_t rows : kSizesPastABlock) {
    RandomInputs inputs(static_cast<std::uint64_t>(rows));
    const Floats values = inputs.matrix(rows, 1);
    const DeviceMatrix<float> source(device(), values, rows, 1, 3);
    const DeviceMatrix<float> destination(device(), Floats(values.size(), kUntouched), rows, 1, 2);
    device().copy(destination.view(), source.view());
    EXPECT_TRUE(bits_equal(destination.values(), values, std::to_string(rows) + " rows"));
    EXPECT_TRUE(destination.padding_intact()) << rows;
  }
}

TEST_P(ContractTest, copy_takes_every_type) {
  const DeviceMatrix<std::int32_t> ids(device(), {1, 2, 3}, 3);
  const DeviceMatrix<std::int32_t> more_ids(device(), {0, 0, 0}, 3);
  device().copy(more_ids.view(), ids.view());
  EXPECT_TRUE(bits_equal(more_ids.values(), Ids{1, 2, 3}, "i32"));
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(10, 4, 1));
  const DeviceMatrix<StepState> more_state = on_device(device(), StepState{});
  device().copy(more_state.view(), state.view());
  EXPECT_EQ(device().read<StepState>(more_state.view()).batch_begin, 4);
}

TEST_P(ContractTest, zero_clears_its_view_only) {
  const Buffer buffer = device().allocate_array<float>(100);
  device().upload(buffer.view(DType::f32, 100), std::span<const float>(Floats(100, 1.0F)));
  device().zero(buffer.view(DType::f32, 7, 11, 11, 13));
  Floats expected(100, 1.0F);
  std::fill(expected.begin() + 13, expected.begin() + 13 + 77, 0.0F);
  Floats got(100);
  device().download(std::span<float>(got), buffer.view(DType::f32, 100));
  EXPECT_TRUE(bits_equal(got, expected, "zero"));

  const DeviceMatrix<ErrorSums> sums = on_device(device(), ErrorSums{1, 2, 3, 4});
  device().zero(sums.view());
  const auto zeroed = device().read<ErrorSums>(sums.view());
  EXPECT_EQ(zeroed.squared, 0.0);
  EXPECT_EQ(zeroed.count, 0);
}

TEST_P(ContractTest, zero_of_a_padded_view_throws) {
  const DeviceMatrix<float> padded(device(), Floats(6, 1.0F), 2, 3, 5);
  EXPECT_THROW(device().zero(padded.view()), std::invalid_argument);
}

// ---------------------------------------------------------------------------------------------------------- asynchrony

// Catches: views or parameters kept by reference until the operation runs. A caller's structs are gone by then.
TEST_P(ContractTest, arguments_are_taken_when_enqueued) {
  RandomInputs inputs(101);
  const HostMf host = random_mf(inputs, 4, 4, 3, {});
  const DeviceMf mf(device(), host);
  const DeviceMatrix<float> prediction(device(), Floats(4, kUntouched), 4);
  const DeviceMatrix<float> expected(device(), Floats(4, kUntouched), 4);
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(4, 4));
  device().enqueue(ops::DotRows{expected.view(), mf.rows(), state.view()});
  device().synchronize();
  {
    auto rows = std::make_unique<MfRows>(mf.rows());
    auto out = std::make_unique<MatrixView>(prediction.view());
    device().enqueue(ops::DotRows{*out, *rows, state.view()});
    *rows = MfRows{};
    *out = MatrixView{};
  }
  EXPECT_TRUE(bits_equal(prediction.values(), expected.values(), "dot_rows"));

  const DeviceMatrix<StepState> epoch_state = on_device(device(), StepState{});
  {
    auto start = std::make_unique<EpochStart>(EpochStart{5, 6, 70, 8, {}});
    device().enqueue(ops::BeginEpoch{epoch_state.view(), *start});
    *start = EpochStart{};
  }
  EXPECT_EQ(device().read<StepState>(epoch_state.view()).num_ratings, 70);
}

// Catches: memory that goes back to the system, or to the next allocation, before the operations that use it have run.
TEST_P(ContractTest, a_buffer_may_die_before_its_operations_run) {
  constexpr std::int64_t kCount = 1000;
  const DeviceMatrix<float> out(device(), Floats(kCount, 0.0F), kCount);
  {
    const DeviceMatrix<float> source(device(), Floats(kCount, 3.0F), kCount);
    device().copy(out.view(), source.view());
  }
  const Buffer next = device().allocate_array<float>(kCount);
  device().zero(next.view(DType::f32, kCount));
  EXPECT_TRUE(bits_equal(out.values(), Floats(kCount, 3.0F), "destroyed"));

  Buffer assigned = device().allocate_array<float>(kCount);
  device().upload(assigned.view(DType::f32, kCount), std::span<const float>(Floats(kCount, 4.0F)));
  device().copy(out.view(), assigned.view(DType::f32, kCount));
  assigned = device().allocate_array<float>(kCount);
  device().zero(assigned.view(DType::f32, kCount));
  EXPECT_TRUE(bits_equal(out.values(), Floats(kCount, 4.0F), "assigned over"));
}

TEST_P(ContractTest, a_destination_may_die_before_its_operations_run) {
  const DeviceMatrix<float> source(device(), Floats(1000, 3.0F), 1000);
  {
    const Buffer buffer = device().allocate_array<float>(1000);
    device().copy(buffer.view(DType::f32, 1000), source.view());
  }
  EXPECT_NO_THROW(device().synchronize());
}

/// Device memory of the CPU engines is host memory, so a test may look at it without a blocking call, which would run
/// what is to be seen not running. Nothing but these tests may.
float peek(const MatrixView& view) {
  return *static_cast<const volatile float*>(view.data);
}

TEST(DeferredDevice, runs_nothing_before_a_blocking_call) {
  const std::unique_ptr<Device> device = make_device("cpu-deferred");
  const std::vector<std::pair<std::string, std::function<void(const MatrixView&)>>> blocking_calls = {
      {"synchronize", [&](const MatrixView&) { device->synchronize(); }},
      {"upload", [&](const MatrixView& spare) { device->upload(spare, std::span<const float>(Floats{9.0F})); }},
      {"download",
       [&](const MatrixView& spare) {
         Floats one(1);
         device->download(std::span<float>(one), spare);
       }},
      {"read", [&](const MatrixView& spare) { device->read<float>(spare); }},
      {"seconds_of", [&](const MatrixView& spare) { device->seconds_of([&] { device->zero(spare); }); }},
  };
  for (const auto& [name, block] : blocking_calls) {
    const DeviceMatrix<float> a(*device, {1.0F}, 1);
    const DeviceMatrix<float> b(*device, {2.0F}, 1);
    const DeviceMatrix<float> spare(*device, {0.0F}, 1);
    device->copy(b.view(), a.view());
    device->zero(a.view());
    EXPECT_EQ(peek(b.view()), 2.0F) << "copy ran early, " << name;
    EXPECT_EQ(peek(a.view()), 1.0F) << "zero ran early, " << name;
    block(spare.view());
    EXPECT_EQ(peek(b.view()), 1.0F) << name << " did not run what was enqueued";
    EXPECT_EQ(peek(a.view()), 0.0F) << name << " did not run what was enqueued";
  }
}

TEST(DeferredDevice, replay_runs_nothing_before_a_blocking_call) {
  const std::unique_ptr<Device> device = make_device("cpu-deferred");
  const DeviceMatrix<float> a(*device, {1.0F}, 1);
  const DeviceMatrix<float> b(*device, {2.0F}, 1);
  const std::unique_ptr<Graph> graph = device->capture([&] { device->copy(b.view(), a.view()); });
  device->replay(*graph, 1);
  EXPECT_EQ(peek(b.view()), 2.0F);
  device->synchronize();
  EXPECT_EQ(peek(b.view()), 1.0F);
}

// ------------------------------------------------------------------------------------------------------------- timing

// Catches: work of before that is counted too, a clock that stops before the work is done, other units than seconds.
TEST_P(ContractTest, seconds_of_counts_what_is_enqueued_inside_it_and_nothing_else) {
  constexpr std::int64_t kFloats = std::int64_t{1} << 20;
  const Buffer from = device().allocate_array<float>(kFloats);
  const Buffer to = device().allocate_array<float>(kFloats);
  const auto copies = [&] {
    for (int i = 0; i < 50; ++i) {
      device().copy(to.view(DType::f32, kFloats), from.view(DType::f32, kFloats));
    }
  };
  device().zero(from.view(DType::f32, kFloats));
  // The least of a few: other programs may share the device.
  constexpr int kTries = 8;
  double long_work = 1e9;
  double short_work = 1e9;
  for (int i = 0; i < kTries; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double seconds = device().seconds_of(copies);
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_GT(seconds, 0.0);
    EXPECT_LE(seconds, 1.0001 * wall);
    long_work = std::min(long_work, seconds);
    copies();
    short_work = std::min(short_work, device().seconds_of([&] { device().zero(to.view(DType::f32, 1)); }));
  }
  EXPECT_EQ(device().read<float>(to.view(DType::f32, 1)), 0.0F);
  EXPECT_LT(short_work, 0.5 * long_work) << "the copies before were counted";
  EXPECT_GE(device().seconds_of([] {}), 0.0);
}

TEST_P(ContractTest, an_exception_inside_seconds_of_leaves_it_and_the_device_goes_on) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  EXPECT_THROW(device().seconds_of([] { throw InputError("from inside"); }), InputError);
  EXPECT_GT(device().seconds_of([&] { device().zero(a.view()); }), 0.0);
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

// A stream that is never waited for still ends with its device.
TEST_P(ContractTest, a_device_may_die_with_operations_enqueued) {
  const std::unique_ptr<Device> other = make_device(GetParam());
  const DeviceMatrix<float> a(*other, {1.0F}, 1);
  const DeviceMatrix<float> b(*other, {2.0F}, 1);
  other->copy(b.view(), a.view());
}

}  // namespace
}  // namespace curate::test
