#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "curate/error.h"
#include "device/cpu/cpu_device.h"
#include "device/cuda_engine.h"
#include "device/device.h"

namespace curate {
namespace {

struct Engine {
  std::string name;
  EngineFactory make;
};

std::vector<Engine>& added_engines() {
  static std::vector<Engine> engines;
  return engines;
}

const Engine* find_added_engine(const std::string& name) {
  const auto& engines = added_engines();
  const auto found = std::find_if(engines.begin(), engines.end(), [&name](const Engine& engine) {
    return name == engine.name || name.starts_with(engine.name + ":");
  });
  return found == engines.end() ? nullptr : &*found;
}

}  // namespace

void add_engine(const std::string& name, EngineFactory make) {
  added_engines().push_back({name, make});
}

bool is_device_name(const std::string& name) {
  return name == "auto" || name == "cpu" || name == "cpu-deferred" || name == "cuda" ||
         find_added_engine(name) != nullptr;
}

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
    if (const std::string problem = why_no_cuda(); !problem.empty()) {
      throw InputError("--device cuda: " + problem + "; use --device cpu");
    }
    return make_cuda_device();
  }
  if (const Engine* const engine = find_added_engine(name)) {
    return engine->make(name);
  }
  throw InputError(fmt::format("--device {}: no such device; use auto, cpu or cuda", name));
}

AutoDevice choose_device() {
  const CudaStatus status = cuda_status();
  if (status.problem.empty()) {
    return {"cuda", status.gpu};
  }
  return {"cpu", status.problem};
}

std::string why_no_cuda() {
  return cuda_status().problem;
}

}  // namespace curate
