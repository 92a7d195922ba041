#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "device/cuda_engine.h"
#include "device/device.h"
#include "support/json_text.h"
#include "support/machine.h"
#include "support/thread_pool.h"

namespace curate::cli {
namespace {

std::string nvidia_driver() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  return std::getline(file, line) ? line : "none found";
}

/// 12040 as 12.4; empty if there is none.
std::string cuda_version(int version) {
  return version == 0 ? "" : fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string capability(int number) {
  return number == 0 ? "" : fmt::format("{}.{}", number / 10, number % 10);
}

std::string describe_cuda(const CudaStatus& cuda) {
  if (cuda.toolkit_version == 0) {
    return "not in this build";
  }
  return fmt::format("built with {}, the driver serves {}", cuda_version(cuda.toolkit_version),
                     cuda.driver_version == 0 ? "none" : cuda_version(cuda.driver_version));
}

std::string describe_gpu(const CudaStatus& cuda) {
  const auto gib = [](std::size_t bytes) { return static_cast<double>(bytes) / static_cast<double>(1U << 30U); };
  return fmt::format("{}, compute capability {}, {} multiprocessors, {:.1f} of {:.1f} GiB free", cuda.gpu,
                     capability(cuda.compute_capability), cuda.multiprocessors, gib(cuda.free_bytes),
                     gib(cuda.memory_bytes));
}

/// Which code of this program a GPU runs, and where its memory comes from.
std::string describe_code(const CudaStatus& cuda, const CudaTrial& trial) {
  std::string code = fmt::format("code for sm_{}", trial.machine_code);
  if (trial.compiled_by_driver()) {
    code = fmt::format("code for sm_{} that the driver compiled from PTX for {}; the first start takes longer",
                       trial.machine_code, capability(trial.ptx));
  }
  return fmt::format("{}; {}", code,
                     cuda.memory_pools ? "memory from the driver's pool" : "no memory pool, memory by cudaMalloc");
}

const char* visible_devices() {
  const char* const value = std::getenv("CUDA_VISIBLE_DEVICES");
  return value == nullptr ? "" : value;
}

/// A GPU that was tried.
struct TriedGpu {
  std::string device;
  CudaStatus cuda;
  CudaTrial trial;
};

/// Tries all GPUs that this process sees; none if it can use none.
std::vector<TriedGpu> try_gpus(int count) {
  std::vector<TriedGpu> gpus;
  for (int gpu = 0; gpu < count; ++gpu) {
    TriedGpu tried{gpu == 0 ? "cuda" : fmt::format("cuda:{}", gpu), cuda_status(gpu), {}};
    tried.trial = tried.cuda.problem.empty() ? try_gpu(gpu) : CudaTrial{tried.cuda.problem, {}, 0, 0};
    gpus.push_back(std::move(tried));
  }
  return gpus;
}

nlohmann::ordered_json gpu_json(const TriedGpu& gpu) {
  nlohmann::ordered_json json;
  json["device"] = gpu.device;
  json["works"] = gpu.trial.problem.empty();
  json["problem"] = gpu.trial.problem;
  json["name"] = gpu.cuda.gpu;
  json["compute_capability"] = capability(gpu.cuda.compute_capability);
  json["multiprocessors"] = gpu.cuda.multiprocessors;
  json["memory_bytes"] = gpu.cuda.memory_bytes;
  json["free_bytes"] = gpu.cuda.free_bytes;
  json["memory_pools"] = gpu.cuda.memory_pools;
  json["machine_code"] = gpu.trial.machine_code;
  json["ptx"] = gpu.trial.ptx;
  json["compiled_by_driver"] = gpu.trial.compiled_by_driver();
  return json;
}

void print_json(const CudaStatus& cuda, const std::vector<TriedGpu>& gpus) {
  const DeviceInfo cpu = make_device("cpu")->info();
  const AutoDevice chosen = choose_device();
  const std::string problem = gpus.empty() ? cuda.problem : gpus.front().trial.problem;
  nlohmann::ordered_json json;
  json["version"] = CURATE_VERSION;
  json["cpu"] = cpu_model();
  json["cores"] = hardware_threads();
  json["vector_instructions"] = vector_instructions();
  json["memory_bytes"] = cpu.memory_bytes;
  json["nvidia_driver"] = nvidia_driver();
  json["cuda"] = problem.empty();
  json["why_no_cuda"] = problem;
  json["cuda_driver"] = cuda_version(cuda.driver_version);
  json["cuda_toolkit"] = cuda_version(cuda.toolkit_version);
  json["cublaslt"] = cublaslt_status();
  json["cuda_visible_devices"] = visible_devices();
  json["gpus"] = nlohmann::ordered_json::array();
  for (const TriedGpu& gpu : gpus) {
    json["gpus"].push_back(gpu_json(gpu));
  }
  json["auto_device"] = chosen.name;
  json["auto_reason"] = chosen.reason;
  fmt::print("{}", json_text(json));
}

void print_lines(const CudaStatus& cuda, const std::vector<TriedGpu>& gpus) {
  const DeviceInfo cpu = make_device("cpu")->info();
  const AutoDevice chosen = choose_device();
  const auto line = [](const std::string& what, const std::string& text) { fmt::print("{:<15} {}\n", what, text); };
  line("curate", CURATE_VERSION);
  line("CPU", fmt::format("{}, {} usable cores, {}", cpu_model(), hardware_threads(), vector_instructions()));
  line("memory", fmt::format("{:.1f} GiB", static_cast<double>(cpu.memory_bytes) / static_cast<double>(1U << 30U)));
  line("NVIDIA driver", nvidia_driver());
  line("CUDA", describe_cuda(cuda));
  line("cuBLASLt", cublaslt_status());
  if (*visible_devices() != '\0') {
    line("visible", fmt::format("CUDA_VISIBLE_DEVICES={}", visible_devices()));
  }
  for (std::size_t gpu = 0; gpu < gpus.size(); ++gpu) {
    line(fmt::format("GPU {}", gpu), gpus[gpu].cuda.gpu.empty() ? "" : describe_gpu(gpus[gpu].cuda));
    if (gpus[gpu].trial.machine_code != 0) {
      line("", describe_code(gpus[gpu].cuda, gpus[gpu].trial));
    }
  }
  line("--device cpu", "works");
  if (gpus.empty()) {
    line("--device cuda", "fails: " + cuda.problem);
  }
  for (const TriedGpu& gpu : gpus) {
    line("--device " + gpu.device,
         gpu.trial.problem.empty() ? "works: kernels ran, and their answers are right" : "fails: " + gpu.trial.problem);
  }
  line("--device auto", fmt::format("chooses {}: {}", chosen.name, chosen.reason));
}

}  // namespace

Command add_doctor(CLI::App& root) {
  CLI::App* app = root.add_subcommand("doctor", "what this machine offers, and why --device cuda would fail");
  const auto json_wanted = std::make_shared<bool>(false);
  app->add_flag("--json", *json_wanted, "as JSON");
  return {app, [json_wanted](const Reparse& /*reparse*/) {
            const CudaStatus cuda = cuda_status(0);
            const std::vector<TriedGpu> gpus = try_gpus(cuda.gpus);
            *json_wanted ? print_json(cuda, gpus) : print_lines(cuda, gpus);
          }};
}

}  // namespace curate::cli
