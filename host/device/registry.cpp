#include <fmt/format.h>

#include "curate/error.h"
#include "device/cpu/cpu_device.h"
#include "device/device.h"

// The engines of a build without CUDA; a build with CUDA compiles another file in its place.

namespace curate {

std::unique_ptr<Device> make_device(const std::string& name, int threads) {
  if (threads < 0) {
    throw InputError(fmt::format("--threads {}: must be 0 or more", threads));
  }
  if (name == "cpu") {
    return make_cpu_device(threads, CpuStream::eager);
  }
  if (name == "cpu-deferred") {
    return make_cpu_device(threads, CpuStream::deferred);
  }
  if (name == "auto") {
    return make_device(choose_device().name, threads);
  }
  if (name == "cuda") {
    throw InputError("--device cuda: " + why_no_cuda() + "; use --device cpu");
  }
  throw InputError(fmt::format("--device {}: no such device; use auto, cpu or cuda", name));
}

AutoDevice choose_device() {
  return {"cpu", why_no_cuda()};
}

std::string why_no_cuda() {
  return "this version of cuRate has no CUDA engine";
}

}  // namespace curate
