#include "device/cuda_engine.h"

#include "kernels/cublaslt.h"
#include "kernels/cuda_device.h"

namespace curate {

CudaStatus cuda_status(int gpu) {
  return cuda::status(gpu);
}

CudaTrial try_gpu(int gpu) {
  return cuda::try_gpu(gpu);
}

std::string cublaslt_status() {
  return cuda::describe_cublaslt();
}

std::unique_ptr<Device> make_cuda_device(const std::string& name, int gpu) {
  return cuda::make_device(name, gpu, devices_are_debugged());
}

}  // namespace curate
