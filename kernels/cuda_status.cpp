#include <cuda_runtime.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "curate/error.h"
#include "kernels/cuda_device.h"
#include "kernels/cuda_error.h"
#include "kernels/step_state.h"

namespace curate::cuda {
namespace {

std::string version_text(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

std::string describe_error(cudaError_t error) {
  return fmt::format("{}: {}", cudaGetErrorName(error), cudaGetErrorString(error));
}

/// Why no GPU can be used; empty if there are some.
std::string why_no_gpu(const CudaStatus& status, cudaError_t counting) {
  if (status.driver_version == 0) {
    return "no NVIDIA driver is installed";
  }
  if (counting == cudaErrorInsufficientDriver) {
    return fmt::format("the NVIDIA driver serves CUDA {}, this program needs {}", version_text(status.driver_version),
                       version_text(status.toolkit_version));
  }
  if (counting == cudaErrorNoDevice || (counting == cudaSuccess && status.gpus == 0)) {
    const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
    return visible == nullptr ? "the NVIDIA driver finds no GPU"
                              : fmt::format("the NVIDIA driver finds no GPU; CUDA_VISIBLE_DEVICES is '{}'", visible);
  }
  return counting == cudaSuccess ? "" : describe_error(counting);
}

/// What a GPU makes of sums that are known, by a kernel that reads, one that adds atomically, and a graph of both;
/// empty if they are right.
std::string wrong_answer(Device& device) {
  constexpr std::int64_t kRows = 7;
  constexpr std::int64_t kColumns = 5;
  constexpr std::int64_t kPicks = 3 * kRows;
  constexpr std::int64_t kReplays = 2;
  std::vector<float> table(kRows * kColumns);
  std::iota(table.begin(), table.end(), 1.0F);
  std::vector<std::int32_t> index(kPicks);
  for (std::int64_t pick = 0; pick < kPicks; ++pick) {
    index[static_cast<std::size_t>(pick)] = static_cast<std::int32_t>(kRows - 1 - pick % kRows);
  }
  StepState start;
  start.batch_size = start.batch_count = start.num_ratings = kPicks;
  const Buffer buffers[] = {device.allocate_array<float>(kRows * kColumns), device.allocate_array<std::int32_t>(kPicks),
                            device.allocate_array<float>(kPicks * kColumns),
                            device.allocate_array<float>(kRows * kColumns), device.allocate_array<StepState>(1)};
  const MatrixView from = buffers[0].view(DType::f32, kRows, kColumns);
  const MatrixView picks = buffers[1].view(DType::i32, kPicks);
  const MatrixView rows = buffers[2].view(DType::f32, kPicks, kColumns);
  const MatrixView sums = buffers[3].view(DType::f32, kRows, kColumns);
  const MatrixView state = buffers[4].view(DType::step_state, 1);
  device.upload(from, std::span<const float>(table));
  device.upload(picks, std::span<const std::int32_t>(index));
  device.upload(state, std::span<const StepState>(&start, 1));
  device.zero(sums);
  const std::unique_ptr<Graph> graph = device.capture([&] {
    device.enqueue(ops::GatherRows{rows, from, picks, state});
    device.enqueue(ops::ScatterAddRows{sums, rows, picks, {}, ScatterKind::atomic, state});
  });
  device.replay(*graph, kReplays);
  std::vector<float> got(table.size());
  device.download(std::span<float>(got), sums);
  for (std::size_t e = 0; e < got.size(); ++e) {
    const float expected = static_cast<float>(kReplays * kPicks / kRows) * table[e];
    if (got[e] != expected) {
      return fmt::format("kernels run, but compute {} where {} is right", got[e], expected);
    }
  }
  return "";
}

}  // namespace

CudaStatus status(int gpu) {
  CudaStatus status;
  // Version 0 of the driver: there is none.
  cudaDriverGetVersion(&status.driver_version);
  cudaRuntimeGetVersion(&status.toolkit_version);
  const cudaError_t error = cudaGetDeviceCount(&status.gpus);
  cudaGetLastError();
  status.problem = why_no_gpu(status, error);
  if (status.problem.empty() && gpu >= status.gpus) {
    status.problem = fmt::format("the NVIDIA driver finds {} here, numbered from 0",
                                 status.gpus == 1 ? "one GPU" : fmt::format("{} GPUs", status.gpus));
  }
  if (!status.problem.empty()) {
    return status;
  }
  cudaDeviceProp properties{};
  CURATE_CUDA_CHECK(cudaGetDeviceProperties(&properties, gpu));
  status.gpu = properties.name;
  status.compute_capability = 10 * properties.major + properties.minor;
  status.multiprocessors = properties.multiProcessorCount;
  status.memory_bytes = properties.totalGlobalMem;
  status.memory_pools = properties.memoryPoolsSupported != 0;
  if (status.compute_capability < 80) {
    status.problem = fmt::format("{} has compute capability {}.{}, this program needs 8.0 or more", status.gpu,
                                 properties.major, properties.minor);
  } else if (cudaSetDevice(gpu) == cudaSuccess) {
    std::size_t total = 0;
    cudaMemGetInfo(&status.free_bytes, &total);
  }
  return status;
}

CudaTrial try_gpu(int gpu) {
  CudaTrial trial;
  trial.built_for = built_architectures();
  try {
    const auto device = make_device("cuda", gpu, false);
    const KernelCode code = code_of_kernels();
    trial.machine_code = code.machine_code;
    trial.ptx = code.ptx;
    trial.problem = wrong_answer(*device);
  } catch (const Error& error) {
    trial.problem = error.what();
  }
  return trial;
}

}  // namespace curate::cuda
