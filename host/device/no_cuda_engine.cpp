#include "curate/error.h"
#include "device/cuda_engine.h"

namespace curate {

CudaStatus cuda_status(int /*gpu*/) {
  CudaStatus status;
  status.problem = "this build of cuRate has no CUDA engine (it was built without the CUDA toolkit)";
  return status;
}

std::string cublaslt_status() {
  return "not in this build";
}

CudaTrial try_gpu(int gpu) {
  CudaTrial trial;
  trial.problem = cuda_status(gpu).problem;
  return trial;
}

std::unique_ptr<Device> make_cuda_device(const std::string& /*name*/, int gpu) {
  throw DeviceError(cuda_status(gpu).problem);
}

}  // namespace curate
