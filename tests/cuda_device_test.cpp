// The CUDA engine's dealings with the machine, in the emulator: several GPUs, GPUs without memory pools, faults that
// show late, and what `curate doctor` tries.

#include "kernels/cuda_device.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "curate/error.h"
#include "device/device.h"
#include "tests/emulator/emulator.h"
#include "tests/support/devices.h"

namespace curate::test {
namespace {

class CudaMachine : public testing::Test {
 protected:
  CudaMachine() { emulator::set_options({}); }
  ~CudaMachine() override {
    emulator::mend_context();
    emulator::set_machine({});
  }
};

/// sums[r, :] += rows that were gathered from a table, and the result on the host.
struct GatherAndAdd {
  explicit GatherAndAdd(Device& on)
      : device(&on),
        values(21),
        table(on, filled_table(values), 7, 3),
        index(on, {0, 3, 3, 6}, 4),
        rows(on, std::vector<float>(12, 0.0F), 4, 3),
        sums(on, std::vector<float>(21, 0.0F), 7, 3),
        state(on_device(on, batch_state(4, 4))) {}

  static const std::vector<float>& filled_table(std::vector<float>& values) {
    std::iota(values.begin(), values.end(), 1.0F);
    return values;
  }

  void gather() const { device->enqueue(ops::GatherRows{rows.view(), table.view(), index.view(), state.view()}); }
  void add() const {
    device->enqueue(ops::ScatterAddRows{sums.view(), rows.view(), index.view(), {}, ScatterKind::atomic, state.view()});
  }
  std::vector<float> expected(float times) const {
    std::vector<float> sums_of(21, 0.0F);
    for (const int row : {0, 3, 3, 6}) {
      for (int c = 0; c < 3; ++c) {
        sums_of[static_cast<std::size_t>(3 * row + c)] += times * values[static_cast<std::size_t>(3 * row + c)];
      }
    }
    return sums_of;
  }

  Device* device;
  std::vector<float> values;
  DeviceMatrix<float> table;
  DeviceMatrix<std::int32_t> index;
  DeviceMatrix<float> rows;
  DeviceMatrix<float> sums;
  DeviceMatrix<StepState> state;
};

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

// Catches: a device that leaves another GPU the current one and enqueues into a stream of its own.
TEST_F(CudaMachine, devices_on_two_gpus_take_turns) {
  emulator::set_machine({2, true, true});
  const auto first = cuda::make_device("cuda");
  const auto second = cuda::make_device("cuda:1", 1);
  EXPECT_EQ(second->info().name, "cuda:1");
  EXPECT_NE(first->info().description.find("emulated GPU,"), std::string::npos) << first->info().description;
  EXPECT_NE(second->info().description.find("emulated GPU 1,"), std::string::npos) << second->info().description;
  const GatherAndAdd one(*first);
  const GatherAndAdd two(*second);
  // By a library whose handle and trial belong to a GPU, too.
  first->run(ops::PrepareDense{{512, 64, 64}, ProductPrecision::bf16});
  second->run(ops::PrepareDense{{512, 64, 64}, ProductPrecision::bf16});
  for (int turn = 0; turn < 2; ++turn) {
    one.gather();
    two.gather();
    one.add();
    const auto graph = first->capture([&] { one.add(); });
    two.add();
    first->replay(*graph, 1);
  }
  EXPECT_EQ(one.sums.values(), one.expected(4.0F));
  EXPECT_EQ(two.sums.values(), two.expected(2.0F));
}

TEST_F(CudaMachine, a_gpu_that_is_not_there_is_named) {
  emulator::set_machine({2, true, true});
  EXPECT_EQ(cuda::status(1).problem, "");
  EXPECT_EQ(cuda::status(1).gpu, "emulated GPU 1");
  EXPECT_EQ(cuda::status(1).gpus, 2);
  EXPECT_EQ(cuda::status(2).problem, "the NVIDIA driver finds 2 GPUs here, numbered from 0");
  emulator::set_machine({1, true, true});
  EXPECT_EQ(cuda::status(1).problem, "the NVIDIA driver finds one GPU here, numbered from 0");
  emulator::set_machine({0, true, true});
  ::setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
  EXPECT_EQ(cuda::status(0).problem, "the NVIDIA driver finds no GPU; CUDA_VISIBLE_DEVICES is '-1'");
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_EQ(cuda::status(0).problem, "the NVIDIA driver finds no GPU");
}

// Catches: an engine that needs cudaMallocAsync; memory freed while operations that were enqueued still use it.
TEST_F(CudaMachine, memory_comes_without_pools) {
  for (const emulator::MachineOptions machine : {emulator::MachineOptions{1, false, true}, {1, true, false}}) {
    emulator::set_machine(machine);
    EXPECT_EQ(cuda::status(0).memory_pools, machine.pools);
    {
      const auto device = cuda::make_device("cuda");
      const GatherAndAdd work(*device);
      work.gather();
      work.add();
      {
        // Given back while the copy that uses it waits in the stream.
        const DeviceMatrix<float> short_lived(*device, std::vector<float>(21, 5.0F), 7, 3);
        device->copy(short_lived.view(), work.sums.view());
        device->copy(work.sums.view(), short_lived.view());
      }
      EXPECT_EQ(work.sums.values(), work.expected(1.0F));
      EXPECT_THROW(device->allocate(std::size_t{1} << 50U), DeviceError);
    }
    EXPECT_EQ(emulator::allocations_in_use(), 0U);
  }
}

// Catches: gigabytes that a library's caller, or another program, does not get back.
TEST_F(CudaMachine, pooled_memory_goes_back_at_the_end) {
  {
    const auto device = cuda::make_device("cuda");
    { const Buffer buffer = device->allocate(1000); }
    device->synchronize();
    EXPECT_GE(emulator::pooled_bytes(), 1000U) << "kept while the device is there";
  }
  EXPECT_EQ(emulator::pooled_bytes(), 0U);
  {
    auto first = cuda::make_device("cuda");
    const auto second = cuda::make_device("cuda");
    first.reset();
    { const Buffer buffer = second->allocate(1000); }
    second->synchronize();
    EXPECT_GE(emulator::pooled_bytes(), 1000U) << "kept while another device is there";
  }
  EXPECT_EQ(emulator::pooled_bytes(), 0U);
  void* data = nullptr;
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaMallocAsync(&data, 1000, stream);
  cudaFreeAsync(data, stream);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(emulator::pooled_bytes(), 0U) << "the pool's own rule is back";
  cudaStreamDestroy(stream);
}

// Catches: a fault blamed on the operation that happened to find it.
TEST_F(CudaMachine, debugging_names_the_operation_that_failed) {
  for (const bool debugging : {false, true}) {
    const auto device = cuda::make_device("cuda", 0, debugging);
    EXPECT_EQ(device->info().description.find("waits after every operation") != std::string::npos, debugging);
    const GatherAndAdd work(*device);
    work.gather();
    const auto graph = device->capture([&] {
      work.gather();
      work.add();
    });
    emulator::break_context("gather_rows", 1);
    const auto run = [&] {
      device->replay(*graph, 2);
      device->zero(work.rows.view());
      device->synchronize();
    };
    if (debugging) {
      const std::string text = message_of(run);
      EXPECT_TRUE(text.starts_with("gather_rows: ")) << text;
      EXPECT_NE(text.find("cudaErrorIllegalAddress"), std::string::npos) << text;
    } else {
      EXPECT_THROW(run(), AsyncDeviceError);
      const std::string text = message_of(run);
      EXPECT_EQ(text.find("gather_rows"), std::string::npos) << text;
    }
    emulator::mend_context();
  }
}

// Catches: a debugged graph that keeps references to what the recording had on its stack, or leaves operations out.
TEST_F(CudaMachine, debugging_computes_the_same) {
  const auto device = cuda::make_device("cuda", 0, true);
  const GatherAndAdd work(*device);
  std::unique_ptr<Graph> graph;
  {
    const MatrixView rows = work.rows.view();
    const MatrixView index = work.index.view();
    graph = device->capture([&, rows, index] {
      const MatrixView table = work.table.view();
      device->enqueue(ops::GatherRows{rows, table, index, work.state.view()});
      work.add();
    });
  }
  EXPECT_EQ(work.sums.values(), std::vector<float>(21, 0.0F)) << "a capture runs nothing";
  device->replay(*graph, 3);
  EXPECT_EQ(work.sums.values(), work.expected(3.0F));
  EXPECT_THROW(device->capture([&] { device->synchronize(); }), std::logic_error);
  EXPECT_THROW(device->capture([&] { static_cast<void>(device->allocate(4)); }), std::logic_error);
  // Freed inside a capture: kept until its end, as without debugging.
  graph = device->capture([&] { const Buffer none; });
  device->replay(*graph, 1);
}

// Catches: a doctor that says "works" and has run nothing.
TEST_F(CudaMachine, a_trial_runs_kernels_and_looks_at_their_answer) {
  const std::int64_t before = emulator::counters().launches;
  const CudaTrial trial = cuda::try_gpu(0);
  EXPECT_EQ(trial.problem, "");
  EXPECT_GT(emulator::counters().launches, before);
  EXPECT_EQ(trial.machine_code, 90);
  EXPECT_EQ(trial.ptx, 90);
  EXPECT_FALSE(trial.compiled_by_driver());
  CudaTrial compiled = trial;
  compiled.machine_code = 121;
  EXPECT_TRUE(compiled.compiled_by_driver());

  emulator::break_context("scatter_add_rows");
  EXPECT_NE(cuda::try_gpu(0).problem.find("cudaErrorIllegalAddress"), std::string::npos);
  emulator::mend_context();
  emulator::skip_launches("scatter_add_rows");
  EXPECT_NE(cuda::try_gpu(0).problem.find("is right"), std::string::npos) << cuda::try_gpu(0).problem;
  emulator::skip_launches("");
  emulator::fail_call(4);
  EXPECT_NE(cuda::try_gpu(0).problem.find("cudaErrorUnknown"), std::string::npos);
  emulator::fail_call(-1);
  EXPECT_EQ(cuda::try_gpu(0).problem, "");
}

}  // namespace
}  // namespace curate::test
