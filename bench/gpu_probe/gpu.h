#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/gpu_probe/report.h"
#include "device/device.h"
#include "kernels/scratch.h"
#include "kernels/stream_timer.h"

namespace curate::probe {

/// The name that --device takes: of the GPU, or in gpu_probe-emulated of the emulator.
#if defined(CURATE_EMULATED_KERNELS)
inline constexpr const char* kDeviceName = "cuda-emulated";
#else
inline constexpr const char* kDeviceName = "cuda";
#endif

/// The GPU with a stream of the program's own, for what goes below the device contract.
class Gpu {
 public:
  /// Throws InputError or DeviceError where there is none.
  explicit Gpu(const std::string& device);
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
  ~Gpu();

  Device& device() const { return *device_; }
  cudaStream_t stream() const { return stream_; }
  const cudaDeviceProp& properties() const { return properties_; }

  template <typename T>
  void upload(T* to, const std::vector<T>& from) const {
    copy(to, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  template <typename T>
  std::vector<T> download(const T* from, std::int64_t count) const {
    std::vector<T> values(static_cast<std::size_t>(count));
    copy(values.data(), from, values.size() * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }

  void synchronize() const { CURATE_CUDA_CHECK(cudaStreamSynchronize(stream_)); }
  /// After an error: false where the GPU's context is lost.
  bool works() const;

  /// Seconds of `repeats` runs, after `warmup` more of them.
  std::vector<double> times_of(const std::function<void()>& enqueue, int warmup, int repeats) const;

 private:
  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) const;

  std::unique_ptr<Device> device_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
};

template <typename T>
using Scratch = cuda::Scratch<T>;

}  // namespace curate::probe
