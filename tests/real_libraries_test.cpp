// The toolkit's libraries themselves, as far as they go without a GPU: every function that is looked for is there.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "kernels/cublas.h"
#include "kernels/cublaslt.h"

namespace curate::test {
namespace {

/// Machines with nvcc may lack the libraries; CI's does not.
bool in_ci() {
  const char* const value = std::getenv("CI");
  return value != nullptr && std::string(value) == "true";
}

TEST(RealLibraries, cublaslt_has_all_functions) {
  std::string problem;
  const auto functions = cuda::find_cublaslt(problem);
  if (!functions && !in_ci() && problem.starts_with("no libcublasLt")) {
    GTEST_SKIP() << problem;
  }
  ASSERT_TRUE(functions) << problem;
  EXPECT_EQ(functions->file, "libcublasLt.so." + std::to_string(CUDART_VERSION / 1000));
  EXPECT_EQ(cuda::describe_cublaslt().rfind(std::to_string(CUDART_VERSION / 1000) + ".", 0), 0U)
      << cuda::describe_cublaslt();
  EXPECT_STREQ(functions->status_name(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED");
}

TEST(RealLibraries, cublas_has_all_functions) {
  std::string problem;
  const auto functions = cuda::find_cublas(problem);
  if (!functions && !in_ci() && problem.starts_with("no libcublas")) {
    GTEST_SKIP() << problem;
  }
  ASSERT_TRUE(functions) << problem;
  ASSERT_NE(functions->status_name, nullptr);
  EXPECT_STREQ(functions->status_name(CUBLAS_STATUS_ARCH_MISMATCH), "CUBLAS_STATUS_ARCH_MISMATCH");
}

}  // namespace
}  // namespace curate::test
