// Products of NVIDIA's libraries one by one, every kind that layers ask for, beside sums in double precision. Compiled
// twice: for the emulated GPU with its stand-ins, and for a GPU with the toolkit's headers and the libraries.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cublas.h"
#include "kernels/cublaslt.h"
#include "kernels/library_products.h"
#include "kernels/scratch.h"

#if defined(CURATE_TEST_ON_GPU)
#include "device/device.h"
#define CURATE_SUITE GpuLibraryProduct
#else
#include "tests/emulator/emulator.h"
#include "tests/support/devices.h"
#define CURATE_SUITE LibraryProduct
#endif

namespace curate::test {
namespace {

using cuda::Epilogue;
using cuda::Product;
using cuda::ProductWay;

#if defined(CURATE_TEST_ON_GPU)
std::vector<std::string> devices() {
  return why_no_cuda().empty() ? std::vector<std::string>{"cuda"} : std::vector<std::string>{};
}
void choose_schedule(const std::string& /*device*/) {}
std::string test_name(const testing::TestParamInfo<std::string>& info) {
  return info.param;
}
#else
std::vector<std::string> devices() {
  return emulated_test_devices("LibraryProduct");
}
void choose_schedule(const std::string& device) {
  const std::size_t colon = device.find(':');
  emulator::set_options(colon == std::string::npos ? emulator::Options{}
                                                   : emulator::parse_options(device.substr(colon + 1)));
}
std::string test_name(const testing::TestParamInfo<std::string>& info) {
  return device_test_name(info);
}
#endif

/// To the nearest with `bits` fewer bits.
float rounded(float value, unsigned bits) {
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t half = (1U << (bits - 1U)) - 1U + (word >> bits & 1U);
  return std::bit_cast<float>((word + half) >> bits << bits);
}

/// A matrix on the host, of numbers that bf16 has.
struct HostMatrix {
  HostMatrix(std::int64_t matrix_rows, std::int64_t matrix_cols, std::uint64_t seed)
      : rows(matrix_rows), cols(matrix_cols), values(static_cast<std::size_t>(rows * cols)) {
    std::uint64_t state = seed * 2654435761U + 1U;
    for (float& value : values) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      value = rounded(static_cast<float>(static_cast<std::int64_t>(state >> 33U) - (std::int64_t{1} << 30U)) * 0x1p-30F,
                      16);
    }
  }
  float at(std::int64_t r, std::int64_t c) const { return values[static_cast<std::size_t>(r * cols + c)]; }

  std::int64_t rows;
  std::int64_t cols;
  std::vector<float> values;
};

/// A matrix of f32 or bf16 on the GPU.
class GpuMatrix {
 public:
  GpuMatrix(cudaStream_t stream, DType type, std::int64_t rows, std::int64_t cols, std::int64_t ld)
      : stream_(stream),
        type_(type),
        rows_(rows),
        cols_(cols),
        ld_(ld),
        memory_(stream, rows * ld * static_cast<std::int64_t>(size_of(type))) {}

  void* data() const { return memory_.data(); }

  /// Element [r, c] of `from`, or [c, r].
  void upload(const HostMatrix& from, bool transposed) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(rows_ * ld_) * size_of(type_), std::byte{0xFF});
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < cols_; ++c) {
        const auto word = std::bit_cast<std::uint32_t>(transposed ? from.at(c, r) : from.at(r, c));
        const auto upper = static_cast<std::uint16_t>(word >> 16U);
        std::byte* const to = bytes.data() + static_cast<std::size_t>(r * ld_ + c) * size_of(type_);
        std::memcpy(to, type_ == DType::bf16 ? static_cast<const void*>(&upper) : &word, size_of(type_));
      }
    }
    EXPECT_EQ(cudaMemcpyAsync(data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream_), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }

  std::vector<float> values() const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(rows_ * ld_) * size_of(type_));
    EXPECT_EQ(cudaMemcpyAsync(bytes.data(), data(), bytes.size(), cudaMemcpyDeviceToHost, stream_), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    std::vector<float> values;
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < cols_; ++c) {
        const std::byte* const from = bytes.data() + static_cast<std::size_t>(r * ld_ + c) * size_of(type_);
        std::uint32_t word = 0;
        std::uint16_t upper = 0;
        if (type_ == DType::bf16) {
          std::memcpy(&upper, from, sizeof(upper));
          word = static_cast<std::uint32_t>(upper) << 16U;
        } else {
          std::memcpy(&word, from, sizeof(word));
        }
        values.push_back(std::bit_cast<float>(word));
      }
    }
    return values;
  }

 private:
  cudaStream_t stream_;
  DType type_;
  std::int64_t rows_;
  std::int64_t cols_;
  std::int64_t ld_;
  cuda::Scratch<std::byte> memory_;
};

class CURATE_SUITE : public testing::TestWithParam<std::string> {
 protected:
  CURATE_SUITE() {
    choose_schedule(GetParam());
    EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    cudaDeviceProp properties{};
    EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    gpu_ = {properties.major, properties.multiProcessorCount};
  }
  ~CURATE_SUITE() override { cudaStreamDestroy(stream_); }

#if defined(CURATE_TEST_ON_GPU)
  /// As end_where_context_is_broken().
  void TearDown() override {
    const cudaError_t error = HasFailure() ? cudaDeviceSynchronize() : cudaSuccess;
    if (error != cudaSuccess) {
      const testing::TestInfo* const test = testing::UnitTest::GetInstance()->current_test_info();
      std::printf("[ POISONED ] %s.%s\n%s\nNo test after this one was run.\n", test->test_suite_name(), test->name(),
                  cudaGetErrorString(error));
      std::fflush(stdout);
      std::_Exit(3);
    }
  }
#endif

  cudaStream_t stream_ = nullptr;
  cuda::GpuShape gpu_;
};

// None without a GPU.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CURATE_SUITE);
INSTANTIATE_TEST_SUITE_P(devices, CURATE_SUITE, testing::ValuesIn(devices()), test_name);

/// Operands, results and what belongs to them of one product, and the sums that it should have.
struct Case {
  Case(cudaStream_t stream, const Product& what)
      : product(what),
        host_first(product.rows, product.depth, 1),
        host_second(product.depth, product.cols, 2),
        host_bias(1, product.cols, 3),
        first(stream, product.operands(), product.first_transposed ? product.depth : product.rows,
              product.first_transposed ? product.rows : product.depth, product.first_ld),
        second(stream, product.operands(), product.second_transposed ? product.cols : product.depth,
               product.second_transposed ? product.depth : product.cols, product.second_ld),
        out(stream, product.out, product.rows, product.cols, product.out_ld),
        bias(stream, product.out, 1, product.cols, product.cols),
        sums(stream, DType::f32, 1, product.rows, product.rows),
        mask(stream, DType::f32, product.rows, 1, cuda::mask_bytes(product.cols) / 4) {
    first.upload(host_first, product.first_transposed);
    second.upload(host_second, product.second_transposed);
    bias.upload(host_bias, false);
  }

  cuda::ProductMemory memory() const {
    void* const vector = product.epilogue == Epilogue::sum_of_first ? sums.data() : bias.data();
    return {out.data(), first.data(), second.data(), vector, mask.data()};
  }

  /// `off`: elements that are 0 whatever their sum.
  void expect_right(const std::vector<bool>& off = {}) const {
    const std::vector<float> got = out.values();
    const double relative = product.out == DType::bf16 ? 0x1p-8 : 1e-6;
    const double of_terms = product.precision == ProductPrecision::tf32 ? 0x1p-10 : 1e-6;
    for (std::int64_t r = 0; r < product.rows; ++r) {
      for (std::int64_t c = 0; c < product.cols; ++c) {
        double sum = cuda::adds_bias(product.epilogue) ? static_cast<double>(host_bias.at(0, c)) : 0.0;
        double magnitude = std::abs(sum);
        for (std::int64_t k = 0; k < product.depth; ++k) {
          const double term = static_cast<double>(host_first.at(r, k)) * static_cast<double>(host_second.at(k, c));
          sum += term;
          magnitude += std::abs(term);
        }
        const bool relu =
            product.epilogue == Epilogue::add_bias_relu || product.epilogue == Epilogue::add_bias_relu_mask;
        const auto e = static_cast<std::size_t>(r * product.cols + c);
        sum = (relu && sum < 0.0) || (!off.empty() && off[e]) ? 0.0 : sum;
        ASSERT_NEAR(static_cast<double>(got[e]), sum, relative * std::abs(sum) + of_terms * magnitude)
            << cuda::label_of(product) << ": row " << r << ", column " << c;
      }
    }
    const std::vector<float> totals = product.epilogue == Epilogue::sum_of_first ? sums.values() : std::vector<float>();
    for (std::size_t r = 0; r < totals.size(); ++r) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < product.depth; ++k) {
        sum += static_cast<double>(host_first.at(static_cast<std::int64_t>(r), k));
      }
      ASSERT_NEAR(static_cast<double>(totals[r]), sum, 1e-6 * static_cast<double>(product.depth))
          << cuda::label_of(product) << ": sum " << r;
    }
  }

  Product product;
  HostMatrix host_first;
  HostMatrix host_second;
  HostMatrix host_bias;
  GpuMatrix first;
  GpuMatrix second;
  GpuMatrix out;
  GpuMatrix bias;
  GpuMatrix sums;
  GpuMatrix mask;
};

/// As layers have them: forward, the gradient of the weights, that of the inputs.
Product forward(std::int64_t batch, std::int64_t inputs, std::int64_t outputs, ProductPrecision precision) {
  Product product;
  product.rows = batch;
  product.cols = outputs;
  product.depth = inputs;
  product.second_transposed = true;
  product.first_ld = product.second_ld = cuda::bf16_ld(inputs);
  product.out_ld = cuda::bf16_ld(outputs);
  product.precision = precision;
  return product;
}
Product of_weights(std::int64_t batch, std::int64_t inputs, std::int64_t outputs, ProductPrecision precision) {
  Product product;
  product.rows = outputs;
  product.cols = inputs;
  product.depth = batch;
  product.first_transposed = true;
  product.first_ld = cuda::bf16_ld(outputs);
  product.second_ld = cuda::bf16_ld(inputs);
  product.out_ld = inputs;
  product.precision = precision;
  product.epilogue = Epilogue::sum_of_first;
  return product;
}
Product of_inputs(std::int64_t batch, std::int64_t inputs, std::int64_t outputs, ProductPrecision precision) {
  Product product;
  product.rows = batch;
  product.cols = inputs;
  product.depth = outputs;
  product.first_ld = cuda::bf16_ld(outputs);
  product.second_ld = product.out_ld = cuda::bf16_ld(inputs);
  product.precision = precision;
  return product;
}

std::vector<Product> all_products() {
  std::vector<Product> products;
  for (const auto precision : {ProductPrecision::f32, ProductPrecision::tf32, ProductPrecision::bf16}) {
    for (const auto& [batch, inputs, outputs] :
         {std::tuple{512, 64, 64}, std::tuple{640, 68, 132}, std::tuple{513, 256, 72}}) {
      Product product = forward(batch, inputs, outputs, precision);
      product.epilogue = Epilogue::add_bias;
      products.push_back(product);
      products.push_back(of_weights(batch, inputs, outputs, precision));
      products.push_back(of_inputs(batch, inputs, outputs, precision));
      if (precision == ProductPrecision::bf16) {
        product.out = DType::bf16;
        product.epilogue = Epilogue::add_bias_relu;
        products.push_back(product);
        products.push_back(of_inputs(batch, inputs, outputs, precision));
        products.back().out = DType::bf16;
      }
    }
  }
  return products;
}

constexpr std::size_t kScratchFloats = std::size_t{1} << 18U;

TEST_P(CURATE_SUITE, every_product_is_right) {
  const cuda::Scratch<float> scratch(stream_, kScratchFloats);
  cuda::LibraryProducts library(stream_, gpu_, {scratch.data(), kScratchFloats});
  ASSERT_TRUE(library.load()) << library.why_not();
  for (const Product& product : all_products()) {
    const Case test(stream_, product);
    ASSERT_TRUE(library.prepare("test", product)) << cuda::label_of(product) << ": " << library.why(product);
    ASSERT_TRUE(library.multiply("test", product, test.memory()));
    test.expect_right();
  }
  for (const cuda::ProductReport& report : library.reports()) {
    // What a library lacks is no failure, but has to be told.
    EXPECT_EQ(report.way == ProductWay::epilogue, report.why.empty()) << report.product;
    if (report.way != ProductWay::epilogue) {
      std::printf("%s: %s\n", report.product.c_str(), report.why.c_str());
    }
  }
}

// A relu writes its mask, and the gradient by its outputs is masked by that.
TEST_P(CURATE_SUITE, masks_lead_from_a_relu_to_its_gradient) {
  const cuda::Scratch<float> scratch(stream_, kScratchFloats);
  cuda::LibraryProducts library(stream_, gpu_, {scratch.data(), kScratchFloats});
  ASSERT_TRUE(library.load()) << library.why_not();
  Product relu = forward(600, 64, 132, ProductPrecision::bf16);
  relu.out = DType::bf16;
  relu.epilogue = Epilogue::add_bias_relu_mask;
  Product gradient = of_inputs(600, 132, 72, ProductPrecision::bf16);
  gradient.out = DType::bf16;
  gradient.epilogue = Epilogue::apply_mask;
  if (!library.prepare("test", relu) || !library.prepare("test", gradient)) {
    GTEST_SKIP() << library.why(relu) << "; " << library.why(gradient);
  }
  const Case forward_case(stream_, relu);
  ASSERT_TRUE(library.multiply("test", relu, forward_case.memory()));
  forward_case.expect_right();
  std::vector<bool> off;
  for (const float value : forward_case.out.values()) {
    off.push_back(!(value > 0.0F));
  }
  const Case backward_case(stream_, gradient);
  cuda::ProductMemory memory = backward_case.memory();
  memory.mask = forward_case.mask.data();
  ASSERT_TRUE(library.multiply("test", gradient, memory));
  backward_case.expect_right(off);
}

// Without epilogues, with sums that go on what is there.
TEST_P(CURATE_SUITE, cublas_is_right_too) {
  std::string problem;
  const auto functions = cuda::find_cublas(problem);
  ASSERT_TRUE(functions) << problem;
  cuda::Cublas cublas(*functions, stream_, gpu_);
  for (Product product : all_products()) {
    product.epilogue = Epilogue::none;
    const Case test(stream_, product);
    ASSERT_TRUE(cublas.prepare("test", product)) << cuda::label_of(product) << ": " << cublas.why(product);
    cublas.multiply("test", product, test.memory());
    test.expect_right();
  }
}

// A long depth with few tiles is cut into parts, and its sums are right however it is cut.
TEST_P(CURATE_SUITE, algorithms_are_timed_and_right) {
  std::string problem;
  const auto functions = cuda::find_cublaslt(problem);
  ASSERT_TRUE(functions) << problem;
  const Product product = of_weights(8192, 64, 128, ProductPrecision::bf16);
  cuda::CublasLt library(*functions, stream_, {gpu_.compute_capability_major, std::max(gpu_.multiprocessors, 32)});
  Product plain = product;
  plain.epilogue = Epilogue::none;
  for (const Product& timed : {product, plain}) {
    const std::vector<cuda::AlgorithmTime> times = library.time_algorithms("test", timed, 3);
    std::int64_t chosen = 0;
    for (const cuda::AlgorithmTime& time : times) {
      EXPECT_TRUE((time.microseconds > 0.0F) == time.problem.empty()) << time.problem;
      EXPECT_GE(time.split_k, 1);
      EXPECT_TRUE(!time.chosen || time.problem.empty());
      chosen += time.chosen ? 1 : 0;
      std::printf("%s: algorithm %d, tile %d, %d parts, %.2f waves: %.1f us%s%s\n", cuda::label_of(timed).c_str(),
                  time.id, time.tile, time.split_k, static_cast<double>(time.waves),
                  static_cast<double>(time.microseconds), time.chosen ? ", chosen" : "", time.problem.c_str());
    }
    EXPECT_EQ(chosen, library.why(timed).empty() ? 1 : 0) << library.why(timed);
    if (chosen > 0) {
      const Case test(stream_, timed);
      library.multiply("test", timed, test.memory());
      test.expect_right();
    }
  }
}

}  // namespace
}  // namespace curate::test
