// The emulator's cuBLASLt itself: what it computes, worked out by hand, and that it refuses what the library refuses.

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"

namespace curate::test {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{1} << 20U;

/// A product D [m, n] = A B, column-major, m = 2, n = 4, k = 3, with everything about it open to change.
class CublasLtStandIn : public testing::Test {
 protected:
  CublasLtStandIn() {
    emulator::set_options({});
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    EXPECT_EQ(cublasLtCreate(&handle_), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasLtMatmulPreferenceCreate(&preference_), CUBLAS_STATUS_SUCCESS);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(attribute, std::uint32_t{4});
    }
    layout(a_layout_, 2, 3, 2);
    layout(b_layout_, 3, 4, 3);
    layout(d_layout_, 2, 4, 2);
    // By columns: A = [1 2 3; 4 5 6], B's columns are the unit vectors and (1, 1, 1).
    a_ = array({1, 4, 2, 5, 3, 6});
    b_ = array({1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1});
    d_ = array(std::vector<float>(16, -7.0F));
    bias_ = array({100, 200, 300, 400});
    workspace_ = array(std::vector<float>(kWorkspaceBytes / sizeof(float), 0.0F));
  }
  ~CublasLtStandIn() override {
    emulator::set_cublaslt({});
    for (float* const address : arrays_) {
      cudaFreeAsync(address, stream_);
    }
    for (const cublasLtMatrixLayout_t used : {a_layout_, b_layout_, d_layout_}) {
      cublasLtMatrixLayoutDestroy(used);
    }
    cublasLtMatmulPreferenceDestroy(preference_);
    cublasLtMatmulDescDestroy(desc_);
    cublasLtDestroy(handle_);
    cudaStreamDestroy(stream_);
    cudaGetLastError();
    EXPECT_EQ(emulator::handles_in_use(), 0);
  }

  float* array(const std::vector<float>& values) {
    void* data = nullptr;
    EXPECT_EQ(cudaMallocAsync(&data, values.size() * sizeof(float), stream_), cudaSuccess);
    arrays_.push_back(static_cast<float*>(data));
    std::copy(values.begin(), values.end(), arrays_.back());  // the emulator's device memory is the host's
    return arrays_.back();
  }

  static void layout(cublasLtMatrixLayout_t& place, std::uint64_t rows, std::uint64_t cols, std::int64_t ld,
                     cudaDataType type = CUDA_R_32F) {
    if (place != nullptr) {
      cublasLtMatrixLayoutDestroy(place);
    }
    EXPECT_EQ(cublasLtMatrixLayoutCreate(&place, type, rows, cols, ld), CUBLAS_STATUS_SUCCESS);
  }

  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    EXPECT_EQ(cublasLtMatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)), CUBLAS_STATUS_SUCCESS);
  }
  template <typename T>
  void prefer(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)),
              CUBLAS_STATUS_SUCCESS);
  }

  cublasStatus_t choose() {
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, desc_, a_layout_, b_layout_, d_layout_,
                                                                 d_layout_, preference_, 1, &choice_, &found);
    EXPECT_EQ(found, status == CUBLAS_STATUS_SUCCESS ? 1 : 0);
    return status;
  }
  cublasStatus_t enqueue() {
    return cublasLtMatmul(handle_, desc_, &alpha_, a_, a_layout_, b_, b_layout_, &beta_, d_, d_layout_, d_, d_layout_,
                          &choice_.algo, workspace_, workspace_bytes_, stream_);
  }

  /// The columns of D one after the other.
  std::vector<float> product() {
    EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    return {d_, d_ + 8};
  }
  std::vector<float> bias() const { return {bias_, bias_ + 4}; }

  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  cublasLtMatrixLayout_t a_layout_ = nullptr;
  cublasLtMatrixLayout_t b_layout_ = nullptr;
  cublasLtMatrixLayout_t d_layout_ = nullptr;
  cublasLtMatmulHeuristicResult_t choice_{};
  float* a_ = nullptr;
  float* b_ = nullptr;
  float* d_ = nullptr;
  float* bias_ = nullptr;
  void* workspace_ = nullptr;
  std::size_t workspace_bytes_ = kWorkspaceBytes;
  float alpha_ = 1.0F;
  float beta_ = 0.0F;

 private:
  std::vector<float*> arrays_;
};

const std::vector<float> kColumns = {1, 4, 2, 5, 3, 6, 6, 15};

TEST_F(CublasLtStandIn, multiplies_by_columns) {
  std::fill_n(d_, 8, std::numeric_limits<float>::quiet_NaN());  // beta 0: not read
  EXPECT_EQ(product(), kColumns);
  EXPECT_TRUE(std::isnan(static_cast<float*>(workspace_)[0]));
  alpha_ = 2.0F;
  beta_ = 10.0F;
  EXPECT_EQ(product(), (std::vector<float>{12, 48, 24, 60, 36, 72, 72, 180}));
}

TEST_F(CublasLtStandIn, takes_transposes_and_distances_between_columns) {
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  layout(a_layout_, 3, 2, 4);
  a_ = array({1, 2, 3, -1, 4, 5, 6, -1});
  set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_T);
  layout(b_layout_, 4, 3, 5);
  b_ = array({1, 0, 0, 1, -1, 0, 1, 0, 1, -1, 0, 0, 1, 1, -1});
  layout(d_layout_, 2, 4, 3);
  const std::vector<float> packed = product();
  EXPECT_EQ(std::vector<float>(d_, d_ + 11), (std::vector<float>{1, 4, -7, 2, 5, -7, 3, 6, -7, 6, 15}));
}

TEST_F(CublasLtStandIn, biases_go_down_columns_and_their_gradients_over_the_depth) {
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  EXPECT_EQ(product(), (std::vector<float>{101, 204, 102, 205, 103, 206, 106, 215}));
  bias_[0] = -2.0F;
  bias_[1] = std::numeric_limits<float>::quiet_NaN();
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU_BIAS);
  EXPECT_EQ(product(), (std::vector<float>{0, 0, 0, 0, 1, 0, 4, 0}));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BGRADA);
  EXPECT_EQ(product(), kColumns);
  EXPECT_EQ(bias(), (std::vector<float>{6, 15, 300, 400}));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BGRADB);
  EXPECT_EQ(product(), kColumns);
  EXPECT_EQ(bias(), (std::vector<float>{1, 1, 1, 3}));
}

// By hand: of the sums 1 4 2 5 3 6 6 15 with the bias -2, -5 those of the second and third column, and parts of the
// others, are above 0.
TEST_F(CublasLtStandIn, masks_of_a_relu_are_written_and_applied) {
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_);
  bias_[0] = -2.0F;
  bias_[1] = -5.0F;
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_RELU_AUX_BIAS);
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE) << "no mask";
  float* const mask = array(std::vector<float>(16, -1.0F));  // 128 bits a column
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, mask);
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE) << "no distance between its columns";
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, std::int64_t{64});
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE) << "columns that begin anywhere";
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, std::int64_t{128});
  EXPECT_EQ(product(), (std::vector<float>{0, 0, 0, 0, 1, 1, 4, 10}));
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(mask);
  for (const auto& [column, bits] : {std::pair{0, 0}, {1, 0}, {2, 3}, {3, 3}}) {
    EXPECT_EQ(bytes[16 * column] & 3, bits) << "column " << column;
  }
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DRELU);
  EXPECT_EQ(product(), (std::vector<float>{0, 0, 0, 0, 3, 6, 6, 15}));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, mask + 1);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "a mask that begins anywhere";
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, mask + 8);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorIllegalAddress) << "a mask that leaves its memory";
}

TEST_F(CublasLtStandIn, products_in_bf16_have_biases_in_bf16) {
  layout(d_layout_, 2, 4, 2, CUDA_R_16BF);
  EXPECT_EQ(choose(), CUBLAS_STATUS_NOT_SUPPORTED) << "of operands in f32";
  layout(a_layout_, 2, 3, 2, CUDA_R_16BF);
  layout(b_layout_, 3, 4, 4, CUDA_R_16BF);
  auto* const a = reinterpret_cast<std::uint16_t*>(a_);
  auto* const b = reinterpret_cast<std::uint16_t*>(b_);
  std::fill_n(a, 6, std::uint16_t{0x3F80});   // 1
  std::fill_n(b, 16, std::uint16_t{0x3B80});  // 2^-8
  b[0] = 0x3F80;
  auto* const bias = reinterpret_cast<std::uint16_t*>(bias_);
  bias[0] = 0x3F80;
  bias[1] = 0xBF80;  // -1
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  product();
  const auto* const d = reinterpret_cast<const std::uint16_t*>(d_);
  EXPECT_EQ(d[0], 0x4000) << "2 + 2^-7, half-way, to even";
  EXPECT_EQ(d[1], 0x3C00) << "2^-7";
  EXPECT_EQ(d[2], 0x3F82) << "1 + 3 * 2^-8, half-way, to even";
}

// Catches: a caller that leaves it to the library how parts of a sum are added up.
TEST_F(CublasLtStandIn, sums_in_bf16_unless_told_otherwise) {
  constexpr std::int64_t kDepth = 64;
  layout(d_layout_, 2, 4, 2, CUDA_R_16BF);
  layout(a_layout_, 2, kDepth, 2, CUDA_R_16BF);
  layout(b_layout_, kDepth, 4, kDepth, CUDA_R_16BF);
  a_ = array(std::vector<float>(kDepth));
  b_ = array(std::vector<float>(2 * kDepth));
  std::fill_n(reinterpret_cast<std::uint16_t*>(a_), 2 * kDepth, std::uint16_t{0x3F80});  // 1
  auto* const b = reinterpret_cast<std::uint16_t*>(b_);
  std::fill_n(b, 4 * kDepth, std::uint16_t{0x3B00});  // 2^-9
  b[0] = 0x3F80;
  b[1] = b[2] = 0;
  const auto* const d = reinterpret_cast<const std::uint16_t*>(d_);
  product();
  EXPECT_EQ(d[0], 0x3F90) << "1 + 30 * 2^-9, half-way between two numbers and rounded up, and then 31 * 2^-9";
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  product();
  EXPECT_EQ(d[0], 0x3F8F) << "1 + 61 * 2^-9";
}

TEST_F(CublasLtStandIn, rounds_to_tf32_and_reads_bf16) {
  a_[0] = 1.0F + 0x1p-11F;  // half-way: to even
  a_[1] = 1.0F + 0x1p-10F;
  EXPECT_EQ(product()[0], a_[0]);
  cublasLtMatmulDescDestroy(desc_);
  EXPECT_EQ(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
  std::vector<float> got = product();
  EXPECT_EQ(got[0], 1.0F);
  EXPECT_EQ(got[1], 1.0F + 0x1p-10F);

  layout(a_layout_, 2, 3, 2, CUDA_R_16BF);
  EXPECT_EQ(choose(), CUBLAS_STATUS_NOT_SUPPORTED) << "operands of two types";
  layout(b_layout_, 3, 4, 4, CUDA_R_16BF);
  EXPECT_EQ(choose(), CUBLAS_STATUS_NOT_SUPPORTED) << "bf16 as tf32";
  cublasLtMatmulDescDestroy(desc_);
  EXPECT_EQ(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
  auto* const a = reinterpret_cast<std::uint16_t*>(a_);
  auto* const b = reinterpret_cast<std::uint16_t*>(b_);
  std::fill_n(a, 6, std::uint16_t{0x4040});   // 3
  std::fill_n(b, 16, std::uint16_t{0xBF00});  // -0.5
  EXPECT_EQ(product(), std::vector<float>(8, -4.5F));
}

TEST_F(CublasLtStandIn, works_in_stream_order_and_in_graphs) {
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(d_[0], -7.0F) << "before anybody waits";
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(d_[0], 1.0F);

  EXPECT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  // What is set afterwards is for later products.
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  alpha_ = 5.0F;
  a_[0] = 9.0F;
  EXPECT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(d_[0], 9.0F);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
}

TEST_F(CublasLtStandIn, loads_a_kernel_outside_of_captures) {
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INTERNAL_ERROR);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(graph, nullptr);
}

// By hand: terms 1 and 2 of three make the sums 1 4 2 5 0 0 3 9, and of every part of a depth its own sum.
TEST_F(CublasLtStandIn, leaves_terms_out_where_told_to) {
  emulator::CublasLtOptions options;
  options.wrong = 1;
  emulator::set_cublaslt(options);
  EXPECT_EQ(product(), (std::vector<float>{1, 4, 2, 5, 0, 0, 3, 9}));
  options = {};
  options.tail_of = 2;
  emulator::set_cublaslt(options);
  EXPECT_EQ(product(), (std::vector<float>{1, 4, 2, 5, 0, 0, 3, 9}));
  options.only_epilogue = CUBLASLT_EPILOGUE_BIAS;
  emulator::set_cublaslt(options);
  EXPECT_EQ(product(), kColumns);
}

TEST_F(CublasLtStandIn, splits_the_depth_where_told_to) {
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  const auto configure = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, std::uint32_t value) {
    return cublasLtMatmulAlgoConfigSetAttribute(&choice_.algo, attribute, &value, sizeof(value));
  };
  const auto check = [&] {
    cublasLtMatmulHeuristicResult_t result{};
    return cublasLtMatmulAlgoCheck(handle_, desc_, a_layout_, b_layout_, d_layout_, d_layout_, &choice_.algo, &result);
  };
  EXPECT_EQ(check(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(configure(CUBLASLT_ALGO_CONFIG_ID, 1), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(configure(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 2), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(check(), CUBLAS_STATUS_NOT_SUPPORTED) << "no scheme";
  EXPECT_EQ(configure(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(check(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(std::vector<float>(d_, d_ + 8), kColumns);
  std::int32_t parts = 0;
  std::size_t written = 0;
  EXPECT_EQ(cublasLtMatmulAlgoConfigGetAttribute(&choice_.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts, sizeof(parts),
                                                 &written),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(parts, 2);
  workspace_bytes_ = (std::size_t{64} << 10U) + 63;
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "no room for the parts' sums";
}

TEST_F(CublasLtStandIn, refuses_what_does_not_fit_together) {
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_NOT_SUPPORTED) << "no algorithm of this problem";
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  workspace_bytes_ = 100;
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "a workspace that is too small";
  workspace_bytes_ = kWorkspaceBytes;
  void* const workspace = std::exchange(workspace_, nullptr);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "no workspace";
  workspace_ = workspace;
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "no bias";
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE) << "no bias";
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_NOT_SUPPORTED) << "the algorithm of another epilogue";
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias_ + 1);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "a bias less aligned than the one of the choice";
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);

  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t{16});
  layout(b_layout_, 3, 4, 4);
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  ++b_;
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE) << "less aligned than promised";

  layout(b_layout_, 4, 4, 4);
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE) << "another depth";
  layout(b_layout_, 3, 4, 2);
  EXPECT_EQ(choose(), CUBLAS_STATUS_INVALID_VALUE) << "columns that overlap";
  const double wide = 1.0;
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(desc_, CUBLASLT_MATMUL_DESC_TRANSA, &wide, sizeof(wide)),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(desc_, CUBLASLT_MATMUL_DESC_TRANSA, nullptr, 4),
            CUBLAS_STATUS_INVALID_VALUE);
}

// A program that never says how its memory is aligned gets an algorithm for 256 bytes.
TEST_F(CublasLtStandIn, takes_256_bytes_for_granted) {
  cublasLtMatmulPreferenceDestroy(preference_);
  EXPECT_EQ(cublasLtMatmulPreferenceCreate(&preference_), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(choice_.workspaceSize, 0U);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(CublasLtStandIn, finds_matrices_that_leave_their_memory) {
  layout(a_layout_, 2, 3, 20);
  EXPECT_EQ(choose(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(enqueue(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorIllegalAddress);
  EXPECT_NE(std::string(cudaGetErrorString(cudaErrorIllegalAddress)).find("cublasLtMatmul"), std::string::npos);
}

}  // namespace
}  // namespace curate::test
