#include "cli/device_options.h"

#include "device/device.h"

namespace curate::cli {

void add_debug_device(CLI::App& app) {
  app.add_flag_callback(
      "--debug-device", [] { debug_devices(true); },
      "GPU: wait after every operation, so that an error names the one that failed; slow");
}

}  // namespace curate::cli
