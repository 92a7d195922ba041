#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
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

std::atomic<bool> debugged = false;

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

std::optional<int> gpu_of(const std::string& device) {
  constexpr std::string_view kCuda = "cuda";
  if (device == kCuda) {
    return 0;
  }
  if (!device.starts_with("cuda:")) {
    return std::nullopt;
  }
  int gpu = 0;
  const char* const begin = device.data() + kCuda.size() + 1;
  const char* const end = device.data() + device.size();
  const auto [stop, error] = std::from_chars(begin, end, gpu);
  return begin != end && error == std::errc() && stop == end && gpu >= 0 ? std::optional(gpu) : std::nullopt;
}

bool CudaTrial::compiled_by_driver() const {
  return machine_code != 0 && std::find(built_for.begin(), built_for.end(), machine_code) == built_for.end();
}

bool is_device_name(const std::string& name) {
  return name == "auto" || name == "cpu" || name == "cpu-deferred" || gpu_of(name) ||
         find_added_engine(name) != nullptr;
}

void debug_devices(bool wanted) {
  debugged = wanted;
}
bool devices_are_debugged() {
  return debugged;
}

std::unique_ptr<Device> make_device(const std::string& name, int threads) {
  if (threads < 0) {
    throw InputError("threads", fmt::format("{}", threads), "must be 0 or more");
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
  if (const std::optional<int> gpu = gpu_of(name)) {
    if (const std::string problem = cuda_status(*gpu).problem; !problem.empty()) {
      throw InputError("device", name, fmt::format("{}; use `device` cpu", problem));
    }
    return make_cuda_device(name, *gpu);
  }
  if (const Engine* const engine = find_added_engine(name)) {
    return engine->make(name);
  }
  throw InputError("device", name, "no such device; use auto, cpu, cuda, or cuda:N for the GPU numbered N");
}

AutoDevice choose_device() {
  const CudaStatus status = cuda_status(0);
  if (status.problem.empty()) {
    return {"cuda", status.gpu};
  }
  return {"cpu", status.problem};
}

std::string why_no_cuda() {
  return cuda_status(0).problem;
}

}  // namespace curate
