#include "device/measuring_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"

namespace curate {
namespace {

std::int64_t bytes_of(const MeasuringDevice& device, const std::string& label) {
  for (const MeasuringDevice::Part& part : device.parts()) {
    if (part.label == label) {
      return part.bytes;
    }
  }
  return -1;
}

TEST(MeasuringDevice, CountsBuffersByTheirLabels) {
  const auto device = make_measuring_cpu(1);
  {
    const Buffer first = device->allocate(100);
    const MemoryLabel outer(*device, "outer");
    Buffer second = device->allocate(20);
    {
      const MemoryLabel inner(*device, "inner");
      const Buffer third = device->allocate(3);
    }
    const Buffer fourth = device->allocate(5);
    const Buffer moved = std::move(second);
    EXPECT_EQ(device->allocated_bytes(), 125U);
  }
  EXPECT_EQ(device->allocated_bytes(), 0U);
  // At the peak, which came when the third was gone.
  EXPECT_EQ(device->peak_bytes(), 125U);
  EXPECT_EQ(device->most_on_engine(), 125U);
  EXPECT_EQ(bytes_of(*device, "other"), 100);
  EXPECT_EQ(bytes_of(*device, "outer"), 25);
  EXPECT_EQ(bytes_of(*device, "inner"), 0);
}

TEST(MeasuringDevice, CountsWhatNoBufferHolds) {
  using Held = MeasuringDevice::Held;
  const auto cpu = make_measuring_cpu(1);
  {
    const Buffer buffer = cpu->allocate(1000);
    Held engine(*cpu, MeasuringDevice::Place::engine, 10);
    const Held host(*cpu, MeasuringDevice::Place::host, 5);
    engine.grow_to(30);
    engine.grow_to(20);  // it keeps what it has
    Held other = std::move(engine);
    engine = {};
  }
  EXPECT_EQ(cpu->most_on_engine(), 1030U);
  EXPECT_EQ(cpu->most_on_host(), 1035U);
  { const Held late(*cpu, MeasuringDevice::Place::host, 1034); }
  EXPECT_EQ(cpu->most_on_host(), 1035U) << "what is gone counts no more";

  const auto gpu = make_measuring_gpu();
  const std::size_t from_the_start = gpu->most_on_engine();
  EXPECT_GT(from_the_start, std::size_t{16} << 20U);
  const Buffer buffer = gpu->allocate(1000);
  const Held host(*gpu, MeasuringDevice::Place::host, 5);
  EXPECT_EQ(gpu->most_on_engine(), from_the_start + 1000);
  EXPECT_EQ(gpu->most_on_host(), 5U);
}

// The last page is the engine's: a buffer keeps the size that was asked for.
TEST(MeasuringDevice, CountsTheLargePagesOfACpu) {
  constexpr std::size_t kBytes = std::size_t{5} << 20U;
  const auto cpu = make_measuring_cpu(1);
  const auto gpu = make_measuring_gpu();
  const std::size_t from_the_start = gpu->most_on_engine();
  for (int time = 0; time < 2; ++time) {
    const Buffer on_cpu = cpu->allocate(kBytes);
    const Buffer on_gpu = gpu->allocate(kBytes);
  }
  EXPECT_EQ(cpu->peak_bytes(), kBytes);
  EXPECT_EQ(cpu->most_on_engine(), std::size_t{6} << 20U) << "what is freed counts no more";
  EXPECT_EQ(gpu->most_on_engine(), from_the_start + kBytes);
}

// Arguments are checked as every device checks them, and nothing is behind the addresses.
TEST(MeasuringDevice, RunsNothing) {
  const auto device = make_measuring_gpu();
  constexpr std::int64_t kMany = std::int64_t{1} << 40U;
  const Buffer table = device->allocate(4 * kMany);
  const Buffer index = device->allocate_array<std::int32_t>(10);
  const Buffer out = device->allocate_array<float>(40);
  const Buffer state = device->allocate_array<StepState>(1);
  const ops::GatherRows gather{out.view(DType::f32, 10, 4), table.view(DType::f32, kMany / 4, 4),
                               index.view(DType::i32, 10), state.view(DType::step_state, 1)};
  device->enqueue(gather);
  device->zero(table.view(DType::f32, kMany));
  const auto graph = device->capture([&] { device->enqueue(gather); });
  device->replay(*graph, 1000);
  EXPECT_THROW(device->capture([&] { static_cast<void>(device->allocate(1)); }), std::logic_error);
  std::vector<float> values(40, 7.0F);
  device->download(std::span<float>(values), out.view(DType::f32, 10, 4));
  EXPECT_EQ(values, std::vector<float>(40, 0.0F));
  ops::GatherRows wrong = gather;
  wrong.index = index.view(DType::i32, 9);
  wrong.out = out.view(DType::f32, 10, 3);
  EXPECT_THROW(device->enqueue(wrong), std::invalid_argument);
  EXPECT_THROW(device->enqueue(ops::GatherRows{}), std::invalid_argument) << "no state";
}

TEST(MeasuringDevice, AnswersAsItsEngine) {
  const auto cpu = make_device("cpu", 3);
  const auto measuring = cpu->make_measuring();
  EXPECT_EQ(measuring->info().threads, 3);
  EXPECT_FALSE(measuring->can_store(DType::f16));
  EXPECT_FALSE(measuring->has_own_memory());
  EXPECT_EQ(measuring->fastest_scatter(), cpu->fastest_scatter());
  EXPECT_THROW(measuring->run(ops::PrepareDense{{}, ProductPrecision::bf16}), InputError);
  const auto gpu = make_measuring_gpu();
  EXPECT_TRUE(gpu->can_store(DType::bf16));
  EXPECT_TRUE(gpu->has_own_memory());
  EXPECT_EQ(gpu->fastest_scatter(), ScatterKind::atomic);
}

}  // namespace
}  // namespace curate
