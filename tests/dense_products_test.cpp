// Dense layers by NVIDIA's libraries: which calls go there, and what happens where a library is not, or not all, there.
// In the emulator, whose stand-ins can lack anything. What layers compute is in library_dense_test.cpp.

#include "kernels/dense_products.h"

#include <cublasLt.h>
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
#include "tests/support/dense_pass.h"
#include "tests/support/devices.h"
#include "tests/support/failing_calls.h"
#include "tests/support/random_inputs.h"
#include "tests/support/taken.h"

namespace curate::test {
namespace {

class DenseProducts : public testing::TestWithParam<std::string> {
 protected:
  DenseProducts() { emulator::add_emulated_engine(); }
  ~DenseProducts() override {
    emulator::set_cublaslt({});
    emulator::set_cublas({});
  }
};

INSTANTIATE_TEST_SUITE_P(devices, DenseProducts, testing::ValuesIn(emulated_test_devices("DenseProducts")),
                         device_test_name);

/// What both passes gave the libraries: 3 products or none.
Taken taken_by(Device& device, const DenseCase& test, std::int64_t rounding = 8) {
  const DensePass layer(device, test);
  const auto run = [&] {
    device.upload(layer.grad_out.view(), std::span<const float>(layer.gradients));
    layer.forward();
    layer.backward();
    EXPECT_TRUE(layer.close(rounding)) << test.label();
  };
  run();  // what has not been prepared is now
  const Taken before = products_taken();
  run();
  return products_taken() - before;
}
std::int64_t products_of(Device& device, const DenseCase& test) {
  const Taken taken = taken_by(device, test);
  EXPECT_EQ(taken.by_cublas, 0);
  return taken.by_cublaslt;
}

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

// One block a tile of 64 by 64 would leave a GPU idle where the layer is small and the batch is not. Catches: a batch
// that is not cut, slices that are not added.
TEST_P(DenseProducts, the_batch_is_cut_where_the_tiles_of_a_gradient_are_few) {
  const auto device = make_device(GetParam());
  struct Launches {
    std::int64_t blocks = 0;
    std::int64_t additions = 0;
  };
  const auto launches_of = [&](std::int64_t inputs, std::int64_t outputs, std::int64_t batch) {
    const auto blocks_now = [] { return emulator::counters_of("dense_grad_weight").threads / 256; };
    const auto additions_now = [] { return emulator::counters_of("dense_add_slices").launches; };
    const Launches before = {blocks_now(), additions_now()};
    EXPECT_EQ(taken_by(*device, linear(inputs, outputs, batch)), Taken{});
    return Launches{(blocks_now() - before.blocks) / 2, (additions_now() - before.additions) / 2};  // two passes
  };
  const Launches single = launches_of(31, 20, 256);
  EXPECT_EQ(single.blocks, 1);
  EXPECT_EQ(single.additions, 0);
  const Launches sliced = launches_of(31, 20, 5 * 256);
  EXPECT_EQ(sliced.blocks, 5);
  EXPECT_EQ(sliced.additions, 1);
  const Launches tiled = launches_of(66, 63, 3 * 256 - 1);  // two tiles, the last slice is shorter
  EXPECT_EQ(tiled.blocks, 2 * 3);
  EXPECT_EQ(tiled.additions, 1);
}

TEST_P(DenseProducts, without_the_library_the_kernels_serve) {
  emulator::set_cublaslt({0, "", true, true});
  const auto device = make_device(GetParam());
  device->run(ops::PrepareDense{{512, 64, 64}});
  EXPECT_EQ(products_of(*device, linear(64, 64, 512, 12)), 0);
  std::string problem;
  EXPECT_FALSE(cuda::find_cublaslt(problem));
  EXPECT_NE(problem.find("libcublasLt.so.13"), std::string::npos) << problem;
  for (const ProductPrecision precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
    try {
      device->run(ops::PrepareDense{{512, 64, 64}, precision});
      ADD_FAILURE() << "no error";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("`products` " + std::string(name_of(precision))), std::string::npos)
          << error.what();
      EXPECT_NE(std::string(error.what()).find("libcublasLt.so.13"), std::string::npos) << error.what();
    }
  }
}

// Whatever the heuristic says, or the product itself, or is wrong with its sums: cuBLAS serves. Catches: a status that
// throws, one that counts as an algorithm, wrong sums that nobody looks at.
TEST_P(DenseProducts, without_an_algorithm_cublas_serves) {
  const auto with = [](const std::function<void(emulator::CublasLtOptions&)>& set) {
    emulator::CublasLtOptions options;
    set(options);
    return options;
  };
  std::vector<emulator::CublasLtOptions> all_lacking = {{13, "", false},
                                                        {13, "cublasLtMatmul"},
                                                        with([](auto& options) { options.found = 0; }),
                                                        with([](auto& options) { options.wrong = 3; }),
                                                        with([](auto& options) { options.tail_of = 16; })};
  for (const cublasStatus_t status :
       {CUBLAS_STATUS_INVALID_VALUE, CUBLAS_STATUS_INTERNAL_ERROR, CUBLAS_STATUS_ARCH_MISMATCH,
        CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_STATUS_EXECUTION_FAILED}) {
    all_lacking.push_back(with([status](auto& options) { options.heuristic_status = status; }));
    all_lacking.push_back(with([status](auto& options) { options.matmul_status = status; }));
  }
  const DenseCase test = linear(68, 100, 530, 12);  // no multiple of 16
  for (const emulator::CublasLtOptions& lacking : all_lacking) {
    emulator::set_cublaslt(lacking);
    const auto device = make_device(GetParam());
    EXPECT_EQ(taken_by(*device, test), (Taken{0, 3}));
    device->run(ops::PrepareDense{size_of(test), ProductPrecision::bf16});
    EXPECT_EQ(taken_by(*device, test, kBf16), (Taken{0, 3}));
  }
}

TEST_P(DenseProducts, without_either_the_kernels_serve_in_f32_alone) {
  for (const emulator::CublasOptions& lacking :
       {emulator::CublasOptions{false}, emulator::CublasOptions{true, "cublasSetWorkspace_v2"},
        emulator::CublasOptions{true, "", CUBLAS_STATUS_EXECUTION_FAILED}, emulator::CublasOptions{true, "", 0, 24}}) {
    emulator::set_cublaslt({13, "", false});
    emulator::set_cublas(lacking);
    const auto device = make_device(GetParam());
    const DenseCase test = linear(68, 100, 520, 12);
    device->run(ops::PrepareDense{size_of(test)});
    EXPECT_EQ(taken_by(*device, test), (Taken{0, 0}));
    try {
      device->run(ops::PrepareDense{size_of(test), ProductPrecision::tf32});
      ADD_FAILURE() << "taken";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("`products` tf32: no library has a product of 520x100x68 tf32, bias"),
                std::string::npos)
          << error.what();
      EXPECT_NE(std::string(error.what()).find("CUBLAS_STATUS_NOT_SUPPORTED of libcublasLt.so.13"), std::string::npos)
          << error.what();
    }
    // Of a layer that nobody prepared.
    const DensePass layer(*device, test);
    EXPECT_THROW(layer.forward(), DeviceError);
    EXPECT_THROW(layer.backward(), DeviceError);
  }
}

// Catches: a sum over the wrong operand or of rows past the count in the kernel that takes the epilogue's place, a bias
// that is left out or added twice.
TEST_P(DenseProducts, without_an_epilogue_a_kernel_does_it) {
  emulator::CublasLtOptions no_bias;
  no_bias.only_epilogue = CUBLASLT_EPILOGUE_BIAS;
  no_bias.heuristic_status = CUBLAS_STATUS_INVALID_VALUE;
  for (const emulator::CublasLtOptions& lacking : {emulator::CublasLtOptions{13, "", true, false}, no_bias}) {
    emulator::set_cublaslt(lacking);
    const auto device = make_device(GetParam());
    EXPECT_EQ(taken_by(*device, linear(64, 100, 777, 200)), (Taken{3, 0}));
    device->run(ops::PrepareDense{{512, 64, 68}, ProductPrecision::bf16});
    EXPECT_EQ(taken_by(*device, linear(64, 68, 512, 12), kBf16), (Taken{3, 0}));
  }
}

// Catches: results of the library's calls that nobody looks at, errors that do not name them, descriptors and memory
// that a failure leaves behind.
// In one schedule, in which what is enqueued waits: which call fails does not depend on the order of threads.
TEST(DenseProductsFailures, every_call_that_fails_is_named_and_leaves_nothing_behind) {
  emulator::add_emulated_engine();
  const std::int64_t calls = fail_every_call([](const std::function<void()>& begin) {
    const auto device = make_device("cuda-emulated");
    const DensePass layer(*device, linear(64, 64, 512, 12));
    begin();
    device->run(ops::PrepareDense{{512, 64, 64}, ProductPrecision::bf16});
    const auto graph = device->capture([&] {
      layer.forward();
      layer.backward();
    });
    device->replay(*graph, 1);
    EXPECT_TRUE(layer.close(kBf16));
  });
  EXPECT_GT(calls, 30);
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
