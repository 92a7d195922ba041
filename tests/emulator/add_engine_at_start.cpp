#include "tests/emulator/engine.h"

// Linked into a program, this is all that it takes to know the emulated device.
namespace {

[[maybe_unused]] const bool kAdded = [] {
  curate::emulator::add_emulated_engine();
  return true;
}();

}  // namespace
