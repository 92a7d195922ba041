#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/scratch.h"
#include "tests/emulator/emulator.h"

namespace curate::test {

/// Device memory of the emulator, which is the host's.
template <typename T>
class EmulatedMemory {
 public:
  EmulatedMemory(cudaStream_t stream, const std::vector<T>& values)
      : scratch_(stream, static_cast<std::int64_t>(values.size())), count_(values.size()) {
    std::copy(values.begin(), values.end(), scratch_.data());
  }
  T* data() const { return scratch_.data(); }
  std::vector<T> values() const { return {data(), data() + count_}; }

 private:
  cuda::Scratch<T> scratch_;
  std::size_t count_;
};

/// Kernels that are launched without a device, on a stream of the emulator; the parameter is a name of
/// emulated_test_devices().
class EmulatedKernelTest : public testing::TestWithParam<std::string> {
 protected:
  EmulatedKernelTest() {
    const std::size_t colon = GetParam().find(':');
    emulator::set_options(colon == std::string::npos ? emulator::Options{}
                                                     : emulator::parse_options(GetParam().substr(colon + 1)));
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  }
  ~EmulatedKernelTest() override { cudaStreamDestroy(stream_); }

  void wait() const {
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess) << cudaGetErrorString(cudaErrorIllegalAddress);
  }

  cudaStream_t stream_ = nullptr;
};

}  // namespace curate::test
