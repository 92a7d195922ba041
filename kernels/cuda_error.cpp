#include "kernels/cuda_error.h"

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "curate/error.h"

namespace curate::cuda {
namespace {

/// Of a kernel that went wrong while it ran: every later call of the process returns the same.
bool breaks_context(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
      return true;
    default:
      return false;
  }
}

}  // namespace

void check(cudaError_t error, const char* what, const char* file, int line) {
  if (error == cudaSuccess) {
    return;
  }
  cudaGetLastError();  // so that the next call does not report it again
  const std::string_view path = file;
  const std::string text = fmt::format("{}: {}: {} ({}:{})", what, cudaGetErrorName(error), cudaGetErrorString(error),
                                       path.substr(path.rfind('/') + 1), line);
  if (breaks_context(error)) {
    throw AsyncDeviceError(text);
  }
  throw DeviceError(text);
}

}  // namespace curate::cuda
