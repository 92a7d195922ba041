// How products are given to NVIDIA's libraries: which of them, which algorithm, and why. In the emulator, whose
// stand-ins can lack anything.

#include <cublasLt.h>
#include <cublas_v2.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cublaslt.h"
#include "kernels/library_products.h"
#include "kernels/product_trial.h"
#include "tests/emulator/emulator.h"

namespace curate::test {
namespace {

using cuda::AlgorithmTime;
using cuda::Epilogue;
using cuda::Product;
using cuda::ProductWay;

constexpr std::size_t kScratchFloats = std::size_t{1} << 18U;
constexpr cuda::GpuShape kHopper = {9, 132};

Product product_of(std::int64_t rows, std::int64_t cols, std::int64_t depth, Epilogue epilogue,
                   DType out = DType::f32) {
  Product product;
  product.rows = rows;
  product.cols = cols;
  product.depth = depth;
  product.first_transposed = epilogue == Epilogue::sum_of_first;
  product.first_ld = cuda::bf16_ld(product.first_transposed ? rows : depth);
  product.second_ld = product.out_ld = cuda::bf16_ld(cols);
  product.precision = ProductPrecision::bf16;
  product.epilogue = epilogue;
  product.out = out;
  return product;
}

const Product kBias = product_of(96, 64, 100, Epilogue::add_bias);
/// The gradient of a small layer's weights by a large batch: one tile of 128 x 128.
const Product kDeep = product_of(128, 64, 65536, Epilogue::none);

emulator::CublasLtOptions with(const std::function<void(emulator::CublasLtOptions&)>& set) {
  emulator::CublasLtOptions options;
  options.multiprocessors = kHopper.multiprocessors;
  set(options);
  return options;
}

class LibraryChoice : public testing::Test {
 protected:
  LibraryChoice() {
    emulator::set_options({});
    emulator::set_cublaslt(with([](auto&) {}));
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  ~LibraryChoice() override {
    unsetenv("CURATE_TIME_PRODUCTS");
    emulator::set_cublaslt({});
    emulator::set_cublas({});
    cudaStreamDestroy(stream_);
    EXPECT_EQ(emulator::allocations_in_use(), 0U);
    EXPECT_EQ(emulator::handles_in_use(), 0);
  }

  /// What becomes of a product.
  cuda::ProductReport report(const Product& product, const emulator::CublasLtOptions& options) {
    emulator::set_cublaslt(options);
    const cuda::Scratch<float> scratch(stream_, kScratchFloats);
    cuda::LibraryProducts library(stream_, kHopper, {scratch.data(), kScratchFloats});
    EXPECT_TRUE(library.load());
    const bool served = library.prepare("test", product);
    EXPECT_EQ(library.reports().size(), 1U);
    cuda::ProductReport report = library.reports().front();
    EXPECT_EQ(served, report.way != ProductWay::none);
    EXPECT_EQ(library.why(product), report.why);
    return report;
  }

  std::vector<AlgorithmTime> times(const Product& product, const emulator::CublasLtOptions& options) {
    emulator::set_cublaslt(options);
    std::string problem;
    cuda::CublasLt library(*cuda::find_cublaslt(problem), stream_, kHopper);
    return library.time_algorithms("test", product, 3);
  }

  cudaStream_t stream_ = nullptr;
};

TEST_F(LibraryChoice, the_way_and_the_reason_are_told) {
  cuda::ProductReport told = report(kBias, with([](auto&) {}));
  EXPECT_EQ(told.product, "96x64x100 bf16, bias");
  EXPECT_EQ(told.way, ProductWay::epilogue);
  EXPECT_EQ(told.choice, "algorithm 20, tile 20, 1 part");
  EXPECT_EQ(told.why, "");

  told = report(kBias, with([](auto& options) {
                  options.only_epilogue = CUBLASLT_EPILOGUE_BIAS;
                  options.heuristic_status = CUBLAS_STATUS_ARCH_MISMATCH;
                }));
  EXPECT_EQ(told.way, ProductWay::plain);
  EXPECT_EQ(told.choice, "algorithm 20, tile 20, 1 part");
  EXPECT_EQ(told.why, "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_ARCH_MISMATCH of libcublasLt.so.13");

  told = report(kBias, with([](auto& options) { options.matmul_status = CUBLAS_STATUS_EXECUTION_FAILED; }));
  EXPECT_EQ(told.way, ProductWay::cublas);
  EXPECT_EQ(told.choice, "");
  EXPECT_EQ(told.why,
            "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED of libcublasLt.so.13; without epilogue: cublasLtMatmul: "
            "CUBLAS_STATUS_EXECUTION_FAILED of libcublasLt.so.13");

  emulator::set_cublas({true, "", CUBLAS_STATUS_NOT_SUPPORTED});
  told = report(kBias, with([](auto& options) { options.found = 0; }));
  EXPECT_EQ(told.way, ProductWay::none);
  EXPECT_EQ(told.why,
            "cublasLtMatmulAlgoGetHeuristic: no algorithm in libcublasLt.so.13; without epilogue: "
            "cublasLtMatmulAlgoGetHeuristic: no algorithm in libcublasLt.so.13; cublasGemmEx: "
            "CUBLAS_STATUS_NOT_SUPPORTED of libcublas.so.13");

  emulator::set_cublas({false});
  told = report(kBias, with([](auto& options) { options.wrong = 3; }));
  EXPECT_EQ(told.way, ProductWay::none);
  EXPECT_NE(told.why.find("cublasLtMatmul of libcublasLt.so.13 gives wrong sums"), std::string::npos) << told.why;
  EXPECT_NE(told.why.find("no libcublas.so.13 found"), std::string::npos) << told.why;
}

// Catches: masks that are given up because a library's bit of a sum that is exactly 0 is not ours.
TEST_F(LibraryChoice, either_bit_of_a_sum_of_zero_will_do) {
  for (const bool on : {false, true}) {
    const cuda::ProductReport told = report(product_of(96, 64, 100, Epilogue::add_bias_relu_mask, DType::bf16),
                                            with([on](auto& options) { options.mask_of_zero = on; }));
    EXPECT_EQ(told.way, ProductWay::epilogue) << told.why;
  }
}

// One term of a sum of 65,536 is enough, in every epilogue. Catches: a trial that looks at nothing, or at the wrong
// matrix.
TEST_F(LibraryChoice, an_algorithm_that_leaves_a_term_out_is_passed_over) {
  for (const Product& product :
       {kBias, kDeep, product_of(96, 64, 65536, Epilogue::sum_of_first), product_of(70, 260, 65, Epilogue::none),
        product_of(96, 64, 100, Epilogue::add_bias_relu, DType::bf16),
        product_of(96, 64, 100, Epilogue::add_bias_relu_mask, DType::bf16),
        product_of(96, 64, 100, Epilogue::apply_mask, DType::bf16)}) {
    const cuda::ProductReport told = report(product, with([](auto& options) {
                                              options.wrong = 2;
                                              options.splits = false;
                                            }));
    EXPECT_EQ(told.way, ProductWay::epilogue) << told.why;
    EXPECT_EQ(told.choice, "algorithm 22, tile 20, 1 part") << told.product;
  }
}

// By the rule alone, without a clock. Catches: a product on 1 of 132 multiprocessors.
TEST_F(LibraryChoice, few_tiles_and_a_long_depth_are_split) {
  EXPECT_EQ(report(kDeep, with([](auto&) {})).choice, "algorithm 20, tile 20, 64 parts") << "by us";
  EXPECT_EQ(report(kDeep, with([](auto& options) { options.splitting = 2; })).choice, "algorithm 20, tile 20, 64 parts")
      << "the library's 16 parts keep an eighth of the GPU busy";
  EXPECT_EQ(
      report(product_of(256, 512, 16384, Epilogue::none), with([](auto& options) { options.splitting = 2; })).choice,
      "algorithm 22, tile 20, 16 parts")
      << "by the library, which keeps more than half of the GPU busy";
  EXPECT_EQ(report(kDeep, with([](auto& options) { options.splits = false; })).choice, "algorithm 20, tile 20, 1 part")
      << "where it cannot be split";
  EXPECT_EQ(
      report(product_of(1280, 1280, 1024, Epilogue::none), with([](auto& options) { options.splitting = 1; })).choice,
      "algorithm 20, tile 20, 1 part")
      << "many tiles";
  EXPECT_EQ(report(product_of(128, 64, 512, Epilogue::none), with([](auto& options) { options.splitting = 1; })).choice,
            "algorithm 20, tile 20, 1 part")
      << "a short depth";
}

TEST_F(LibraryChoice, times_tell_what_runs_and_what_is_chosen) {
  const std::vector<AlgorithmTime> told = times(kDeep, with([](auto& options) { options.wrong = 1; }));
  ASSERT_EQ(told.size(), 4U);
  const int ids[] = {20, 21, 22, 20};
  for (std::size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(told[i].id, ids[i]);
    EXPECT_EQ(told[i].split_k, i == 3 ? 64 : 1);
    const bool wrong = told[i].id == 20;
    EXPECT_EQ(told[i].problem, wrong ? "cublasLtMatmul of libcublasLt.so.13 gives wrong sums" : "");
    EXPECT_EQ(told[i].microseconds > 0.0F, !wrong);
    EXPECT_EQ(told[i].chosen, i == 1) << i;
  }
  EXPECT_TRUE(times(kBias, with([](auto& options) { options.found = 0; })).empty());
  EXPECT_THROW(
      {
        std::string problem;
        cuda::CublasLt(*cuda::find_cublaslt(problem), stream_, kHopper).time_algorithms("test", kBias, 0);
      },
      std::invalid_argument);
}

// Chosen by time once in a process, so that a second device computes the same.
TEST_F(LibraryChoice, by_time_where_asked_and_once) {
  setenv("CURATE_TIME_PRODUCTS", "1", 1);
  const Product product = product_of(160, 72, 88, Epilogue::none);
  const std::string first = report(product, with([](auto& options) { options.wrong = 1; })).choice;
  EXPECT_NE(first.find(", 1 part"), std::string::npos) << first;
  EXPECT_EQ(first.find("algorithm 20"), std::string::npos) << "wrong: " << first;
  for (int again = 0; again < 5; ++again) {
    EXPECT_EQ(report(product, with([](auto&) {})).choice, first);
  }
}

// Catches: a first call inside a capture, where a library may not load its kernels.
TEST_F(LibraryChoice, products_are_called_before_a_capture) {
  const cuda::Scratch<float> scratch(stream_, kScratchFloats);
  cuda::LibraryProducts library(stream_, kHopper, {scratch.data(), kScratchFloats});
  ASSERT_TRUE(library.load());
  ASSERT_TRUE(library.prepare("test", kBias));
  cuda::ProductTrial known(stream_, kBias);
  cuda::ProductTrial unknown(stream_, kDeep);
  known.reset();
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_TRUE(library.multiply("test", kBias, known.memory()));
  try {
    library.multiply("test", kDeep, unknown.memory());
    ADD_FAILURE() << "taken";
  } catch (const std::logic_error& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "test: a product of 128x64x65536 bf16 inside a capture that neither prepare_dense nor lay_out_dense_stack was "
        "told of");
  }
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  EXPECT_TRUE(known.right());
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

TEST_F(LibraryChoice, a_library_that_does_not_start_is_passed_over) {
  const cuda::Scratch<float> scratch(stream_, kScratchFloats);
  cuda::LibraryProducts library(stream_, kHopper, {scratch.data(), kScratchFloats});
  emulator::fail_call(1);  // after the workspace's allocation
  EXPECT_TRUE(library.load());
  EXPECT_EQ(emulator::failed_call(), "cublasLtCreate");
  emulator::fail_call(-1);
  EXPECT_EQ(library.why_not(), "setting up: cublasLtCreate: CUBLAS_STATUS_INTERNAL_ERROR of libcublasLt.so.13");
  EXPECT_TRUE(library.prepare("test", kBias));
  EXPECT_EQ(library.reports().front().way, ProductWay::cublas);
  EXPECT_EQ(library.reports().front().why, library.why_not());
}

}  // namespace
}  // namespace curate::test
