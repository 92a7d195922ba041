#pragma once

#include <vector>

namespace curate::cuda {

/// What the current GPU runs of this program. Architectures are 10 * major + minor of compute capabilities.
struct KernelCode {
  int machine_code = 0;
  int ptx = 0;  ///< that it was made from
};
/// Throws DeviceError if there is none.
KernelCode code_of_kernels();

/// Architectures that the compiler was asked for.
std::vector<int> built_architectures();

}  // namespace curate::cuda
