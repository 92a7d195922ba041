#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "device/device.h"

namespace curate {

/// What `doctor` tells of CUDA. Numbers are 0 where it is not known.
struct CudaStatus {
  std::string problem;     ///< why --device cuda would fail, in one line; empty where it works
  int driver_version = 0;  ///< the newest CUDA that the driver serves: 1000 * major + 10 * minor
  int toolkit_version = 0;
  std::string gpu;
  int compute_capability = 0;  ///< 10 * major + minor
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t free_bytes = 0;
};

// A build without CUDA has no_cuda_engine.cpp, one with it kernels/cuda_engine.cpp: the only files that the CUDA option
// swaps.

CudaStatus cuda_status();

/// What `doctor` says of cuBLASLt, in one line: its version, or why it is not used.
std::string cublaslt_status();

/// The engine behind the name "cuda", on GPU 0. Throws DeviceError where status().problem is not empty.
std::unique_ptr<Device> make_cuda_device();

/// For engines that a program brings along, such as the tests' emulated GPU: make_device() hands it `name` and every
/// name that begins with `name` and a colon.
using EngineFactory = std::unique_ptr<Device> (*)(const std::string& name);
void add_engine(const std::string& name, EngineFactory make);

/// Whether make_device() knows the name, be it that the device is not here.
bool is_device_name(const std::string& name);

}  // namespace curate
