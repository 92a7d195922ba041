// A library's epilogues as kernels: biases, relus, and the slopes of relus.

#include "kernels/epilogue.h"

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/emulated_kernel_test.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

/// f32 or bf16 by their bits: values that bf16 has are the same in both.
template <typename T>
T from_float(float value) {
  if constexpr (sizeof(T) == 4) {
    return value;
  } else {
    return static_cast<T>(std::bit_cast<std::uint32_t>(value) >> 16U);
  }
}
template <typename T>
float to_float(T value) {
  if constexpr (sizeof(T) == 4) {
    return value;
  } else {
    return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16U);
  }
}

template <typename T>
class Elements {
 public:
  Elements(cudaStream_t stream, const std::vector<float>& values) : memory_(stream, rounded(values)) {}

  T* data() const { return memory_.data(); }
  std::vector<float> values() const {
    std::vector<float> values;
    for (const T value : memory_.values()) {
      values.push_back(to_float(value));
    }
    return values;
  }

 private:
  static std::vector<T> rounded(const std::vector<float>& values) {
    std::vector<T> memory;
    for (const float value : values) {
      memory.push_back(from_float<T>(value));
    }
    return memory;
  }

  EmulatedMemory<T> memory_;
};

/// A matrix with `padding` elements after every row, `first` elements into its memory: any alignment.
struct Shape {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t padding = 0;
  std::int64_t first = 0;

  std::int64_t ld() const { return cols + padding; }
  std::size_t at(std::int64_t r, std::int64_t c) const { return static_cast<std::size_t>(first + r * ld() + c); }
  std::size_t size() const { return static_cast<std::size_t>(first + rows * ld()); }
  std::string label() const {
    return std::to_string(rows) + " x " + std::to_string(cols) + ", padding " + std::to_string(padding) + ", from " +
           std::to_string(first);
  }
};

/// Packs, packs with columns after them, columns alone; one row, rows past a block; lanes that take several packs.
const std::vector<Shape> kShapes = {{1, 1, 0, 0},   {3, 3, 1, 0},   {5, 4, 0, 0},    {7, 7, 1, 0},   {9, 8, 0, 1},
                                    {70, 33, 3, 0}, {2, 127, 1, 4}, {11, 130, 2, 0}, {300, 6, 2, 0}, {3, 261, 0, 0}};

template <typename T>
MatrixView view(const Elements<T>& elements, const Shape& shape) {
  return {nullptr,    elements.data() + shape.first,
          shape.rows, shape.cols,
          shape.ld(), sizeof(T) == 4 ? DType::f32 : DType::bf16};
}

class Epilogue : public EmulatedKernelTest {
 protected:
  /// Positive and negative numbers that bf16 has, zeros of both signs, NaN and infinities among them, padding too.
  static std::vector<float> elements(const Shape& shape, std::uint64_t seed) {
    RandomInputs random(seed);
    std::vector<float> values = random.matrix(static_cast<std::int64_t>(shape.size()), 1);
    const std::vector<float> special = {0.0F, -0.0F, std::numeric_limits<float>::infinity(),
                                        -std::numeric_limits<float>::infinity(),
                                        std::numeric_limits<float>::quiet_NaN()};
    for (std::size_t e = 0; e < values.size(); ++e) {
      values[e] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(values[e]) & 0xFFFF0000U);
      if (e % 7 == 3) {
        values[e] = special[e / 7 % special.size()];
      }
    }
    return values;
  }

  /// Zeros have their signs; NaN is NaN.
  static void expect_same(const std::vector<float>& found, const std::vector<float>& wanted, const std::string& label) {
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t e = 0; e < wanted.size(); ++e) {
      const bool same = std::isnan(wanted[e])
                            ? std::isnan(found[e])
                            : std::bit_cast<std::uint32_t>(found[e]) == std::bit_cast<std::uint32_t>(wanted[e]);
      EXPECT_TRUE(same) << label << ", element " << e << ": " << found[e] << " where " << wanted[e] << " is right";
    }
  }

  template <typename T>
  void fills_with_the_bias(const Shape& shape) {
    const std::vector<float> bias = elements({1, shape.cols, 0, 0}, 3);
    std::vector<float> wanted = elements(shape, 4);
    const Elements<T> out(stream_, wanted);
    const Elements<T> bias_memory(stream_, bias);
    cuda::fill_with_bias(stream_, view(out, shape), bias_memory.data());
    wait();
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t c = 0; c < shape.cols; ++c) {
        wanted[shape.at(r, c)] = bias[static_cast<std::size_t>(c)];
      }
    }
    expect_same(out.values(), wanted, shape.label());
  }

  template <typename T>
  void takes_the_relu(const Shape& shape) {
    std::vector<float> wanted = elements(shape, 5);
    const Elements<T> values(stream_, wanted);
    cuda::relu_in_place(stream_, view(values, shape));
    wait();
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t c = 0; c < shape.cols; ++c) {
        float& value = wanted[shape.at(r, c)];
        value = value < 0.0F ? 0.0F : value;
      }
    }
    expect_same(values.values(), wanted, shape.label());
  }

  template <typename T>
  void masks_the_gradient(const Shape& shape) {
    std::vector<float> wanted = elements(shape, 6);
    const std::vector<float> outputs = elements(shape, 7);
    const Elements<T> grad(stream_, wanted);
    const Elements<T> values(stream_, outputs);
    cuda::relu_backward(stream_, view(grad, shape), view(values, shape));
    wait();
    for (std::int64_t r = 0; r < shape.rows; ++r) {
      for (std::int64_t c = 0; c < shape.cols; ++c) {
        float& value = wanted[shape.at(r, c)];
        value = outputs[shape.at(r, c)] > 0.0F ? value : 0.0F;
      }
    }
    expect_same(grad.values(), wanted, shape.label());
    expect_same(values.values(), outputs, shape.label() + ", outputs");
  }
};

INSTANTIATE_TEST_SUITE_P(devices, Epilogue, testing::ValuesIn(emulated_test_devices("Epilogue")), device_test_name);

TEST_P(Epilogue, every_row_is_the_bias) {
  for (const Shape& shape : kShapes) {
    fills_with_the_bias<float>(shape);
    fills_with_the_bias<std::uint16_t>(shape);
  }
}

TEST_P(Epilogue, what_is_negative_becomes_zero_and_nan_stays) {
  for (const Shape& shape : kShapes) {
    takes_the_relu<float>(shape);
    takes_the_relu<std::uint16_t>(shape);
  }
}

TEST_P(Epilogue, a_gradient_stays_where_the_output_is_positive) {
  for (const Shape& shape : kShapes) {
    masks_the_gradient<float>(shape);
    masks_the_gradient<std::uint16_t>(shape);
  }
}

}  // namespace
}  // namespace curate::test
