#include <fmt/format.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
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

}  // namespace

Command add_doctor(CLI::App& root) {
  CLI::App* app = root.add_subcommand("doctor", "what this machine offers, and why --device cuda would fail");
  const auto json_wanted = std::make_shared<bool>(false);
  app->add_flag("--json", *json_wanted, "as JSON");
  return {app, [json_wanted](const Reparse& /*reparse*/) {
            const DeviceInfo cpu = make_device("cpu")->info();
            const AutoDevice chosen = choose_device();
            const std::string cuda = why_no_cuda();
            if (*json_wanted) {
              nlohmann::ordered_json json;
              json["version"] = CURATE_VERSION;
              json["cpu"] = cpu_model();
              json["cores"] = hardware_threads();
              json["vector_instructions"] = vector_instructions();
              json["memory_bytes"] = cpu.memory_bytes;
              json["nvidia_driver"] = nvidia_driver();
              json["cuda"] = cuda.empty();
              json["why_no_cuda"] = cuda;
              json["auto_device"] = chosen.name;
              fmt::print("{}", json_text(json));
              return;
            }
            fmt::print("curate          {}\n", CURATE_VERSION);
            fmt::print("CPU             {}, {} usable cores, {}\n", cpu_model(), hardware_threads(),
                       vector_instructions());
            fmt::print("memory          {:.1f} GiB\n",
                       static_cast<double>(cpu.memory_bytes) / static_cast<double>(1U << 30U));
            fmt::print("NVIDIA driver   {}\n", nvidia_driver());
            fmt::print("--device cpu    works\n");
            fmt::print("--device cuda   {}\n", cuda.empty() ? "works" : "fails: " + cuda);
            fmt::print("--device auto   chooses {}\n", chosen.name);
          }};
}

}  // namespace curate::cli
