#include "curate/error.h"
#include "device/cuda_engine.h"

namespace curate {

CudaStatus cuda_status() {
  CudaStatus status;
  status.problem = "this build of cuRate has no CUDA engine (it was built without the CUDA toolkit)";
  return status;
}

std::string cublaslt_status() {
  return "not in this build";
}

std::unique_ptr<Device> make_cuda_device() {
  throw DeviceError(cuda_status().problem);
}

}  // namespace curate
