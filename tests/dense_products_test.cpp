// Dense layers by cuBLASLt: which calls go there, in what precision, and what happens where it is not or not all there.
// In the emulator, whose stand-in has the library's interface.

#include "kernels/dense_products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "kernels/cublaslt.h"
#include "tests/emulator/emulator.h"
#include "tests/reference/dense.h"
#include "tests/support/compare.h"
#include "tests/support/dense.h"
#include "tests/support/devices.h"
#include "tests/support/failing_calls.h"
#include "tests/support/random_inputs.h"

namespace curate::test {
namespace {

class DenseProducts : public testing::TestWithParam<std::string> {
 protected:
  DenseProducts() { emulator::add_emulated_engine(); }
  ~DenseProducts() override { emulator::set_cublaslt({}); }
};

INSTANTIATE_TEST_SUITE_P(devices, DenseProducts, testing::ValuesIn(emulated_test_devices("DenseProducts")),
                         device_test_name);

/// One layer's forward and backward pass with the buffers that they need.
struct Layer {
  Layer(Device& layer_device, const DenseCase& layer_case)
      : device(&layer_device),
        test(layer_case),
        random(test.batch.seed),
        host(random_dense(random, test)),
        gradients(random.matrix(host.batch, host.outputs)),
        in(*device, host.in, host.batch, host.inputs, host.inputs + test.in_padding),
        out(filled(*device, host.batch, host.outputs, test.batch.padding)),
        params(*device, host),
        grad_out(*device, gradients, host.batch, host.outputs),
        grad_in(filled(*device, host.batch, host.inputs)),
        grad_params(*device, host.outputs, host.inputs, kUntouched),
        state(on_device(*device, batch_state(test.batch.num_ratings, test.batch.batch_size, test.batch.batch))) {}

  void forward() const {
    device->dense_forward({out.view(), in.view()}, params.params(), test.activation, state.view());
  }
  void backward() const {
    device->dense_backward({grad_out.view(), grad_in.view()}, grad_params.params(), {out.view(), in.view()},
                           params.params(), test.activation, state.view());
  }

  /// Of a linear layer, whose every result is a sum: whether all lie within `rounding` of their terms' magnitudes, in
  /// units of f32's roundings, on top of those.
  testing::AssertionResult close(std::int64_t rounding) const {
    const std::int64_t count = test.batch.count();
    const reference::Matrix exact_in = host.inputs_of_first(count);
    const reference::Matrix exact_grad(count, host.outputs,
                                       std::vector<float>(gradients.begin(), gradients.begin() + count * host.outputs));
    const reference::Matrix sums = reference::dense_forward(exact_in, host.params(), test.activation);
    const reference::DenseGradients grad =
        reference::dense_backward(exact_grad, exact_in, sums, host.params(), test.activation);
    const reference::DenseGradients magnitudes =
        reference::dense_backward_magnitudes(exact_grad, exact_in, host.params(), test.activation);
    const auto compare = [&](const std::vector<float>& got, const reference::Matrix& expected,
                             const reference::Matrix& magnitude, std::int64_t length, const char* what) {
      return dot_close(got, expected.values, magnitude.values, {length + rounding}, test.label() + what);
    };
    testing::AssertionResult result =
        compare(first_rows(out, count), sums, reference::dense_sums_magnitudes(exact_in, host.params()),
                host.inputs + 1, ", outputs");
    if (result) {
      result = compare(first_rows(grad_in, count), grad.in, magnitudes.in, host.outputs, ", gradient of inputs");
    }
    if (result) {
      result = compare(grad_params.weight.values(), grad.weight, magnitudes.weight, count, ", gradient of weights");
    }
    if (result) {
      result = compare(grad_params.bias.values(), grad.bias, magnitudes.bias, count, ", gradient of the bias");
    }
    return result;
  }

  Device* device;
  DenseCase test;
  RandomInputs random;
  HostDense host;
  std::vector<float> gradients;
  DeviceMatrix<float> in;
  DeviceMatrix<float> out;
  DeviceDense params;
  DeviceMatrix<float> grad_out;
  DeviceMatrix<float> grad_in;
  DeviceDense grad_params;
  DeviceMatrix<StepState> state;
};

/// A linear layer on a batch that is short by `missing`.
DenseCase linear(std::int64_t inputs, std::int64_t outputs, std::int64_t batch, std::int64_t missing = 0) {
  return {inputs, outputs, 0, {}, {501, outputs, batch, 0, batch - missing, 0}, true};
}

DenseSize size_of(const DenseCase& test) {
  return {test.batch.batch_size, test.inputs, test.outputs};
}

/// Products that the library was given by both passes: 3 or none.
std::int64_t products_of(Device& device, const DenseCase& test) {
  const Layer layer(device, test);
  const std::int64_t before = emulator::cublaslt_products();
  layer.forward();
  layer.backward();
  EXPECT_TRUE(layer.close(8)) << test.label();
  return emulator::cublaslt_products() - before;
}

/// Rounding of both operands of a product, as the hardware may do it, in units of f32's half ones.
constexpr std::int64_t kTf32 = std::int64_t{1} << 14U;
constexpr std::int64_t kBf16 = std::int64_t{1} << 16U;

TEST_P(DenseProducts, wide_layers_go_to_the_library_and_no_others) {
  const auto device = make_device(GetParam());
  EXPECT_EQ(products_of(*device, linear(64, 64, 512)), 3);
  EXPECT_EQ(products_of(*device, linear(128, 68, 1024, 100)), 3);
  DenseCase padded = linear(64, 64, 512);
  padded.in_padding = 4;
  padded.batch.padding = 8;
  EXPECT_EQ(products_of(*device, padded), 3);
  EXPECT_EQ(products_of(*device, linear(60, 64, 512)), 0) << "few inputs";
  EXPECT_EQ(products_of(*device, linear(64, 60, 512)), 0) << "few outputs";
  EXPECT_EQ(products_of(*device, linear(64, 64, 511)), 0) << "few rows";
  EXPECT_EQ(products_of(*device, linear(66, 64, 512)), 0) << "rows of weights that begin anywhere";
  padded.in_padding = 3;
  EXPECT_EQ(products_of(*device, padded), 0) << "rows of inputs that begin anywhere";
}

TEST_P(DenseProducts, without_the_library_the_kernels_serve) {
  emulator::set_cublaslt({0, "", true, true});
  const auto device = make_device(GetParam());
  device->prepare_dense({512, 64, 64});
  EXPECT_EQ(products_of(*device, linear(64, 64, 512, 12)), 0);
  std::string problem;
  EXPECT_FALSE(cuda::find_cublaslt(problem));
  EXPECT_NE(problem.find("libcublasLt.so.13"), std::string::npos) << problem;
  for (const ProductPrecision precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
    try {
      device->prepare_dense({512, 64, 64}, precision);
      ADD_FAILURE() << "no error";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("--products " + std::string(name_of(precision))), std::string::npos)
          << error.what();
      EXPECT_NE(std::string(error.what()).find("libcublasLt.so.13"), std::string::npos) << error.what();
    }
  }
}

TEST_P(DenseProducts, without_an_algorithm_the_kernels_serve_in_f32_alone) {
  emulator::set_cublaslt({13, "", false, true});
  const auto device = make_device(GetParam());
  EXPECT_EQ(products_of(*device, linear(64, 64, 512, 12)), 0);
  device->prepare_dense({512, 64, 64}, ProductPrecision::tf32);
  const Layer layer(*device, linear(64, 64, 512));
  EXPECT_THROW(layer.forward(), DeviceError);
  EXPECT_THROW(layer.backward(), DeviceError);
}

// Catches: a sum over the wrong operand or of rows past the count in the kernel that takes the epilogue's place.
TEST_P(DenseProducts, without_the_epilogue_of_the_gradient_a_kernel_sums_it) {
  emulator::set_cublaslt({13, "", true, false});
  const auto device = make_device(GetParam());
  EXPECT_EQ(products_of(*device, linear(64, 100, 777, 200)), 3);
  device->prepare_dense({512, 64, 68}, ProductPrecision::bf16);
  const Layer layer(*device, linear(64, 68, 512, 12));
  layer.forward();
  layer.backward();
  EXPECT_TRUE(layer.close(kBf16));
}

// Catches: a precision that is not handed on, one that stays, an operand that is rounded twice or not at all, rounded
// rows that lie elsewhere than the library looks.
TEST_P(DenseProducts, operands_are_rounded_as_asked) {
  const auto device = make_device(GetParam());
  for (const DenseCase& test : {linear(64, 64, 512), linear(132, 68, 600, 99), linear(72, 260, 512, 1)}) {
    for (const auto& [precision, rounding] :
         {std::pair{ProductPrecision::tf32, kTf32}, {ProductPrecision::bf16, kBf16}, {ProductPrecision::f32, 8L}}) {
      device->prepare_dense(size_of(test), precision);
      const Layer layer(*device, test);
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
TEST_P(DenseProducts, bf16_rounds_to_nearest_even) {
  const auto device = make_device(GetParam());
  device->prepare_dense({512, 64, 64}, ProductPrecision::bf16);
  DenseCase test = linear(64, 64, 512);
  Layer layer(*device, test);
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
TEST_P(DenseProducts, a_graph_outlives_larger_layers) {
  const auto device = make_device(GetParam());
  device->prepare_dense({512, 64, 64}, ProductPrecision::bf16);
  const Layer small(*device, linear(64, 64, 512, 5));
  const Layer large(*device, linear(128, 256, 600));
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
  EXPECT_THROW(device->capture([&] { device->prepare_dense({512, 64, 64}); }), std::logic_error);
}

// Catches: an order of sums that the schedule decides, and algorithms that change from call to call.
TEST_P(DenseProducts, the_same_bits_on_every_device) {
  std::vector<float> first;
  for (const std::string& name : {emulator::emulated_devices().front(), GetParam()}) {
    for (const ProductPrecision precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
      const auto device = make_device(name);
      device->prepare_dense({700, 64, 96}, precision);
      const Layer layer(*device, linear(64, 96, 700, 3));
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

// Catches: results of the library's calls that nobody looks at, errors that do not name them, descriptors and memory
// that a failure leaves behind.
TEST(DenseProductsFailures, every_call_that_fails_is_named_and_leaves_nothing_behind) {
  emulator::add_emulated_engine();
  for (const char* name : {"cuda-emulated", "cuda-emulated:reverse,eager"}) {
    const std::int64_t calls = fail_every_call([name](const std::function<void()>& begin) {
      const auto device = make_device(name);
      const Layer layer(*device, linear(64, 64, 512, 12));
      begin();
      device->prepare_dense({512, 64, 64}, ProductPrecision::bf16);
      const auto graph = device->capture([&] {
        layer.forward();
        layer.backward();
      });
      device->replay(*graph, 1);
      layer.backward();
      device->synchronize();
    });
    EXPECT_GT(calls, 30);
  }
}

TEST(FindCublasLt, takes_the_toolkits_version_then_older_ones) {
  for (const int major : {13, 12, 11}) {
    emulator::set_cublaslt({major, "", true, true});
    std::string problem;
    const auto found = cuda::find_cublaslt(problem);
    ASSERT_TRUE(found) << problem;
    EXPECT_EQ(found->file, "libcublasLt.so." + std::to_string(major));
    EXPECT_EQ(cuda::describe_cublaslt(), std::to_string(major) + ".2.3 (" + found->file + ")");
  }
  for (const int major : {0, 10, 14}) {
    emulator::set_cublaslt({major, "", true, true});
    EXPECT_EQ(cuda::describe_cublaslt().rfind("not used, wide dense layers are slower: no libcublasLt.so.13 found", 0),
              0U)
        << cuda::describe_cublaslt();
  }
  emulator::set_cublaslt({13, "cublasLtMatmul", true, true});
  EXPECT_NE(cuda::describe_cublaslt().find("libcublasLt.so.13 has no cublasLtMatmul"), std::string::npos);
  emulator::set_cublaslt({});
}

}  // namespace
}  // namespace curate::test
