#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>

#include "curate/error.h"
#include "tests/emulator/emulator.h"

namespace curate::test {

/// Runs `run` again and again, each time with another call of the runtime or of a library that fails, from where it
/// calls its argument on, until none is left: every failure has to be a DeviceError that names the call, and has to
/// leave nothing behind. A library's call may instead be made up for: `run` checks its results. Gives how many calls of
/// libraries there were.
inline std::int64_t fail_every_call(const std::function<void(const std::function<void()>&)>& run) {
  std::int64_t of_library = 0;
  std::int64_t call = 0;
  for (bool done = false; !done && !testing::Test::HasFailure(); ++call) {
    emulator::fail_call(-1);
    try {
      run([call] { emulator::fail_call(call); });
      const std::string failed = emulator::failed_call();
      done = failed.empty();
      of_library += done ? 0 : 1;
      EXPECT_TRUE(done || failed.starts_with("cublas")) << failed << ", call " << call << ", fails unnoticed";
    } catch (const DeviceError& error) {
      const std::string text = error.what();
      const std::string failed = emulator::failed_call();
      if (failed.starts_with("cublasLt")) {
        ++of_library;
        EXPECT_NE(text.find(failed + ": CUBLAS_STATUS_"), std::string::npos) << failed << ": " << text;
        EXPECT_NE(text.find("libcublasLt.so.13"), std::string::npos) << text;
      } else {
        EXPECT_NE(text.find("cudaErrorUnknown"), std::string::npos) << failed << ": " << text;
      }
    }
    emulator::fail_call(-1);
    EXPECT_EQ(emulator::allocations_in_use(), 0U) << emulator::failed_call() << ", call " << call;
    EXPECT_EQ(emulator::handles_in_use(), 0) << emulator::failed_call() << ", call " << call;
  }
  return of_library;
}

}  // namespace curate::test
