// The process in which a training goes on: restores a session and writes its state after the last epoch.
// usage: training_session_child WAY DEVICE STATE_IN STATE_OUT

#include <cstdio>
#include <exception>

#include "tests/emulator/engine.h"
#include "tests/support/session_file.h"
#include "tests/support/session_ways.h"

int main(int argc, char** argv) {
  using namespace curate;
  if (argc != 5) {
    std::fprintf(stderr, "usage: training_session_child WAY DEVICE STATE_IN STATE_OUT\n");
    return 2;
  }
  try {
    emulator::add_emulated_engine();
    const TrainOptions options = test::session_options(argv[1], argv[2]);
    const Dataset dataset = test::session_dataset(options);
    const auto device = make_device(options.device, options.threads);
    TrainingSession session(*device, options, dataset, dataset.ratings);
    session.restore(test::read_state(argv[3]));
    while (!session.done()) {
      session.step();
    }
    test::write_state(argv[4], session.state());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "training_session_child: %s\n", error.what());
    return 1;
  }
  return 0;
}
