// The emulator itself: what it computes, and that it finds the bugs that kernels have.

#include "tests/emulator/emulator.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/launch.h"
#include "kernels/mma.cuh"
#include "kernels/shared_memory.cuh"
#include "kernels/warp_reduce.cuh"

namespace curate::cuda {
namespace {

using emulator::Options;
using emulator::Schedule;

/// A stream and an array of floats on the emulated device.
class Emulated {
 public:
  explicit Emulated(const Options& options) {
    emulator::set_options(options);
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  }
  Emulated(const Emulated&) = delete;
  Emulated& operator=(const Emulated&) = delete;
  ~Emulated() {
    for (float* const array : arrays_) {
      cudaFreeAsync(array, stream_);
    }
    cudaStreamDestroy(stream_);
    cudaGetLastError();
  }

  cudaStream_t stream() const { return stream_; }

  float* array(const std::vector<float>& values) {
    void* data = nullptr;
    EXPECT_EQ(cudaMallocAsync(&data, values.size() * sizeof(float), stream_), cudaSuccess);
    auto* const floats = static_cast<float*>(data);
    std::copy(values.begin(), values.end(), floats);  // the emulator's device memory is the host's
    arrays_.push_back(floats);
    return floats;
  }

  void forget(float* array) { std::erase(arrays_, array); }

  cudaError_t wait() { return cudaStreamSynchronize(stream_); }

 private:
  cudaStream_t stream_ = nullptr;
  std::vector<float*> arrays_;
};

std::vector<Options> all_schedules() {
  std::vector<Options> all;
  for (const Schedule schedule :
       {Schedule::forward, Schedule::reverse, Schedule::random, Schedule::run_ahead, Schedule::resident}) {
    for (const bool eager : {false, true}) {
      Options options;
      options.schedule = schedule;
      options.eager = eager;
      options.seed = 7;
      all.push_back(options);
    }
  }
  return all;
}

std::vector<float> counting(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 1.0F);
  return values;
}

// ---- What it computes

/// out[block] = the sum of the block's part of in, through shuffles and shared memory.
__global__ void block_sums_kernel(float* out, const float* in, int count) {
  CURATE_SHARED(float, sums, 32);
  const int n = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  float sum = n < count ? in[n] : 0.0F;
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    float total = 0.0F;
    if (threadIdx.x < blockDim.x / 32) {
      total = sums[threadIdx.x];
    }
    total = warp_sum(total);
    if (threadIdx.x == 0) {
      out[blockIdx.x] = total;
    }
  }
}

TEST(Emulator, sums_in_every_schedule) {
  constexpr int kCount = 1000;
  for (const Options& options : all_schedules()) {
    Emulated device(options);
    const float* const in = device.array(counting(kCount));
    float* const out = device.array({0.0F, 0.0F, 0.0F, 0.0F});
    launch("block_sums", device.stream(), {4, 256}, block_sums_kernel, out, in, kCount);
    ASSERT_EQ(device.wait(), cudaSuccess) << emulator::last_report();
    EXPECT_EQ(out[0] + out[1] + out[2] + out[3], kCount * (kCount + 1) / 2) << emulator::name_of(options.schedule);
  }
}

/// Everything a thread knows of itself, in three dimensions.
__global__ void number_threads_kernel(float* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned n = block * blockDim.x * blockDim.y * blockDim.z + thread;
  atomicAdd(out + n, static_cast<float>(n));
}

TEST(Emulator, runs_every_thread_of_every_block_once) {
  for (const Options& options : all_schedules()) {
    Emulated device(options);
    float* const out = device.array(std::vector<float>(6 * 30, 0.0F));
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(3, 1, 2);
    config.blockDim = dim3(5, 3, 2);
    config.stream = device.stream();
    ASSERT_EQ(cudaLaunchKernelEx(&config, number_threads_kernel, out), cudaSuccess);
    ASSERT_EQ(device.wait(), cudaSuccess);
    for (int n = 0; n < 180; ++n) {
      ASSERT_EQ(out[n], static_cast<float>(n)) << emulator::name_of(options.schedule);
    }
  }
}

/// Shuffles of all kinds, in sections of 8 lanes, and votes.
__global__ void shuffle_kernel(float* out) {
  const auto lane = static_cast<int>(threadIdx.x);
  const auto value = static_cast<float>(lane);
  float* const own = out + 6 * lane;
  own[0] = __shfl_sync(kWholeWarp, value, 3, 8);
  own[1] = __shfl_up_sync(kWholeWarp, value, 2, 8);
  own[2] = __shfl_down_sync(kWholeWarp, value, 2, 8);
  own[3] = __shfl_xor_sync(kWholeWarp, value, 5, 8);
  own[4] = static_cast<float>(__popc(__ballot_sync(kWholeWarp, lane % 3 == 0)));
  // Half of a warp at a time, each with a mask of its own.
  const unsigned half = lane < 16 ? 0x0000FFFFU : 0xFFFF0000U;
  own[5] = static_cast<float>(__all_sync(half, lane < 16));
}

TEST(Emulator, shuffles_and_votes) {
  for (const Options& options : all_schedules()) {
    Emulated device(options);
    float* const out = device.array(std::vector<float>(32 * 6, -1.0F));
    launch("shuffle", device.stream(), {1, 32}, shuffle_kernel, out);
    ASSERT_EQ(device.wait(), cudaSuccess) << emulator::last_report();
    for (int lane = 0; lane < 32; ++lane) {
      const int section = lane / 8 * 8;
      const float* const own = out + 6 * lane;
      EXPECT_EQ(own[0], static_cast<float>(section + 3));
      EXPECT_EQ(own[1], static_cast<float>(lane % 8 >= 2 ? lane - 2 : lane));
      EXPECT_EQ(own[2], static_cast<float>(lane % 8 < 6 ? lane + 2 : lane));
      EXPECT_EQ(own[3], static_cast<float>(lane ^ 5));
      EXPECT_EQ(own[4], 11.0F);
      EXPECT_EQ(own[5], lane < 16 ? 1.0F : 0.0F);
    }
  }
}

__global__ void add_one_kernel(float* out, int count) {
  const int n = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (n < count) {
    out[n] += 1.0F;
  }
}

TEST(Emulator, operations_wait_until_somebody_asks_for_them) {
  Options lazy;
  Options eager;
  eager.eager = true;
  for (const Options& options : {lazy, eager}) {
    Emulated device(options);
    float* const out = device.array({1.0F});
    launch("add_one", device.stream(), {1, 32}, add_one_kernel, out, 1);
    EXPECT_EQ(out[0], options.eager ? 2.0F : 1.0F);
    EXPECT_EQ(device.wait(), cudaSuccess);
    EXPECT_EQ(out[0], 2.0F);
  }
}

// Catches: an event that takes its time when it is recorded, or that nobody waits for.
TEST(Emulator, events_take_the_time_when_the_stream_gets_to_them) {
  const Emulated emulated({});
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  ASSERT_EQ(cudaEventCreate(&begin), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&end), cudaSuccess);
  EXPECT_EQ(emulator::handles_in_use(), 3);
  float milliseconds = -1.0F;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorInvalidResourceHandle) << "never recorded";
  EXPECT_EQ(cudaEventRecord(begin, emulated.stream()), cudaSuccess);
  bool ran = false;
  emulator::enqueue_host(emulated.stream(), "nap", [&ran] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ran = true;
    return std::string();
  });
  EXPECT_EQ(cudaEventRecord(end, emulated.stream()), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaErrorNotReady);
  EXPECT_FALSE(ran);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_TRUE(ran);
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
  EXPECT_GE(milliseconds, 20.0F);
  EXPECT_EQ(cudaEventRecord(begin, emulated.stream()), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(begin), cudaSuccess) << "its stream may get to it later";
  EXPECT_EQ(cudaEventDestroy(end), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(emulated.stream()), cudaSuccess);
  EXPECT_EQ(emulator::handles_in_use(), 1);
  cudaGetLastError();
}

TEST(Emulator, replays_what_was_captured) {
  Emulated device({});
  float* const out = device.array({1.0F});
  ASSERT_EQ(cudaStreamBeginCapture(device.stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  launch("add_one", device.stream(), {1, 32}, add_one_kernel, out, 1);
  // What would wait or allocate cannot be recorded.
  void* data = nullptr;
  EXPECT_EQ(cudaStreamSynchronize(device.stream()), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaMallocAsync(&data, 16, device.stream()), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaMemcpyAsync(&data, out, 4, cudaMemcpyDeviceToHost, device.stream()), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(device.stream(), &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  EXPECT_EQ(device.wait(), cudaSuccess);
  EXPECT_EQ(out[0], 1.0F);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(cudaGraphLaunch(executable, device.stream()), cudaSuccess);
  }
  EXPECT_EQ(device.wait(), cudaSuccess);
  EXPECT_EQ(out[0], 4.0F);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

/// out = a b + c of 16 x 8 times 8 x 8 or 16 x 16 times 16 x 8 numbers, row by row, as mma.cuh hands them to lanes.
__global__ void mma_kernel(float* out, const float* a, const float* b, bool bf16) {
  const auto lane = static_cast<int>(threadIdx.x);
  const int g = lane / 4;
  const int q = lane % 4;
  float sum[4];
  for (int e = 0; e < 4; ++e) {
    sum[e] = out[(g + e / 2 * 8) * 8 + 2 * q + e % 2];
  }
  std::uint32_t own_a[4];
  std::uint32_t own_b[2];
  for (int r = 0; r < 4; ++r) {
    const int row = g + r % 2 * 8;
    own_a[r] = bf16 ? to_two_bf16(a[row * 16 + 2 * q + r / 2 * 8], a[row * 16 + 2 * q + r / 2 * 8 + 1])
                    : to_tf32(a[row * 8 + q + r / 2 * 4]);
  }
  for (int r = 0; r < 2; ++r) {
    own_b[r] = bf16 ? to_two_bf16(b[(2 * q + 8 * r) * 8 + g], b[(2 * q + 8 * r + 1) * 8 + g])
                    : to_tf32(b[(q + 4 * r) * 8 + g]);
  }
  if (bf16) {
    mma_bf16(sum, own_a, own_b);
  } else {
    mma_tf32(sum, own_a, own_b);
  }
  for (int e = 0; e < 4; ++e) {
    out[(g + e / 2 * 8) * 8 + 2 * q + e % 2] = sum[e];
  }
}

// Small whole numbers, which no rounding changes. Catches: fragments that hold another element, lanes whose registers
// change before others have read them.
TEST(Emulator, mma_multiplies_matrices) {
  for (const char* const name : {"forward", "reverse", "random:3", "run-ahead:4", "resident:5"}) {
    for (const int depth : {8, 16}) {
      Emulated device(emulator::parse_options(name));
      std::vector<float> a;
      std::vector<float> b;
      std::vector<float> c;
      for (int i = 0; i < 16 * depth; ++i) {
        a.push_back(static_cast<float>(i * 7 % 23 - 11));
      }
      for (int i = 0; i < depth * 8; ++i) {
        b.push_back(static_cast<float>(i * 5 % 19 - 9));
      }
      for (int i = 0; i < 16 * 8; ++i) {
        c.push_back(static_cast<float>(i));
      }
      float* const out = device.array(c);
      launch("mma", device.stream(), {1, 32}, mma_kernel, out, static_cast<const float*>(device.array(a)),
             static_cast<const float*>(device.array(b)), depth == 16);
      ASSERT_EQ(device.wait(), cudaSuccess);
      for (int m = 0; m < 16; ++m) {
        for (int n = 0; n < 8; ++n) {
          float expected = c[static_cast<std::size_t>(m * 8 + n)];
          for (int k = 0; k < depth; ++k) {
            expected += a[static_cast<std::size_t>(m * depth + k)] * b[static_cast<std::size_t>(k * 8 + n)];
          }
          EXPECT_EQ(out[m * 8 + n], expected) << name << ", depth " << depth << ", (" << m << ", " << n << ")";
        }
      }
    }
  }
}

TEST(Emulator, refuses_launches_that_no_gpu_takes) {
  Emulated device({});
  float* const out = device.array({1.0F});
  const auto try_launch = [&](dim3 grid, dim3 block, std::size_t shared) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = device.stream();
    return cudaLaunchKernelEx(&config, add_one_kernel, out, 0);
  };
  EXPECT_EQ(try_launch({1}, {1024}, 0), cudaSuccess);
  EXPECT_EQ(try_launch({1}, {1025}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(try_launch({1}, {32, 32, 2}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(try_launch({0}, {32}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(try_launch({1, 65536}, {32}, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(try_launch({1}, {32}, 256 << 10), cudaErrorInvalidConfiguration);
  // More than every block has is to be asked for, kernel by kernel.
  EXPECT_EQ(try_launch({1}, {32}, 64 << 10), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(block_sums_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10),
            cudaSuccess);
  EXPECT_EQ(try_launch({1}, {32}, 64 << 10), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(add_one_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10), cudaSuccess);
  EXPECT_EQ(try_launch({1}, {32}, 64 << 10), cudaSuccess);
  EXPECT_EQ(try_launch({1}, {32}, 65 << 10), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(add_one_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 256 << 10),
            cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST(Emulator, allocations_end_at_the_capacity) {
  Emulated device({});
  emulator::set_memory(std::size_t{1} << 20U);
  void* data = nullptr;
  EXPECT_EQ(cudaMallocAsync(&data, std::size_t{2} << 20U, device.stream()), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMallocAsync(&data, std::size_t{1} << 19U, device.stream()), cudaSuccess);
  EXPECT_EQ(cudaFreeAsync(data, device.stream()), cudaSuccess);
  emulator::set_memory(std::size_t{16} << 30U);
}

TEST(Emulator, schedules_have_names) {
  const Options options = emulator::parse_options("run-ahead:12,eager");
  EXPECT_EQ(options.schedule, Schedule::run_ahead);
  EXPECT_EQ(options.seed, 12U);
  EXPECT_TRUE(options.eager);
  EXPECT_THROW(emulator::parse_options("sideways"), std::invalid_argument);
  EXPECT_THROW(emulator::parse_options("forward:x"), std::invalid_argument);
  EXPECT_THROW(emulator::parse_options("forward,lazy"), std::invalid_argument);
}

// ---- Planted bugs. Each must be found in every schedule that is named, and the report must say what it is.

template <typename Launch>
void expect_report(const Options& options, const std::string& what, Launch launch_kernel) {
  Emulated device(options);
  EXPECT_THROW(
      {
        launch_kernel(device);
        CURATE_CUDA_CHECK(device.wait());
      },
      std::runtime_error)
      << emulator::name_of(options.schedule);
  EXPECT_NE(emulator::last_report().find(what), std::string::npos)
      << emulator::name_of(options.schedule) << ": " << emulator::last_report();
}

template <typename Launch>
void expect_report_in_all_schedules(const std::string& what, Launch launch_kernel) {
  for (const Options& options : all_schedules()) {
    expect_report(options, what, launch_kernel);
  }
}

/// Planted: no barrier between the writes and the reads of other threads' elements.
__global__ void missing_barrier_kernel(float* out, bool forgotten) {
  CURATE_SHARED(float, tile, 64);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (!forgotten) {
    __syncthreads();
  }
  out[threadIdx.x] = tile[63 - threadIdx.x];
}

/// Planted: no barrier between reading a tile and filling it again.
__global__ void missing_second_barrier_kernel(float* out, bool forgotten) {
  CURATE_SHARED(float, tile, 64);
  float sum = 0.0F;
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = static_cast<float>(threadIdx.x + round);
    __syncthreads();
    sum += tile[63 - threadIdx.x];
    if (!forgotten) {
      __syncthreads();
    }
  }
  out[threadIdx.x] = sum;
}

TEST(EmulatorFinds, a_missing_barrier) {
  const auto run = [](bool forgotten) {
    return [forgotten](Emulated& device) {
      float* const out = device.array(std::vector<float>(64, 0.0F));
      launch("missing_barrier", device.stream(), {1, 64}, missing_barrier_kernel, out, forgotten);
    };
  };
  for (const Options& options : all_schedules()) {
    expect_report(options, "shared tile[", run(true));
    Emulated device(options);
    EXPECT_NO_THROW(run(false)(device));
    EXPECT_EQ(device.wait(), cudaSuccess) << emulator::last_report();
  }
}

TEST(EmulatorFinds, a_missing_barrier_before_the_next_round) {
  const auto run = [](bool forgotten) {
    return [forgotten](Emulated& device) {
      float* const out = device.array(std::vector<float>(64, 0.0F));
      launch("missing_second_barrier", device.stream(), {1, 64}, missing_second_barrier_kernel, out, forgotten);
    };
  };
  for (const Options& options : all_schedules()) {
    expect_report(options, "with no barrier between", run(true));
    Emulated device(options);
    EXPECT_NO_THROW(run(false)(device));
    EXPECT_EQ(device.wait(), cudaSuccess) << emulator::last_report();
  }
}

/// Planted: half of the block at a barrier.
__global__ void divergent_barrier_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  }
}

/// Planted: two barriers that each half of the block takes for the other's.
__global__ void two_barriers_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST(EmulatorFinds, divergent_barriers) {
  expect_report_in_all_schedules("__syncthreads", [](Emulated& device) {
    launch("divergent_barrier", device.stream(), {2, 64}, divergent_barrier_kernel);
  });
  expect_report_in_all_schedules("others of its block at the one in", [](Emulated& device) {
    launch("two_barriers", device.stream(), {2, 64}, two_barriers_kernel);
  });
}

/// Planted: lanes that shuffle with others which have gone another way.
__global__ void divergent_shuffle_kernel(float* out) {
  float value = 1.0F;
  if (threadIdx.x < 16) {
    value = __shfl_xor_sync(kWholeWarp, value, 1);
  }
  out[threadIdx.x] = value;
}

/// Planted: a lane that takes a value from one that the mask leaves out.
__global__ void shuffle_from_outside_kernel(float* out) {
  if (threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_sync(0x0000FFFFU, 1.0F, 20);
  }
}

/// Planted: half of a warp at a barrier, the other half in a shuffle that wants all.
__global__ void deadlock_kernel(float* out) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    out[threadIdx.x] = __shfl_xor_sync(kWholeWarp, 1.0F, 1);
    __syncthreads();
  }
}

TEST(EmulatorFinds, divergent_shuffles_and_deadlocks) {
  expect_report_in_all_schedules("__shfl_xor_sync", [](Emulated& device) {
    launch("divergent_shuffle", device.stream(), {1, 32}, divergent_shuffle_kernel,
           device.array(std::vector<float>(32, 0.0F)));
  });
  expect_report_in_all_schedules("takes the value of lane 20", [](Emulated& device) {
    launch("shuffle_from_outside", device.stream(), {1, 32}, shuffle_from_outside_kernel,
           device.array(std::vector<float>(32, 0.0F)));
  });
  expect_report_in_all_schedules("no thread can go on", [](Emulated& device) {
    launch("deadlock", device.stream(), {1, 32}, deadlock_kernel, device.array(std::vector<float>(32, 0.0F)));
  });
}

/// Planted: nobody looks whether the index is one.
__global__ void gather_kernel(float* out, const float* table, int index) {
  out[threadIdx.x] = table[index];
}

TEST(EmulatorFinds, reads_and_writes_out_of_range) {
  for (const int index : {8, 9, 100, 20000, 3000000}) {
    expect_report_in_all_schedules("kernel gather, block (0,0,0), thread (0,0,0): reads ", [index](Emulated& device) {
      const float* const table = device.array(counting(8));
      launch("gather", device.stream(), {1, 1}, gather_kernel, device.array({0.0F}), table, index);
    });
  }
  expect_report_in_all_schedules("8 bytes past the end of an allocation of 32 bytes", [](Emulated& device) {
    const float* const table = device.array(counting(8));
    launch("gather", device.stream(), {1, 1}, gather_kernel, device.array({0.0F}), table, 10);
  });
  expect_report_in_all_schedules("writes", [](Emulated& device) {
    launch("add_one", device.stream(), {1, 64}, gather_kernel, device.array(std::vector<float>(32, 0.0F)),
           device.array({1.0F}), 0);
  });
  expect_report_in_all_schedules("which is no device memory", [](Emulated& device) {
    launch("gather", device.stream(), {1, 1}, gather_kernel, reinterpret_cast<float*>(std::uintptr_t{4096}),
           device.array({1.0F}), 0);
  });
}

TEST(EmulatorFinds, writes_just_past_an_end_when_it_is_freed) {
  Emulated device({});
  float* const three = device.array(counting(3));
  three[3] = 1.0F;
  device.forget(three);
  EXPECT_EQ(cudaFreeAsync(three, device.stream()), cudaSuccess);
  EXPECT_NE(device.wait(), cudaSuccess);
}

/// Planted: one element past the end of a shared array.
__global__ void shared_overrun_kernel(float* out, int elements) {
  CURATE_SHARED(float, tile, 32);
  CURATE_SHARED(float, other, 32);
  tile[threadIdx.x] = 1.0F;
  other[threadIdx.x] = 2.0F;
  __syncthreads();
  float sum = 0.0F;
  for (int i = 0; i < elements; ++i) {
    sum += tile[i];
  }
  out[threadIdx.x] = sum;
}

/// Planted: only half of the tile is written.
__global__ void unwritten_kernel(float* out) {
  const auto tile = dynamic_shared<float>();
  if (threadIdx.x < 16) {
    tile[threadIdx.x] = 1.0F;
  }
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}

TEST(EmulatorFinds, misuse_of_shared_memory) {
  expect_report_in_all_schedules("reads shared tile[32] of 32 elements", [](Emulated& device) {
    launch("shared_overrun", device.stream(), {1, 32}, shared_overrun_kernel,
           device.array(std::vector<float>(32, 0.0F)), 33);
  });
  expect_report_in_all_schedules("which nobody has written", [](Emulated& device) {
    launch("unwritten", device.stream(), {1, 32, 32 * sizeof(float)}, unwritten_kernel,
           device.array(std::vector<float>(32, 0.0F)));
  });
}

TEST(EmulatorFinds, use_after_free) {
  expect_report_in_all_schedules("a freed allocation of 32 bytes", [](Emulated& device) {
    float* const table = device.array(counting(8));
    device.forget(table);
    CURATE_CUDA_CHECK(cudaFreeAsync(table, device.stream()));
    launch("gather", device.stream(), {1, 1}, gather_kernel, device.array({0.0F}), static_cast<const float*>(table), 0);
  });
}

TEST(EmulatorFinds, a_second_free) {
  Emulated device({});
  float* const table = device.array(counting(8));
  EXPECT_EQ(cudaFreeAsync(table, device.stream()), cudaSuccess);
  device.forget(table);
  EXPECT_EQ(cudaFreeAsync(table, device.stream()), cudaSuccess);
  EXPECT_NE(device.wait(), cudaSuccess);
}

/// Planted: a sum over blocks that adds to memory without an atomic.
__global__ void lost_updates_kernel(float* sum, bool atomic) {
  if (atomic) {
    atomicAdd(sum, 1.0F);
  } else {
    const float before = __ldcg(sum);
    atomicExch(sum, before + 1.0F);
  }
}

// Blocks that run side by side lose updates; one after the other they do not, and nobody would see it.
TEST(EmulatorFinds, updates_that_resident_blocks_lose) {
  for (const bool atomic : {false, true}) {
    Options options;
    options.schedule = Schedule::resident;
    Emulated device(options);
    float* const sum = device.array({0.0F});
    launch("lost_updates", device.stream(), {64, 32}, lost_updates_kernel, sum, atomic);
    ASSERT_EQ(device.wait(), cudaSuccess);
    if (atomic) {
      EXPECT_EQ(sum[0], 64.0F * 32.0F);
    } else {
      EXPECT_LT(sum[0], 64.0F * 32.0F);
    }
  }
}

// Catches: threads left in the middle of a kernel, or a device that stays broken, after a failure.
TEST(Emulator, goes_on_after_a_failure) {
  for (const Options& options : all_schedules()) {
    expect_report(options, "__syncthreads", [](Emulated& device) {
      launch("divergent_barrier", device.stream(), {2, 64}, divergent_barrier_kernel);
    });
    Emulated device(options);
    const float* const in = device.array(counting(256));
    float* const out = device.array({0.0F});
    launch("block_sums", device.stream(), {1, 256}, block_sums_kernel, out, in, 256);
    ASSERT_EQ(device.wait(), cudaSuccess);
    EXPECT_EQ(out[0], 256.0F * 257.0F / 2.0F);
  }
}

// Catches: an error that the next launch on the same stream hides, as it would not on a GPU.
TEST(Emulator, an_error_stays_with_its_stream) {
  Emulated device({});
  launch("divergent_barrier", device.stream(), {2, 64}, divergent_barrier_kernel);
  EXPECT_EQ(device.wait(), cudaErrorLaunchFailure);
  float* const out = device.array({1.0F});
  launch("add_one", device.stream(), {1, 32}, add_one_kernel, out, 1);
  EXPECT_EQ(device.wait(), cudaErrorLaunchFailure);
  EXPECT_EQ(out[0], 1.0F);
}

}  // namespace
}  // namespace curate::cuda
