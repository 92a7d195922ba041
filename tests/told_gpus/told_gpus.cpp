// Linked into a program in place of the CUDA engine: four GPUs that nobody has, so that what `doctor` says of GPUs is
// seen without one. CURATE_TOLD_GPUS says how many of them the process sees.

#include <array>
#include <cstdlib>
#include <string>

#include "curate/error.h"
#include "device/cuda_engine.h"

namespace curate {
namespace {

struct ToldGpu {
  CudaStatus status;
  CudaTrial trial;
};

constexpr std::size_t kGib = std::size_t{1} << 30U;

const std::array<ToldGpu, 4>& told_gpus() {
  static const std::array<ToldGpu, 4> gpus = {{
      {{"", 13000, 13000, 0, "Fast GPU", 90, 132, 140 * kGib, 139 * kGib, true}, {"", {80, 90}, 90, 90}},
      {{"", 13000, 13000, 0, "New GPU", 103, 160, 280 * kGib, 270 * kGib, false}, {"", {80, 90}, 103, 90}},
      {{"", 13000, 13000, 0, "Broken GPU", 80, 108, 40 * kGib, 39 * kGib, true},
       {"kernels gave wrong answers: 3 where 4 is right", {80, 90}, 80, 80}},
      {{"Old GPU has compute capability 7.5, this program needs 8.0 or more", 13000, 13000, 0, "Old GPU", 75, 40,
        8 * kGib, 0, true},
       {"never tried", {80, 90}, 75, 75}},
  }};
  return gpus;
}

}  // namespace

CudaStatus cuda_status(int gpu) {
  const char* const count = std::getenv("CURATE_TOLD_GPUS");
  CudaStatus status = told_gpus().at(static_cast<std::size_t>(gpu)).status;
  status.gpus = count == nullptr ? 0 : std::stoi(count);
  return status;
}

CudaTrial try_gpu(int gpu) {
  return told_gpus().at(static_cast<std::size_t>(gpu)).trial;
}

std::string cublaslt_status() {
  return "13.0.0";
}

std::unique_ptr<Device> make_cuda_device(const std::string& name, int /*gpu*/) {
  throw DeviceError(name + " is told of, it cannot be opened");
}

}  // namespace curate
