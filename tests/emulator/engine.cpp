#include "tests/emulator/engine.h"

#include <stdexcept>

#include "curate/error.h"
#include "device/cuda_engine.h"
#include "kernels/cuda_device.h"
#include "kernels/open_library.h"
#include "tests/emulator/emulator.h"

namespace curate::emulator {
namespace {

std::unique_ptr<Device> make(const std::string& name) {
  Options options;
  if (name != kEmulatedDevice) {
    try {
      options = parse_options(name.substr(std::string(kEmulatedDevice).size() + 1));
    } catch (const std::invalid_argument& error) {
      throw InputError("--device " + name + ": " + error.what());
    }
  }
  set_options(options);
  return cuda::make_device(name, 0, devices_are_debugged());
}

}  // namespace

void add_emulated_engine() {
  static const bool added = [] {
    add_engine(kEmulatedDevice, &make);
    return true;
  }();
  static_cast<void>(added);
}

std::vector<std::string> emulated_devices() {
  return {"cuda-emulated", "cuda-emulated:reverse,eager", "cuda-emulated:random:2", "cuda-emulated:run-ahead:3",
          "cuda-emulated:resident:4,eager"};
}

}  // namespace curate::emulator

namespace curate::cuda {

void* open_library(const char* name) {
  return emulator::open_library(name);
}

void* find_symbol(void* library, const char* name) {
  return emulator::find_symbol(library, name);
}

}  // namespace curate::cuda
