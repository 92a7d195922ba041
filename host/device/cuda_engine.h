#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"

namespace curate {

/// What CUDA says of this machine and of one of its GPUs. Numbers are 0 if it is not known.
struct CudaStatus {
  std::string problem;     ///< why that GPU cannot be used, in one line; empty if it looks as if it could
  int driver_version = 0;  ///< the newest CUDA that the driver serves: 1000 * major + 10 * minor
  int toolkit_version = 0;
  int gpus = 0;  ///< that this process sees
  std::string gpu;
  int compute_capability = 0;  ///< 10 * major + minor
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t free_bytes = 0;
  bool memory_pools = false;  ///< else memory comes from cudaMalloc, and giving it back waits for the GPU
};

/// What a GPU made of kernels whose answer is known. Architectures are 10 * major + minor of compute capabilities.
struct CudaTrial {
  std::string problem;         ///< why it failed, in one line; empty if the answers were right
  std::vector<int> built_for;  ///< architectures whose code this program has
  int machine_code = 0;        ///< architecture of the code that ran
  int ptx = 0;                 ///< architecture of the PTX that it was made from

  /// Whether the driver compiled the kernels for this GPU. That takes a while when a program first starts.
  bool compiled_by_driver() const;
};

// A build without CUDA has no_cuda_engine.cpp, one with it kernels/cuda_engine.cpp: the only files that the CUDA option
// swaps.

CudaStatus cuda_status(int gpu);

/// Runs kernels on that GPU. Throws nothing.
CudaTrial try_gpu(int gpu);

/// What `doctor` says of cuBLASLt, in one line: its version, or why it is not used.
std::string cublaslt_status();

/// The engine on a GPU, which info() calls `name`. Throws DeviceError if cuda_status(gpu).problem is not empty.
std::unique_ptr<Device> make_cuda_device(const std::string& name, int gpu);

/// The GPU that "cuda" (0) or "cuda:N" names; nothing for other names.
std::optional<int> gpu_of(const std::string& device);

/// For engines that a program brings along, such as the tests' emulated GPU: make_device() hands it `name` and every
/// name that begins with `name` and a colon.
using EngineFactory = std::unique_ptr<Device> (*)(const std::string& name);
void add_engine(const std::string& name, EngineFactory make);

/// Whether make_device() knows the name; the device itself may be absent.
bool is_device_name(const std::string& name);

}  // namespace curate
