// Sums of a gradient's rows, in slices by many blocks.

#include "kernels/bias_gradient.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/emulated_kernel_test.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

class BiasGradient : public EmulatedKernelTest {
 protected:
  /// Sums of the rows of h [rows, cols], `ld` elements apart, with that much scratch.
  std::vector<float> sums(const std::vector<float>& h, DType dtype, std::int64_t rows, std::int64_t cols,
                          std::int64_t ld, std::size_t scratch_floats) {
    std::vector<float> padded(static_cast<std::size_t>(rows * ld), padding_of<float>());
    for (std::int64_t r = 0; r < rows; ++r) {
      std::copy_n(h.begin() + r * cols, cols, padded.begin() + r * ld);
    }
    std::vector<std::uint16_t> upper;
    for (const float value : padded) {
      upper.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U));
    }
    const EmulatedMemory<float> in_f32(stream_, padded);
    const EmulatedMemory<std::uint16_t> in_bf16(stream_, upper);
    const EmulatedMemory<float> scratch(stream_, std::vector<float>(scratch_floats, padding_of<float>()));
    const EmulatedMemory<float> out(stream_, std::vector<float>(static_cast<std::size_t>(cols), kUntouched));
    void* const in = dtype == DType::bf16 ? static_cast<void*>(in_bf16.data()) : in_f32.data();
    cuda::bias_gradient(stream_, {nullptr, out.data(), cols, 1, 1, DType::f32}, {nullptr, in, rows, cols, ld, dtype},
                        {scratch.data(), scratch_floats});
    wait();
    return {out.data(), out.data() + cols};
  }
};

INSTANTIATE_TEST_SUITE_P(devices, BiasGradient, testing::ValuesIn(emulated_test_devices("BiasGradient")),
                         device_test_name);

// Catches: a slice or a row left out or taken twice, columns of another block, padding that is read, an order of sums
// that the schedule decides.
TEST_P(BiasGradient, matches_reference) {
  struct Shape {
    std::int64_t rows, cols, padding;
    std::size_t scratch;
  };
  for (const Shape& shape :
       {Shape{1, 1, 0, 0}, Shape{127, 33, 7, 4096}, Shape{129, 64, 0, 4096}, Shape{1000, 100, 4, 1 << 16},
        Shape{5000, 257, 0, 1 << 16}, Shape{5000, 1, 3, 1 << 16}, Shape{3000, 68, 4, 500}, Shape{2000, 40, 0, 39}}) {
    const std::string label = std::to_string(shape.rows) + " x " + std::to_string(shape.cols);
    RandomInputs random(static_cast<std::uint64_t>(7 * shape.rows + shape.cols));
    std::vector<float> h = random.matrix(shape.rows, shape.cols);
    for (float& value : h) {
      value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFF0000U);  // bf16 has it
    }
    std::vector<double> exact(static_cast<std::size_t>(shape.cols));
    std::vector<double> magnitude(exact.size());
    for (std::size_t e = 0; e < h.size(); ++e) {
      exact[e % exact.size()] += static_cast<double>(h[e]);
      magnitude[e % exact.size()] += std::abs(static_cast<double>(h[e]));
    }
    const auto sum = [&](DType dtype) {
      return sums(h, dtype, shape.rows, shape.cols, shape.cols + shape.padding, shape.scratch);
    };
    const std::vector<float> of_f32 = sum(DType::f32);
    EXPECT_TRUE(dot_close(of_f32, exact, magnitude, {shape.rows}, label));
    EXPECT_TRUE(bits_equal(sum(DType::bf16), of_f32, label + ", of bf16"));
    EXPECT_TRUE(bits_equal(sum(DType::f32), of_f32, label + ", again"));
  }
}

// 256 outputs took 8 blocks once, which a GPU hardly notices. Catches: rows that are not cut into slices.
TEST_P(BiasGradient, long_batches_are_cut) {
  const auto threads_of = [&](std::int64_t rows, std::int64_t cols) {
    const std::int64_t before = emulator::counters_of("bias_gradient").threads;
    const std::vector<float> h(static_cast<std::size_t>(rows * cols), 1.0F);
    const std::vector<float> sums_of_ones = sums(h, DType::f32, rows, cols, cols, 1 << 16);
    EXPECT_EQ(sums_of_ones, std::vector<float>(static_cast<std::size_t>(cols), static_cast<float>(rows)));
    return emulator::counters_of("bias_gradient").threads - before;
  };
  const std::int64_t of_a_slice = threads_of(1, 256);
  EXPECT_EQ(threads_of(128 * 20, 256), 20 * of_a_slice);
}

}  // namespace
}  // namespace curate::test
