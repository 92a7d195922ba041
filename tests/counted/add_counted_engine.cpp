// Linked into a program, makes it know the device "counted": the CPU engine, of which the file that CURATE_COUNTED
// names says at the end of the process how many were opened, and how many bytes were uploaded to each. It says that its
// memory is its own, so that all that it computes with has to be uploaded.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/forwarding_device.h"

namespace curate::test {
namespace {

struct Counts {
  std::vector<std::int64_t> uploaded;  ///< bytes, by device in the order of opening

  ~Counts() {
    const char* const path = std::getenv("CURATE_COUNTED");
    std::FILE* const file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file != nullptr) {
      for (const std::int64_t bytes : uploaded) {
        std::fprintf(file, "%lld\n", static_cast<long long>(bytes));
      }
      std::fclose(file);
    }
  }
};

Counts counts;

class CountedDevice : public ForwardingDevice {
 public:
  CountedDevice() : ForwardingDevice(make_device("cpu", 2)), number_(counts.uploaded.size()) {
    counts.uploaded.push_back(0);
  }

  DeviceInfo info() const override {
    DeviceInfo info = ForwardingDevice::info();
    info.name = "counted";
    return info;
  }
  bool has_own_memory() const override { return true; }

 protected:
  void do_upload(const MatrixView& destination, const void* source) override {
    counts.uploaded[number_] +=
        destination.rows * destination.cols * static_cast<std::int64_t>(size_of(destination.dtype));
    ForwardingDevice::do_upload(destination, source);
  }

 private:
  std::size_t number_;
};

[[maybe_unused]] const bool kAdded = [] {
  add_engine("counted",
             [](const std::string&) -> std::unique_ptr<Device> { return std::make_unique<CountedDevice>(); });
  return true;
}();

}  // namespace
}  // namespace curate::test
