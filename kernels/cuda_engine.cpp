#include "device/cuda_engine.h"

#include "kernels/cublaslt.h"
#include "kernels/cuda_device.h"

namespace curate {

CudaStatus cuda_status() {
  return cuda::status();
}

std::string cublaslt_status() {
  return cuda::describe_cublaslt();
}

std::unique_ptr<Device> make_cuda_device() {
  return cuda::make_device("cuda");
}

}  // namespace curate
