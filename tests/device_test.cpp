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
#include "support/philox.h"
#include "tests/reference/build_segments.h"
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

// ----------------------------------------------------------------------------------------------------- capture, replay

TEST_P(ContractTest, capture_does_not_run) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  const std::unique_ptr<Graph> graph = device().capture([&] { device().zero(a.view()); });
  ASSERT_NE(graph, nullptr);
  EXPECT_EQ(device().read<float>(a.view()), 1.0F);
  device().replay(*graph, 0);
  EXPECT_EQ(device().read<float>(a.view()), 1.0F) << "replayed 0 times";
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

// Catches: what was enqueued before a capture taken into it, or lost; what comes after it recorded too.
TEST_P(ContractTest, capture_records_what_its_function_enqueues_only) {
  const DeviceMatrix<float> one(device(), {1.0F}, 1);
  const DeviceMatrix<float> before(device(), {5.0F}, 1);
  const DeviceMatrix<float> inside(device(), {5.0F}, 1);
  const DeviceMatrix<float> after(device(), {5.0F}, 1);
  device().copy(before.view(), one.view());
  const std::unique_ptr<Graph> graph = device().capture([&] { device().copy(inside.view(), one.view()); });
  device().copy(after.view(), one.view());
  EXPECT_EQ(device().read<float>(before.view()), 1.0F);
  EXPECT_EQ(device().read<float>(inside.view()), 5.0F);
  EXPECT_EQ(device().read<float>(after.view()), 1.0F);
  device().zero(before.view());
  device().zero(after.view());
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(before.view()), 0.0F);
  EXPECT_EQ(device().read<float>(inside.view()), 1.0F);
  EXPECT_EQ(device().read<float>(after.view()), 0.0F);
}

TEST_P(ContractTest, replay_runs_as_often_as_asked_in_stream_order) {
  const DeviceMatrix<StepState> state = on_device(device(), batch_state(1000, 10));
  const DeviceMatrix<StepState> seen = on_device(device(), StepState{});
  const std::unique_ptr<Graph> graph = device().capture([&] { device().enqueue(ops::AdvanceStep{state.view()}); });
  device().replay(*graph, 7);
  device().copy(seen.view(), state.view());
  device().replay(*graph, 4);
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<StepState>(seen.view()).step, 7);
  EXPECT_EQ(device().read<StepState>(state.view()).step, 12);
}

// An epoch as the driver runs it: one captured step, replayed for all batches, the short last one too. Catches a count,
// an offset or a step that is frozen at capture, and arguments that are not frozen.
TEST_P(ContractTest, a_captured_step_walks_the_epoch_with_frozen_arguments) {
  constexpr std::int64_t kRatings = 23;
  constexpr std::int64_t kBatch = 5;
  constexpr std::int64_t kRows = 6;
  RandomInputs inputs(102);
  const Ids index = inputs.skewed_indices(kRatings, kRows);
  const DeviceMatrix<std::int32_t> device_index(device(), index, kRatings);
  const DeviceMatrix<float> table(device(), {1, 2, 4, 8, 16, 32}, kRows);
  const DeviceMatrix<float> rows(device(), Floats(kBatch, kUntouched), kBatch);
  const DeviceMatrix<float> sum(device(), Floats(kRows, 0.0F), kRows);
  const DeviceMatrix<float> counts(device(), Floats(kRows, 0.0F), kRows);
  const DeviceMatrix<float> ones(device(), Floats(kBatch, 1.0F), kBatch);
  const DeviceSegments segments(device(), reference::build_segments(index, kBatch, kUntouchedIndex));
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});

  auto views = std::make_unique<std::vector<MatrixView>>(
      std::vector<MatrixView>{rows.view(), table.view(), device_index.view(), state.view(), sum.view()});
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::GatherRows{(*views)[0], (*views)[1], (*views)[2], (*views)[3]});
    device().enqueue(ops::ScatterAddRows{(*views)[4], (*views)[0], (*views)[2], segments.view(), ScatterKind::segments,
                                         (*views)[3]});
    device().enqueue(ops::ScatterAddRows{counts.view(), ones.view(), (*views)[2], segments.view(), ScatterKind::atomic,
                                         (*views)[3]});
    device().enqueue(ops::AdvanceStep{(*views)[3]});
  });
  views->assign(5, MatrixView{});
  views.reset();

  constexpr std::int64_t kEpochs = 3;
  for (std::int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    device().enqueue(ops::BeginEpoch{state.view(), {1, epoch, kRatings, kBatch, {}}});
    // Once more than there are batches: past the end nothing may happen.
    device().replay(*graph, 6);
  }
  Floats expected_counts(kRows, 0.0F);
  Floats expected_sum(kRows, 0.0F);
  for (const std::int32_t row : index) {
    expected_counts[static_cast<std::size_t>(row)] += static_cast<float>(kEpochs);
    expected_sum[static_cast<std::size_t>(row)] += static_cast<float>(kEpochs << row);
  }
  EXPECT_TRUE(bits_equal(counts.values(), expected_counts, "ratings of each row, seed 102"));
  EXPECT_TRUE(bits_equal(sum.values(), expected_sum, "sum of the rows gathered, seed 102"));
  EXPECT_EQ(device().read<StepState>(state.view()).step, kEpochs * 6);
}

// Catches: parameters other than views taken by reference.
TEST_P(ContractTest, captured_parameters_are_frozen) {
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  EpochStart start{5, 6, 70, 8, {}};
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::BeginEpoch{state.view(), start});
  });
  start = EpochStart{};
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<StepState>(state.view()).num_ratings, 70);

  const DeviceMatrix<float> weights(device(), {1.0F}, 1);
  const DeviceMatrix<float> gradient(device(), {4.0F}, 1);
  const DeviceSegments segments(device(), reference::build_segments({0}, 1, kUntouchedIndex));
  const DeviceMatrix<StepState> at = on_device(device(), batch_state(1, 1, 0, 0.5F));
  OptimizerParams params;
  params.non_negative = true;
  const std::unique_ptr<Graph> update = device().capture([&] {
    device().enqueue(ops::UpdateRows{{weights.view(), gradient.view(), {}, {}}, segments.view(), params, at.view()});
  });
  params.non_negative = false;
  device().replay(*update, 1);
  EXPECT_EQ(device().read<float>(weights.view()), 0.0F);
}

// The same for the operations of dense layers, whose views come in structs too.
TEST_P(ContractTest, captured_parameters_of_dense_layers_are_frozen) {
  const DeviceMatrix<float> in(device(), {3.0F}, 1);
  const DeviceMatrix<float> out(device(), {0.0F}, 1);
  const DeviceMatrix<float> grad_out(device(), {5.0F}, 1);
  const DeviceMatrix<float> grad_in(device(), {0.0F}, 1);
  const DeviceMatrix<float> weight(device(), {-2.0F}, 1);
  const DeviceMatrix<float> bias(device(), {1.0F}, 1);
  const DeviceMatrix<float> grad_weight(device(), {kUntouched}, 1);
  const DeviceMatrix<float> grad_bias(device(), {kUntouched}, 1);
  const DeviceMatrix<float> kept(device(), {7.0F}, 1);
  const DeviceMatrix<StepState> at = on_device(device(), batch_state(1, 1, 0, 0.5F));
  auto batch = std::make_unique<DenseBatch>(DenseBatch{out.view(), in.view()});
  auto grad = std::make_unique<DenseBatch>(DenseBatch{grad_out.view(), grad_in.view()});
  auto layer = std::make_unique<DenseParams>(DenseParams{weight.view(), bias.view()});
  auto grad_layer = std::make_unique<DenseParams>(DenseParams{grad_weight.view(), grad_bias.view()});
  auto activation = std::make_unique<Activation>();
  auto dropout = std::make_unique<DropoutParams>(DropoutParams{0.0F, RandomPurpose::dropout_user});
  auto optimizer = std::make_unique<OptimizerParams>();
  const std::unique_ptr<Graph> graph = device().capture([&] {
    device().enqueue(ops::DenseForward{*batch, *layer, *activation, at.view()});
    device().enqueue(ops::DenseBackward{*grad, *grad_layer, *batch, *layer, *activation, at.view()});
    device().enqueue(ops::UpdateDense{{weight.view(), grad_weight.view(), {}, {}}, *optimizer, at.view()});
    device().enqueue(ops::Dropout{kept.view(), *dropout, at.view()});
  });
  *batch = *grad = DenseBatch{};
  *layer = *grad_layer = DenseParams{};
  *activation = {ActivationKind::relu};
  *dropout = {0x1.fffffep-1F, RandomPurpose::dropout_item};
  *optimizer = {OptimizerKind::sgd, true};
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(out.view()), -5.0F);
  EXPECT_EQ(device().read<float>(grad_in.view()), -10.0F);
  EXPECT_EQ(device().read<float>(grad_bias.view()), 5.0F);
  EXPECT_EQ(device().read<float>(weight.view()), -2.0F - 0.5F * 15.0F);
  EXPECT_EQ(device().read<float>(grad_weight.view()), 0.0F);
  EXPECT_EQ(device().read<float>(kept.view()), 7.0F);
}

TEST_P(ContractTest, blocking_calls_and_allocation_inside_a_capture_throw) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  Floats one(1);
  const std::vector<std::pair<std::string, std::function<void()>>> forbidden = {
      {"synchronize", [&] { device().synchronize(); }},
      {"upload", [&] { device().upload(a.view(), std::span<const float>(one)); }},
      {"download", [&] { device().download(std::span<float>(one), a.view()); }},
      {"read", [&] { device().read<float>(a.view()); }},
      {"allocate", [&] { const Buffer buffer = device().allocate(64); }},
      {"seconds_of", [&] { device().seconds_of([] {}); }},
  };
  for (const auto& [name, call] : forbidden) {
    EXPECT_THROW(device().capture(call), std::logic_error) << name;
    // The throw comes from the call itself, so that its stack says where.
    bool thrown_inside = false;
    try {
      device().capture([&thrown_inside, &blocking = call] {
        try {
          blocking();
        } catch (const std::logic_error&) {
          thrown_inside = true;
          throw;
        }
      });
    } catch (const std::logic_error&) {
      EXPECT_TRUE(thrown_inside) << name;
    }
    EXPECT_TRUE(thrown_inside) << name;
    // A capture that failed is over: the device records no longer.
    EXPECT_NO_THROW(call()) << name << " after the failed capture";
  }
  device().zero(a.view());
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

TEST_P(ContractTest, an_exception_inside_a_capture_ends_it) {
  const DeviceMatrix<float> a(device(), {1.0F}, 1);
  EXPECT_THROW(device().capture([&] {
    device().zero(a.view());
    throw InputError("from inside");
  }),
               InputError);
  EXPECT_EQ(device().read<float>(a.view()), 1.0F) << "what the failed capture recorded must not run";
  const std::unique_ptr<Graph> graph = device().capture([&] { device().zero(a.view()); });
  device().replay(*graph, 1);
  EXPECT_EQ(device().read<float>(a.view()), 0.0F);
}

// ------------------------------------------------------------------------------------------------ checks of arguments

/// Which extents of an argument follow from the others, so that changing them alone must be noticed.
enum class Fixed : std::uint8_t { none, rows, cols, both };

/// Vectors are contiguous, and so are a dense layer's parameters; other matrices, and columns of matrices, may have any
/// distance between their rows.
enum class Layout : std::uint8_t { vector, contiguous, strided };

struct Argument {
  std::string name;
  MatrixView* view;
  Fixed fixed;
  Layout layout = Layout::strided;
};

/// One valid call of an operation, whose arguments can be spoiled one at a time.
struct Call {
  std::string name;
  std::vector<Argument> arguments;
  std::function<void()> invoke;
};

/// Views for calls of every operation. All memory is larger than its view, so that a spoiled call that slips through
/// fails the test and nothing else.
class Arguments {
 public:
  explicit Arguments(Device& device) : device_(device) {}

  MatrixView make(DType dtype, std::int64_t rows, std::int64_t cols = 1) {
    constexpr std::int64_t kRoom = 4;
    buffers_.push_back(device_.allocate(static_cast<std::size_t>(kRoom * (rows + 1) * (cols + 1)) * size_of(dtype)));
    const Buffer& buffer = buffers_.back();
    device_.zero(buffer.view(dtype, kRoom * (rows + 1) * (cols + 1)));
    return buffer.view(dtype, rows, cols);
  }
  MatrixView floats(std::int64_t rows, std::int64_t cols = 1) { return make(DType::f32, rows, cols); }
  MatrixView ids(std::int64_t rows) { return make(DType::i32, rows); }
  MatrixView state() {
    const MatrixView view = make(DType::step_state, 1);
    device_.upload(view, std::span<const StepState>(std::vector<StepState>{batch_state(10, 4)}));
    return view;
  }
  MatrixView sums() { return make(DType::error_sums, 1); }

 private:
  Device& device_;
  std::vector<Buffer> buffers_;
};

/// Spoils every argument of the call in every way that must be noticed.
void expect_checks(Device& device, const Call& call) {
  ASSERT_NO_THROW(call.invoke()) << call.name << ": the call must be valid, or the throws below prove nothing";
  const std::unique_ptr<Device> other = make_device("cpu");
  const auto expect_throw = [&](const Argument& argument, const std::string& spoiled,
                                const std::function<void(MatrixView&)>& spoil) {
    const MatrixView valid = *argument.view;
    spoil(*argument.view);
    EXPECT_THROW(call.invoke(), std::invalid_argument) << call.name << ": " << argument.name << " with " << spoiled;
    *argument.view = valid;
  };
  for (const Argument& argument : call.arguments) {
    expect_throw(argument, "another type",
                 [](MatrixView& view) { view.dtype = view.dtype == DType::f32 ? DType::i32 : DType::f32; });
    expect_throw(argument, "another device", [&](MatrixView& view) { view.device = other.get(); });
    expect_throw(argument, "no device", [](MatrixView& view) { view.device = nullptr; });
    expect_throw(argument, "rows that overlap", [](MatrixView& view) { view.ld = view.cols - 1; });
    if (argument.layout == Layout::vector) {
      expect_throw(argument, "gaps between its elements", [](MatrixView& view) { view.ld = 2; });
    } else if (argument.layout == Layout::contiguous) {
      expect_throw(argument, "gaps between its rows", [](MatrixView& view) { view.ld += 1; });
    } else {
      argument.view->ld += 1;
      EXPECT_NO_THROW(call.invoke()) << call.name << ": " << argument.name << " may be strided";
      argument.view->ld -= 1;
    }
    if (argument.fixed == Fixed::rows || argument.fixed == Fixed::both) {
      expect_throw(argument, "a row too many", [](MatrixView& view) { view.rows += 1; });
      expect_throw(argument, "a row too few", [](MatrixView& view) { view.rows -= 1; });
    }
    if (argument.fixed == Fixed::cols || argument.fixed == Fixed::both) {
      expect_throw(argument, "a column too many", [](MatrixView& view) {
        view.cols += 1;
        view.ld += 1;
      });
      if (argument.view->cols > 1) {
        expect_throw(argument, "a column too few", [](MatrixView& view) { view.cols -= 1; });
      }
    }
  }
  ASSERT_NO_THROW(call.invoke()) << call.name << ": restored";
  device.synchronize();
}

TEST_P(ContractTest, state_operations_check_their_arguments) {
  Arguments make(device());
  MatrixView state = make.state();
  expect_checks(device(), {"begin_epoch", {{"state", &state, Fixed::both}}, [&] {
                             device().enqueue(ops::BeginEpoch{state, {1, 0, 10, 4, {}}});
                           }});
  expect_checks(device(),
                {"advance_step", {{"state", &state, Fixed::both}}, [&] { device().enqueue(ops::AdvanceStep{state}); }});
}

// Catches: a batch size of 0, with which no epoch would end, and a schedule that divides by 0 steps.
TEST_P(ContractTest, begin_epoch_rejects_impossible_epochs) {
  const DeviceMatrix<StepState> state = on_device(device(), StepState{});
  const auto begin = [&](std::int64_t num_ratings, std::int64_t batch_size, std::int64_t total_steps) {
    device().enqueue(
        ops::BeginEpoch{state.view(), {1, 0, num_ratings, batch_size, {ScheduleKind::linear, 0.1F, total_steps, 0}}});
  };
  EXPECT_NO_THROW(begin(10, 4, 1));
  EXPECT_THROW(begin(10, 0, 1), std::invalid_argument);
  EXPECT_THROW(begin(10, -4, 1), std::invalid_argument);
  EXPECT_THROW(begin(-1, 4, 1), std::invalid_argument);
  EXPECT_THROW(begin(std::int64_t{1} << 31U, 4, 1), std::invalid_argument) << "the order of an epoch is i32";
  EXPECT_THROW(begin(10, 4, 0), std::invalid_argument);
}

TEST_P(ContractTest, copy_checks_its_arguments) {
  Arguments make(device());
  MatrixView destination = make.floats(4, 3);
  MatrixView source = make.floats(4, 3);
  expect_checks(device(), {"copy", {{"destination", &destination, Fixed::both}, {"source", &source, Fixed::both}}, [&] {
                             device().copy(destination, source);
                           }});
  const std::unique_ptr<Device> other = make_device(GetParam());
  EXPECT_THROW(other->zero(destination), std::invalid_argument);
}

TEST_P(ContractTest, permute_checks_its_arguments) {
  Arguments make(device());
  RatingsView out{make.ids(10), make.ids(10), make.floats(10)};
  RatingsView in{make.ids(10), make.ids(10), make.floats(10)};
  MatrixView order = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"permute",
                           {{"out.users", &out.users, Fixed::both, Layout::vector},
                            {"out.items", &out.items, Fixed::both, Layout::vector},
                            {"out.ratings", &out.ratings, Fixed::both, Layout::vector},
                            {"order", &order, Fixed::both, Layout::vector},
                            {"in.users", &in.users, Fixed::both, Layout::vector},
                            {"in.items", &in.items, Fixed::both, Layout::vector},
                            {"in.ratings", &in.ratings, Fixed::both, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::Permute{out, order, in, state});
                           }});
}

TEST_P(ContractTest, build_segments_checks_its_arguments) {
  Arguments make(device());
  SegmentsView out{make.ids(10), make.ids(10), make.ids(10), make.ids(3)};
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(
      device(),
      {"build_segments",
       {{"out.rows", &out.rows, Fixed::both, Layout::vector},
        {"out.starts", &out.starts, Fixed::both, Layout::vector},
        {"out.positions", &out.positions, Fixed::both, Layout::vector},
        {"out.counts", &out.counts, Fixed::cols, Layout::vector},  // the number of batches is known on the device
        {"index", &index, Fixed::both, Layout::vector},
        {"state", &state, Fixed::both}},
       [&] {
         device().enqueue(ops::BuildSegments{out, index, 6, state});
       }});
  EXPECT_THROW(device().enqueue(ops::BuildSegments{out, index, -1, state}), std::invalid_argument);
}

TEST_P(ContractTest, gather_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView out = make.floats(4, 3);
  MatrixView table = make.floats(6, 3);
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"gather_rows",
                           {{"out", &out, Fixed::cols},
                            {"table", &table, Fixed::cols},
                            {"index", &index, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::GatherRows{out, table, index, state});
                           }});
}

TEST_P(ContractTest, bag_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView rows = make.floats(4, 3);
  MatrixView table = make.floats(6, 3);
  BagsView bags{make.ids(8), make.ids(9)};
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"bag_rows",
                           {{"out", &rows, Fixed::cols},
                            {"table", &table, Fixed::cols},
                            {"bags.starts", &bags.starts, Fixed::cols, Layout::vector},
                            {"bags.rows", &bags.rows, Fixed::cols, Layout::vector},
                            {"index", &index, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::BagRows{rows, table, bags, index, BagKind::sum, state});
                           }});
  expect_checks(
      device(),
      {"bag_rows_backward",
       {{"grad_rows", &rows, Fixed::cols},
        {"grad_table", &table, Fixed::cols},
        {"bags.starts", &bags.starts, Fixed::cols, Layout::vector},
        {"bags.rows", &bags.rows, Fixed::cols, Layout::vector},
        {"index", &index, Fixed::cols, Layout::vector},
        {"state", &state, Fixed::both}},
       [&] {
         device().enqueue(ops::BagRowsBackward{table, rows, bags, index, BagKind::sum, ScatterKind::segments, state});
       }});
}

TEST_P(ContractTest, dot_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView prediction = make.floats(4);
  MfRows rows{make.floats(4, 3), make.floats(4, 3), make.floats(4), make.floats(4), make.floats(1)};
  MatrixView state = make.state();
  expect_checks(device(), {"dot_rows",
                           {{"prediction", &prediction, Fixed::both, Layout::vector},
                            {"rows.user", &rows.user, Fixed::both},
                            {"rows.item", &rows.item, Fixed::both},
                            {"rows.user_bias", &rows.user_bias, Fixed::both},
                            {"rows.item_bias", &rows.item_bias, Fixed::both},
                            {"rows.mean", &rows.mean, Fixed::both},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::DotRows{prediction, rows, state});
                           }});
}

TEST_P(ContractTest, dot_rows_backward_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad_prediction = make.floats(4);
  MfRows rows{make.floats(4, 3), make.floats(4, 3), make.floats(4), make.floats(4), make.floats(1)};
  MfRows grad{make.floats(4, 3), make.floats(4, 3), make.floats(4), make.floats(4), {}};
  MatrixView state = make.state();
  const auto invoke = [&] { device().enqueue(ops::DotRowsBackward{grad, grad_prediction, rows, 0.1F, state}); };
  expect_checks(device(), {"dot_rows_backward",
                           {{"grad.user", &grad.user, Fixed::both},
                            {"grad.item", &grad.item, Fixed::both},
                            {"grad.user_bias", &grad.user_bias, Fixed::both},
                            {"grad.item_bias", &grad.item_bias, Fixed::both},
                            {"grad_prediction", &grad_prediction, Fixed::both, Layout::vector},
                            {"rows.user", &rows.user, Fixed::both},
                            {"rows.item", &rows.item, Fixed::both},
                            {"rows.user_bias", &rows.user_bias, Fixed::both},
                            {"rows.item_bias", &rows.item_bias, Fixed::both},
                            {"state", &state, Fixed::both}},
                           invoke});
  // Either both have a bias or neither: otherwise a gradient would be read from nowhere, or be lost.
  for (MfRows* side : {&rows, &grad}) {
    for (MatrixView* bias : {&side->user_bias, &side->item_bias}) {
      const MatrixView present = std::exchange(*bias, MatrixView{});
      EXPECT_THROW(invoke(), std::invalid_argument);
      *bias = present;
    }
  }
  EXPECT_NO_THROW(invoke());
}

TEST_P(ContractTest, rating_loss_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad = make.floats(4);
  MatrixView sums = make.sums();
  MatrixView prediction = make.floats(4);
  MatrixView ratings = make.floats(10);
  MatrixView state = make.state();
  expect_checks(device(), {"rating_loss",
                           {{"grad", &grad, Fixed::both, Layout::vector},
                            {"sums", &sums, Fixed::both},
                            {"prediction", &prediction, Fixed::both, Layout::vector},
                            {"ratings", &ratings, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::RatingLoss{grad, sums, prediction, ratings, LossKind::mse, state});
                           }});
}

TEST_P(ContractTest, scatter_add_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad_table = make.floats(6, 3);
  MatrixView grad_rows = make.floats(4, 3);
  MatrixView index = make.ids(10);
  SegmentsView segments{make.ids(10), make.ids(10), make.ids(10), make.ids(3)};
  MatrixView state = make.state();
  for (const ScatterKind kind : {ScatterKind::atomic, ScatterKind::segments}) {
    Call call{"scatter_add_rows",
              {{"grad_table", &grad_table, Fixed::cols},
               {"grad_rows", &grad_rows, Fixed::cols},
               {"index", &index, Fixed::cols, Layout::vector},
               {"state", &state, Fixed::both}},
              [&] {
                device().enqueue(ops::ScatterAddRows{grad_table, grad_rows, index, segments, kind, state});
              }};
    if (kind == ScatterKind::segments) {
      call.arguments.insert(call.arguments.end(),
                            {{"segments.rows", &segments.rows, Fixed::both, Layout::vector},
                             {"segments.starts", &segments.starts, Fixed::both, Layout::vector},
                             {"segments.positions", &segments.positions, Fixed::both, Layout::vector},
                             {"segments.counts", &segments.counts, Fixed::cols, Layout::vector}});
    }
    expect_checks(device(), call);
  }
}

TEST_P(ContractTest, update_rows_checks_its_arguments) {
  Arguments make(device());
  TrainedTable table{make.floats(6, 3), make.floats(6, 3), make.floats(6, 3), make.floats(6, 3)};
  SegmentsView segments{make.ids(10), make.ids(10), make.ids(10), make.ids(3)};
  MatrixView state = make.state();
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  const auto invoke = [&] { device().enqueue(ops::UpdateRows{table, segments, params, state}); };
  expect_checks(device(), {"update_rows",
                           {{"weights", &table.weights, Fixed::both},
                            {"gradient", &table.gradient, Fixed::both},
                            {"first_moment", &table.first_moment, Fixed::both},
                            {"second_moment", &table.second_moment, Fixed::both},
                            {"segments.rows", &segments.rows, Fixed::both, Layout::vector},
                            {"segments.starts", &segments.starts, Fixed::both, Layout::vector},
                            {"segments.positions", &segments.positions, Fixed::both, Layout::vector},
                            {"segments.counts", &segments.counts, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           invoke});
  // The slots that an optimizer needs must be there, those that it does not need may be absent.
  table.first_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adam without its first moment";
  params.kind = OptimizerKind::adagrad;
  EXPECT_NO_THROW(invoke()) << "Adagrad has no first moment";
  table.second_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adagrad without its second moment";
  params.kind = OptimizerKind::sgd;
  EXPECT_NO_THROW(invoke()) << "SGD has no slots";
}

TEST_P(ContractTest, update_dense_checks_its_arguments) {
  Arguments make(device());
  TrainedTable table{make.floats(6, 3), make.floats(6, 3), make.floats(6, 3), make.floats(6, 3)};
  MatrixView state = make.state();
  OptimizerParams params;
  params.kind = OptimizerKind::adam;
  const auto invoke = [&] { device().enqueue(ops::UpdateDense{table, params, state}); };
  expect_checks(device(), {"update_dense",
                           {{"weights", &table.weights, Fixed::both},
                            {"gradient", &table.gradient, Fixed::both},
                            {"first_moment", &table.first_moment, Fixed::both},
                            {"second_moment", &table.second_moment, Fixed::both},
                            {"state", &state, Fixed::both}},
                           invoke});
  table.first_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adam without its first moment";
  params.kind = OptimizerKind::adagrad;
  EXPECT_NO_THROW(invoke()) << "Adagrad has no first moment";
  table.second_moment = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "Adagrad without its second moment";
  params.kind = OptimizerKind::sgd;
  EXPECT_NO_THROW(invoke()) << "SGD has no slots";
}

TEST_P(ContractTest, add_l2_rows_checks_its_arguments) {
  Arguments make(device());
  MatrixView grad_rows = make.floats(4, 3);
  MatrixView table = make.floats(6, 3);
  MatrixView index = make.ids(10);
  MatrixView state = make.state();
  expect_checks(device(), {"add_l2_rows",
                           {{"grad_rows", &grad_rows, Fixed::cols},
                            {"table", &table, Fixed::cols},
                            {"index", &index, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::AddL2Rows{grad_rows, table, index, 0.1F, state});
                           }});
}

TEST_P(ContractTest, dense_forward_checks_its_arguments) {
  Arguments make(device());
  DenseBatch batch{make.floats(4, 2), make.floats(4, 3)};
  DenseParams params{make.floats(2, 3), make.floats(2)};
  MatrixView state = make.state();
  expect_checks(device(), {"dense_forward",
                           {{"out", &batch.out, Fixed::both},
                            {"in", &batch.in, Fixed::both},
                            {"weight", &params.weight, Fixed::both, Layout::contiguous},
                            {"bias", &params.bias, Fixed::both, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::DenseForward{batch, params, {ActivationKind::relu}, state});
                           }});
}

TEST_P(ContractTest, dense_backward_checks_its_arguments) {
  Arguments make(device());
  DenseBatch grad{make.floats(4, 2), make.floats(4, 3)};
  DenseParams grad_params{make.floats(2, 3), make.floats(2)};
  DenseBatch batch{make.floats(4, 2), make.floats(4, 3)};
  DenseParams params{make.floats(2, 3), make.floats(2)};
  MatrixView state = make.state();
  const auto invoke = [&] {
    device().enqueue(ops::DenseBackward{grad, grad_params, batch, params, {ActivationKind::relu}, state});
  };
  expect_checks(device(), {"dense_backward",
                           {{"grad.out", &grad.out, Fixed::both},
                            {"grad.in", &grad.in, Fixed::both},
                            {"grad_params.weight", &grad_params.weight, Fixed::both, Layout::contiguous},
                            {"grad_params.bias", &grad_params.bias, Fixed::both, Layout::vector},
                            {"out", &batch.out, Fixed::both},
                            {"in", &batch.in, Fixed::both},
                            {"weight", &params.weight, Fixed::both, Layout::contiguous},
                            {"bias", &params.bias, Fixed::both, Layout::vector},
                            {"state", &state, Fixed::both}},
                           invoke});
  grad.in = MatrixView{};
  EXPECT_NO_THROW(invoke()) << "a first layer has nobody to hand the gradient of its inputs to";
  grad.out = MatrixView{};
  EXPECT_THROW(invoke(), std::invalid_argument) << "no gradient of the outputs";
}

TEST_P(ContractTest, dropout_checks_its_arguments) {
  Arguments make(device());
  MatrixView rows = make.floats(4, 3);
  MatrixView state = make.state();
  DropoutParams params{0.25F, RandomPurpose::dropout_user};
  const auto invoke = [&] { device().enqueue(ops::Dropout{rows, params, state}); };
  expect_checks(device(), {"dropout", {{"rows", &rows, Fixed::none}, {"state", &state, Fixed::both}}, invoke});
  for (const float rate : {-0.25F, -0x1p-149F, 1.0F, 2.0F, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    params.rate = rate;
    EXPECT_THROW(invoke(), std::invalid_argument) << "rate " << rate;
  }
  for (const float rate : {0.0F, 0x1p-149F, 0x1.fffffep-1F}) {
    params.rate = rate;
    EXPECT_NO_THROW(invoke()) << "rate " << rate;
  }
}

TEST_P(ContractTest, rating_errors_checks_its_arguments) {
  Arguments make(device());
  MatrixView sums = make.sums();
  MatrixView prediction = make.floats(4);
  MatrixView ratings = make.floats(10);
  MatrixView state = make.state();
  expect_checks(device(), {"rating_errors",
                           {{"sums", &sums, Fixed::both},
                            {"prediction", &prediction, Fixed::cols, Layout::vector},
                            {"ratings", &ratings, Fixed::cols, Layout::vector},
                            {"state", &state, Fixed::both}},
                           [&] {
                             device().enqueue(ops::RatingErrors{sums, prediction, ratings, {0.5F, 5.0F}, state});
                           }});
}

/// Tables and ratings of a matrix factorization.
struct MfArguments {
  explicit MfArguments(Arguments& make)
      : tables{make.floats(6, 3), make.floats(5, 3), make.floats(6), make.floats(5), make.floats(1)},
        sums(make.sums()),
        ratings{make.ids(10), make.ids(10), make.floats(10)} {}

  std::vector<Argument> table_arguments() {
    return {{"tables.user", &tables.user, Fixed::both},           {"tables.item", &tables.item, Fixed::both},
            {"tables.user_bias", &tables.user_bias, Fixed::both}, {"tables.item_bias", &tables.item_bias, Fixed::both},
            {"tables.mean", &tables.mean, Fixed::both},           {"sums", &sums, Fixed::both}};
  }

  std::vector<Argument> rating_arguments() {
    return {{"ratings.users", &ratings.users, Fixed::both, Layout::vector},
            {"ratings.items", &ratings.items, Fixed::both, Layout::vector},
            {"ratings.ratings", &ratings.ratings, Fixed::both, Layout::vector}};
  }

  std::vector<Argument> arguments() {
    std::vector<Argument> all = table_arguments();
    const std::vector<Argument> more = rating_arguments();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  MfTables tables;
  MatrixView sums;
  RatingsView ratings;
};

TEST_P(ContractTest, mf_sgd_epoch_checks_its_arguments) {
  Arguments make(device());
  MfArguments mf(make);
  MatrixView state = make.state();
  const HostRatings host{std::vector<std::int32_t>(10, 0), std::vector<std::int32_t>(10, 0),
                         std::vector<float>(10, 3.0F)};
  const DeviceRatings ratings(device(), host);
  const RatingsView view = ratings.view();
  const auto plan = device().run(ops::PlanMfEpoch{view, 6, 5});
  std::vector<Argument> arguments = mf.table_arguments();
  arguments.push_back({"state", &state, Fixed::both});
  expect_checks(device(), {"mf_sgd_epoch", arguments, [&] {
                             device().enqueue(ops::MfSgdEpoch{mf.tables, mf.sums, plan.get(), {}, state});
                           }});
  for (const auto& [users, items] : {std::pair{7, 5}, {6, 4}}) {
    const auto other = device().run(ops::PlanMfEpoch{view, users, items});
    EXPECT_THROW(device().enqueue(ops::MfSgdEpoch{mf.tables, mf.sums, other.get(), {}, state}), std::invalid_argument);
  }
  const auto other_device = make_device("cpu", 1);
  const DeviceRatings none(*other_device, HostRatings{});
  const auto other = other_device->run(ops::PlanMfEpoch{none.view(), 6, 5});
  EXPECT_THROW(device().enqueue(ops::MfSgdEpoch{mf.tables, mf.sums, other.get(), {}, state}), std::invalid_argument);
}

TEST_P(ContractTest, plan_mf_epoch_checks_its_arguments) {
  Arguments make(device());
  MfArguments mf(make);
  expect_checks(device(), {"plan_mf_epoch", mf.rating_arguments(), [&] {
                             device().run(ops::PlanMfEpoch{mf.ratings, 6, 5});
                           }});
  EXPECT_THROW(device().run(ops::PlanMfEpoch{mf.ratings, -1, 5}), std::invalid_argument);
  EXPECT_THROW(device().run(ops::PlanMfEpoch{mf.ratings, 6, -1}), std::invalid_argument);
}

TEST_P(ContractTest, sum_squared_error_checks_its_arguments) {
  Arguments make(device());
  MfArguments mf(make);
  expect_checks(device(), {"sum_squared_error", mf.arguments(), [&] {
                             device().enqueue(ops::SumSquaredError{mf.sums, mf.tables, mf.ratings, {0.5F, 5.0F}});
                           }});
}

}  // namespace
}  // namespace curate::test
