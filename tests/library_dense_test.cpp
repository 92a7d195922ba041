// Dense layers by NVIDIA's libraries: on the emulated GPU with its stand-ins and, where there is a GPU, on that with
// the libraries themselves.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/dense_pass.h"
#include "tests/support/devices.h"
#include "tests/support/gpu_devices.h"

namespace curate::test {
namespace {

class LibraryDense : public testing::TestWithParam<std::string> {
 protected:
  void TearDown() override {
    if (HasFailure()) {
      end_where_context_is_broken(GetParam());
    }
  }
};

INSTANTIATE_TEST_SUITE_P(devices, LibraryDense, testing::ValuesIn(gpu_test_devices("LibraryDense")), device_test_name);

// Catches: a precision that is not handed on, one that stays, an operand that is rounded twice or not at all, rounded
// rows that lie elsewhere than the library looks.
TEST_P(LibraryDense, operands_are_rounded_as_asked) {
  const auto device = make_device(GetParam());
  for (const DenseCase& test : {linear(64, 64, 512), linear(132, 68, 600, 99), linear(72, 260, 512, 1)}) {
    for (const auto& [precision, rounding] :
         {std::pair{ProductPrecision::tf32, kTf32}, {ProductPrecision::bf16, kBf16}, {ProductPrecision::f32, 8L}}) {
      device->run(ops::PrepareDense{size_of(test), precision});
      const DensePass layer(*device, test);
      layer.forward();
      layer.backward();
      EXPECT_TRUE(layer.close(rounding)) << name_of(precision);
      if (precision != ProductPrecision::f32) {
        EXPECT_FALSE(layer.close(rounding / 16)) << name_of(precision) << ": rounded to more bits than asked for";
      }
    }
  }
}

// NaN and infinities stay what they are, and what lies half-way goes to the even neighbour: 1 + 2^-8 to 1, 1 + 3 * 2^-8
// to 1 + 2^-6.
TEST_P(LibraryDense, bf16_rounds_to_nearest_even) {
  const auto device = make_device(GetParam());
  device->run(ops::PrepareDense{{512, 64, 64}, ProductPrecision::bf16});
  DenseCase test = linear(64, 64, 512);
  DensePass layer(*device, test);
  std::fill(layer.host.in.begin(), layer.host.in.end(), 0.0F);
  std::fill(layer.host.weight.begin(), layer.host.weight.end(), 0.0F);
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::bit_cast<float>(0x7F800001U);
  const std::vector<std::pair<float, float>> cases = {
      {1.00390625F, 1.0F}, {1.01171875F, 1.015625F}, {-1.01F, -1.0078125F}, {nan, nan}, {-inf, -inf}, {3.4e38F, inf}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    layer.host.in[i * 64] = cases[i].first;
  }
  layer.host.weight[0] = 1.0F;
  device->upload(layer.in.view(), std::span<const float>(layer.host.in));
  device->upload(layer.params.weight.view(), std::span<const float>(layer.host.weight));
  device->zero(layer.params.bias.view());
  layer.forward();
  const std::vector<float> got = layer.out.values();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (std::isnan(cases[i].second)) {
      EXPECT_TRUE(std::isnan(got[i * 64]));
    } else {
      EXPECT_EQ(got[i * 64], cases[i].second);
    }
  }
}

// Catches: memory for rounded operands that moves while a graph still names it.
TEST_P(LibraryDense, a_graph_outlives_larger_layers) {
  const auto device = make_device(GetParam());
  device->run(ops::PrepareDense{{512, 64, 64}, ProductPrecision::bf16});
  const DensePass small(*device, linear(64, 64, 512, 5));
  const DensePass large(*device, linear(128, 256, 600));
  EXPECT_THROW(device->capture([&] { large.forward(); }), std::logic_error);
  const auto graph = device->capture([&] {
    small.forward();
    small.backward();
  });
  large.forward();
  large.backward();
  device->replay(*graph, 2);
  EXPECT_TRUE(large.close(kBf16));
  EXPECT_TRUE(small.close(kBf16));
  EXPECT_THROW(device->capture([&] { device->run(ops::PrepareDense{{512, 64, 64}}); }), std::logic_error);
}

// Catches: a product that a library sees for the first time inside a capture, where it may not load its kernels.
TEST_P(LibraryDense, what_was_not_prepared_is_no_part_of_a_capture) {
  const auto device = make_device(GetParam());
  device->run(ops::PrepareDense{{512, 64, 64}});
  const DensePass prepared(*device, linear(64, 64, 512, 3));
  DenseCase wider = linear(64, 64, 512);
  wider.in_padding = 4;
  for (const DenseCase& test : {linear(64, 96, 512), linear(64, 64, 640), wider}) {
    const DensePass other(*device, test);
    try {
      device->capture([&] { other.forward(); });
      ADD_FAILURE() << test.label();
    } catch (const std::logic_error& error) {
      EXPECT_NE(std::string(error.what()).find("inside a capture"), std::string::npos) << error.what();
    }
    other.forward();
    device->capture([&] { other.forward(); });
  }
  const auto graph = device->capture([&] {
    prepared.forward();
    prepared.backward();
  });
  device->replay(*graph, 1);
  EXPECT_TRUE(prepared.close(8));
}

// Catches: an order of sums that the schedule decides, and algorithms that change from call to call.
TEST_P(LibraryDense, the_same_bits_on_every_device) {
  std::vector<float> first;
  const std::string other = GetParam() == "cuda" ? GetParam() : emulator::emulated_devices().front();
  for (const std::string& name : {other, GetParam()}) {
    for (const ProductPrecision precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
      const auto device = make_device(name);
      device->run(ops::PrepareDense{{700, 64, 96}, precision});
      const DensePass layer(*device, linear(64, 96, 700, 3));
      std::vector<float> all;
      for (int run = 0; run < 2; ++run) {
        device->upload(layer.grad_out.view(), std::span<const float>(layer.gradients));
        layer.forward();
        layer.backward();
        const auto add = [&all](const std::vector<float>& values) {
          all.insert(all.end(), values.begin(), values.end());
        };
        add(first_rows(layer.out, 697));
        add(first_rows(layer.grad_in, 697));
        add(layer.grad_params.weight.values());
        add(layer.grad_params.bias.values());
        if (run == 1) {
          const auto half = static_cast<std::ptrdiff_t>(all.size() / 2);
          EXPECT_TRUE(bits_equal(std::vector<float>(all.begin(), all.begin() + half),
                                 std::vector<float>(all.begin() + half, all.end()), "second run"));
        }
      }
      if (precision == ProductPrecision::bf16) {
        first = first.empty() ? all : first;
        EXPECT_TRUE(bits_equal(all, first, name));
      }
    }
  }
}

}  // namespace
}  // namespace curate::test
