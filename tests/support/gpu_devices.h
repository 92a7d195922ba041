#pragma once

#include <string>
#include <vector>

#include "tests/support/devices.h"

namespace curate::test {

/// The emulated GPU in its schedules, and the GPU where this build and this machine have one.
inline std::vector<std::string> gpu_test_devices(const char* suite) {
  std::vector<std::string> names = emulated_test_devices(suite);
  if (why_no_cuda().empty()) {
    names.emplace_back("cuda");
  }
  return names;
}

}  // namespace curate::test
