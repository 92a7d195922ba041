#include "train/device_gap.h"

#include "models/rating_model.h"

namespace curate {

std::string device_gap(const std::string& device, const TrainOptions& resolved) {
  if (!device.starts_with("cuda")) {
    return "";
  }
  if (resolved.model != "mf") {
    return "--model " + resolved.model + " does not run on a GPU in this version; use --device cpu";
  }
  if (make_plan(resolved).per_rating) {
    return "per-rating SGD, the default, does not run on a GPU in this version; give --optimizer adam (or adagrad) as "
           "well, or use --device cpu";
  }
  return "";
}

}  // namespace curate
