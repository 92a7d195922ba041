// The process whose memory is measured: trains on a million ratings with the CPU engine, and prints the bytes that were
// planned on top of the data set, and those that the process took; 0 if the system does not say.
// usage: training_memory_child mf|mf_adam|mlp

#include <malloc.h>

#include <cstdio>
#include <exception>
#include <string>

#include "curate/dataset.h"
#include "device/device.h"
#include "support/machine.h"
#include "train/memory_estimate.h"
#include "train/training_session.h"

int main(int argc, char** argv) {
  using namespace curate;
  const std::string way = argc == 2 ? argv[1] : "";
  if (way != "mf" && way != "mf_adam" && way != "mlp") {
    std::fprintf(stderr, "usage: training_memory_child mf|mf_adam|mlp\n");
    return 2;
  }
  try {
    TrainOptions options;
    options.device = "cpu";
    options.threads = 2;
    options.epochs = 2;
    options.units = UnitsKind::raw;  // a training by itself: no bias model is fitted
    options.refit = way != "mf";     // whose few bytes are no more than what the C library keeps of a first training
    options.model = way == "mlp" ? ModelKind::mlp : ModelKind::mf;
    if (way == "mf_adam") {
      options.optimizer = OptimizerChoice::adam;
      options.dim = 64;
    }
    options = resolve(options);
    SyntheticOptions synthetic;
    synthetic.users = 20000;
    synthetic.items = 5000;
    synthetic.ratings = 1000000;
    const Dataset dataset = generate_dataset(synthetic).dataset;
    const auto device = make_device("cpu", options.threads);
    const MemoryEstimate estimate = estimate_memory(*device->make_measuring(), options,
                                                    {dataset.users.size(),
                                                     dataset.items.size(),
                                                     dataset.ratings.size(),
                                                     dataset.scale,
                                                     {},
                                                     dataset.ratings.has_timestamps()});
    ::malloc_trim(0);
    const bool anew = reset_peak_memory();
    const std::int64_t before = peak_memory_bytes();
    train(*device, options, dataset, dataset.ratings);
    std::printf("%lld %lld\n", static_cast<long long>(estimate.all_bytes() - estimate.data_set),
                anew ? static_cast<long long>(peak_memory_bytes() - before) : 0LL);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "training_memory_child: %s\n", error.what());
    return 1;
  }
  return 0;
}
