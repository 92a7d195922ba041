#include "kernels/cuda_error.h"

#include <fmt/format.h>

#include <string_view>

#include "curate/error.h"

namespace curate::cuda {

void check(cudaError_t error, const char* what, const char* file, int line) {
  if (error == cudaSuccess) {
    return;
  }
  cudaGetLastError();  // so that the next call does not report it again
  const std::string_view path = file;
  throw DeviceError(fmt::format("{}: {}: {} ({}:{})", what, cudaGetErrorName(error), cudaGetErrorString(error),
                                path.substr(path.rfind('/') + 1), line));
}

}  // namespace curate::cuda
