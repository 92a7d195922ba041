#include <fmt/format.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

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

/// 12040 as 12.4; empty where there is none.
std::string cuda_version(int version) {
  return version == 0 ? "" : fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string compute_capability(const CudaStatus& cuda) {
  return cuda.compute_capability == 0
             ? ""
             : fmt::format("{}.{}", cuda.compute_capability / 10, cuda.compute_capability % 10);
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
                     compute_capability(cuda), cuda.multiprocessors, gib(cuda.free_bytes), gib(cuda.memory_bytes));
}

}  // namespace

Command add_doctor(CLI::App& root) {
  CLI::App* app = root.add_subcommand("doctor", "what this machine offers, and why --device cuda would fail");
  const auto json_wanted = std::make_shared<bool>(false);
  app->add_flag("--json", *json_wanted, "as JSON");
  return {app, [json_wanted](const Reparse& /*reparse*/) {
            const DeviceInfo cpu = make_device("cpu")->info();
            const AutoDevice chosen = choose_device();
            const CudaStatus cuda = cuda_status();
            if (*json_wanted) {
              nlohmann::ordered_json json;
              json["version"] = CURATE_VERSION;
              json["cpu"] = cpu_model();
              json["cores"] = hardware_threads();
              json["vector_instructions"] = vector_instructions();
              json["memory_bytes"] = cpu.memory_bytes;
              json["nvidia_driver"] = nvidia_driver();
              json["cuda"] = cuda.problem.empty();
              json["why_no_cuda"] = cuda.problem;
              json["cuda_driver"] = cuda_version(cuda.driver_version);
              json["cuda_toolkit"] = cuda_version(cuda.toolkit_version);
              json["cublaslt"] = cublaslt_status();
              json["gpu"] = cuda.gpu;
              json["gpu_compute_capability"] = compute_capability(cuda);
              json["gpu_multiprocessors"] = cuda.multiprocessors;
              json["gpu_memory_bytes"] = cuda.memory_bytes;
              json["gpu_free_bytes"] = cuda.free_bytes;
              json["auto_device"] = chosen.name;
              json["auto_reason"] = chosen.reason;
              fmt::print("{}", json_text(json));
              return;
            }
            fmt::print("curate          {}\n", CURATE_VERSION);
            fmt::print("CPU             {}, {} usable cores, {}\n", cpu_model(), hardware_threads(),
                       vector_instructions());
            fmt::print("memory          {:.1f} GiB\n",
                       static_cast<double>(cpu.memory_bytes) / static_cast<double>(1U << 30U));
            fmt::print("NVIDIA driver   {}\n", nvidia_driver());
            fmt::print("CUDA            {}\n", describe_cuda(cuda));
            fmt::print("cuBLASLt        {}\n", cublaslt_status());
            if (!cuda.gpu.empty()) {
              fmt::print("GPU             {}\n", describe_gpu(cuda));
            }
            fmt::print("--device cpu    works\n");
            fmt::print("--device cuda   {}\n", cuda.problem.empty() ? "works" : "fails: " + cuda.problem);
            fmt::print("--device auto   chooses {}: {}\n", chosen.name, chosen.reason);
          }};
}

}  // namespace curate::cli
