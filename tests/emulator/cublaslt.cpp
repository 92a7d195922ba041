// Stands in for cuBLASLt at its interface, so that the code that calls it runs: checks what the documentation asks for,
// rounds as the hardware does, and does the work in stream order.

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "device_memory.h"
#include "emulator.h"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cublasOperation_t transpose_a = CUBLAS_OP_N;
  cublasOperation_t transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void* bias = nullptr;
  void* aux = nullptr;      ///< the mask of a relu, a bit for every element of D
  std::int64_t aux_ld = 0;  ///< bits from one column to the next
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t ld;
};
struct cublasLtMatmulPreferenceOpaque_t {
  std::size_t workspace = 0;                          ///< none allowed
  std::uint32_t reductions = ~0U;                     ///< schemes allowed, all unless set
  std::uint32_t alignment[4] = {256, 256, 256, 256};  ///< of A, B, C, D: the library's default
};

namespace curate::emulator {
namespace {

CublasLtOptions options;
std::int64_t products = 0;

/// Handles, descriptors, layouts and preferences that were made and not destroyed.
std::set<const void*>& live() {
  static std::set<const void*> objects;
  return objects;
}

template <typename T>
cublasStatus_t create(const char* call, T** place, const T& value) {
  if (place == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (fails_now(call)) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  *place = new T(value);
  live().insert(*place);
  count_handles(1);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t destroy(T* object) {
  if (live().erase(object) == 0) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  count_handles(-1);
  delete object;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename... Objects>
bool all_live(const Objects*... objects) {
  return (live().contains(objects) && ...);
}

/// Copies an attribute of that type, or says that the size is another's.
template <typename T>
cublasStatus_t assign(T& attribute, const void* value, std::size_t bytes) {
  if (value == nullptr || bytes != sizeof(T)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(&attribute, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

bool has_bias(cublasLtEpilogue_t epilogue) {
  return (epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
}

bool has_mask(cublasLtEpilogue_t epilogue) {
  constexpr int kAux = 128;
  return (epilogue & kAux) != 0;
}

std::size_t size_of(cudaDataType type) {
  return type == CUDA_R_16BF ? 2 : 4;
}

/// Of an address, up to 16.
std::uint32_t alignment_of(const void* address) {
  return 1U << static_cast<unsigned>(std::min(std::countr_zero(reinterpret_cast<std::uintptr_t>(address)), 4));
}

/// D = epilogue(alpha op(A) op(B) + beta C), with everything that the caller may change afterwards copied.
struct Product {
  cublasLtMatmulDescOpaque_t desc;
  cublasLtMatrixLayoutOpaque_t a_layout, b_layout, c_layout, d_layout;

  std::int64_t m() const { return d_layout.rows; }
  std::int64_t n() const { return d_layout.cols; }
  std::int64_t k() const { return desc.transpose_a == CUBLAS_OP_T ? a_layout.rows : a_layout.cols; }

  cublasStatus_t check() const {
    for (const auto* layout : {&a_layout, &b_layout, &c_layout, &d_layout}) {
      if (layout->rows < 1 || layout->cols < 1 || layout->ld < layout->rows) {
        return CUBLAS_STATUS_INVALID_VALUE;
      }
    }
    const auto turned = [](const cublasLtMatrixLayoutOpaque_t& layout, cublasOperation_t operation) {
      return operation == CUBLAS_OP_T ? std::pair(layout.cols, layout.rows) : std::pair(layout.rows, layout.cols);
    };
    if (turned(a_layout, desc.transpose_a) != std::pair(m(), k()) ||
        turned(b_layout, desc.transpose_b) != std::pair(k(), n()) || c_layout.rows != m() || c_layout.cols != n()) {
      return CUBLAS_STATUS_INVALID_VALUE;
    }
    const bool types = a_layout.type == b_layout.type && c_layout.type == d_layout.type &&
                       (d_layout.type == CUDA_R_32F || a_layout.type == CUDA_R_16BF) &&
                       (a_layout.type == CUDA_R_32F || desc.compute == CUBLAS_COMPUTE_32F);
    if (!types) {
      return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const bool masked = !has_mask(desc.epilogue) || (desc.aux != nullptr && alignment_of(desc.aux) == 16 &&
                                                     desc.aux_ld >= m() && desc.aux_ld % 128 == 0);
    return (has_bias(desc.epilogue) && desc.bias == nullptr) || !masked ? CUBLAS_STATUS_INVALID_VALUE
                                                                        : CUBLAS_STATUS_SUCCESS;
  }

  /// Tells problems apart for which algorithms are chosen.
  std::uint64_t fingerprint() const {
    std::uint64_t hash = 1469598103934665603U;
    const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * 1099511628211U; };
    add(desc.compute), add(desc.transpose_a), add(desc.transpose_b), add(desc.epilogue);
    add(static_cast<std::uint64_t>(desc.aux_ld));
    for (const auto* layout : {&a_layout, &b_layout, &c_layout, &d_layout}) {
      add(layout->type), add(static_cast<std::uint64_t>(layout->rows)), add(static_cast<std::uint64_t>(layout->cols)),
          add(static_cast<std::uint64_t>(layout->ld));
    }
    return hash;
  }
};

/// To the nearest with `bits` fewer bits after the point, of two equally near ones the even one; NaN stays.
float rounded(float value, unsigned bits) {
  if (value != value) {
    return value;
  }
  const auto word = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t half = (1U << (bits - 1U)) - 1U + (word >> bits & 1U);
  return std::bit_cast<float>((word + half) >> bits << bits);
}

float value_at(const void* data, cudaDataType type, std::int64_t element) {
  if (type == CUDA_R_32F) {
    return static_cast<const float*>(data)[element];
  }
  return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(data)[element]) << 16U);
}

void store(void* data, cudaDataType type, std::int64_t element, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[element] = value;
    return;
  }
  constexpr std::uint32_t kQuiet = 0x40;
  const std::uint32_t upper = std::bit_cast<std::uint32_t>(rounded(value, 16)) >> 16U;
  static_cast<std::uint16_t*>(data)[element] = static_cast<std::uint16_t>(value != value ? upper | kQuiet : upper);
}

/// op(matrix) as [lines, depth], contiguous along `lines` for each step of the depth, as the arithmetic sees it.
std::vector<float> load(const void* data, const cublasLtMatrixLayoutOpaque_t& layout, bool lines_are_rows,
                        cublasComputeType_t compute) {
  const std::int64_t lines = lines_are_rows ? layout.rows : layout.cols;
  std::vector<float> values(static_cast<std::size_t>(layout.rows * layout.cols));
  for (std::int64_t col = 0; col < layout.cols; ++col) {
    for (std::int64_t row = 0; row < layout.rows; ++row) {
      float value = value_at(data, layout.type, col * layout.ld + row);
      value = compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? rounded(value, 13) : value;
      values[static_cast<std::size_t>(lines_are_rows ? col * lines + row : row * lines + col)] = value;
    }
  }
  return values;
}

/// The sum over the depth for every line of what load() gave.
void sum_depth(void* sums, cudaDataType type, const std::vector<float>& operand, std::int64_t lines) {
  std::vector<float> exact(static_cast<std::size_t>(lines));
  for (std::size_t e = 0; e < operand.size(); ++e) {
    exact[e % exact.size()] += operand[e];
  }
  for (std::int64_t line = 0; line < lines; ++line) {
    store(sums, type, line, exact[static_cast<std::size_t>(line)]);
  }
}

/// Writes an element's bit of the mask, or reads it.
void set_bit(void* mask, std::int64_t bit, bool value) {
  auto& byte = static_cast<std::uint8_t*>(mask)[bit / 8];
  const auto place = static_cast<std::uint8_t>(1U << static_cast<unsigned>(bit % 8));
  byte = static_cast<std::uint8_t>(value ? byte | place : byte & ~place);
}
bool get_bit(const void* mask, std::int64_t bit) {
  return (static_cast<const std::uint8_t*>(mask)[bit / 8] >> static_cast<unsigned>(bit % 8) & 1U) != 0;
}

/// What the epilogue makes of D's element [i, j], of which alpha op(A) op(B) + beta C is `value`.
float finish(const cublasLtMatmulDescOpaque_t& desc, cudaDataType type, std::int64_t i, std::int64_t j, float value) {
  if ((desc.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) {
    value += value_at(desc.bias, type, i);
  }
  const std::int64_t bit = j * desc.aux_ld + i;
  if ((desc.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) {
    const bool on = value > 0.0F;
    if (has_mask(desc.epilogue)) {
      set_bit(desc.aux, bit, on);
    }
    value = on ? value : 0.0F;  // max(x, 0) may take either for NaN; this one hides it
  }
  return desc.epilogue == CUBLASLT_EPILOGUE_DRELU && !get_bit(desc.aux, bit) ? 0.0F : value;
}

/// `sums_in_outputs`: parts of the depth are added up in D's type.
std::string multiply(const Product& product, float alpha, const void* a, const void* b, float beta, const void* c,
                     void* d, void* workspace, std::size_t workspace_bytes, bool sums_in_outputs) {
  const auto fits = [](const void* data, const cublasLtMatrixLayoutOpaque_t& layout) {
    const auto elements = static_cast<std::size_t>((layout.cols - 1) * layout.ld + layout.rows);
    return is_device_memory(data, elements * size_of(layout.type));
  };
  const cublasLtMatmulDescOpaque_t& desc = product.desc;
  const std::int64_t m = product.m();
  const std::int64_t n = product.n();
  const std::int64_t k = product.k();
  const cudaDataType type = product.d_layout.type;
  const std::int64_t biases = desc.epilogue == CUBLASLT_EPILOGUE_BGRADB ? n : m;
  if (!fits(a, product.a_layout) || !fits(b, product.b_layout) || !fits(d, product.d_layout) ||
      (beta != 0.0F && !fits(c, product.c_layout)) || !is_device_memory(workspace, workspace_bytes) ||
      (has_bias(desc.epilogue) && !is_device_memory(desc.bias, static_cast<std::size_t>(biases) * size_of(type))) ||
      (has_mask(desc.epilogue) && !is_device_memory(desc.aux, static_cast<std::size_t>(n * desc.aux_ld / 8)))) {
    return "cublasLtMatmul: a matrix leaves the allocation of its device memory";
  }
  std::memset(workspace, 0xFF, workspace_bytes);
  const std::vector<float> left = load(a, product.a_layout, desc.transpose_a == CUBLAS_OP_N, desc.compute);
  const std::vector<float> right = load(b, product.b_layout, desc.transpose_b == CUBLAS_OP_T, desc.compute);
  std::vector<float> column(static_cast<std::size_t>(m));
  for (std::int64_t j = 0; j < n; ++j) {
    std::fill(column.begin(), column.end(), 0.0F);
    float* const sum = column.data();
    for (std::int64_t step = 0; step < k; ++step) {
      const float* const terms = left.data() + step * m;
      const float factor = right[static_cast<std::size_t>(step * n + j)];
#pragma omp simd
      for (std::int64_t i = 0; i < m; ++i) {
        sum[i] += terms[i] * factor;
      }
      constexpr std::int64_t kStretch = 32;
      if (sums_in_outputs && type == CUDA_R_16BF && step % kStretch == 0) {
        std::transform(sum, sum + m, sum, [](float value) { return rounded(value, 16); });
      }
    }
    for (std::int64_t i = 0; i < m; ++i) {
      float value = alpha * sum[i];
      if (beta != 0.0F) {
        value += beta * value_at(c, type, j * product.c_layout.ld + i);
      }
      store(d, type, j * product.d_layout.ld + i, finish(desc, type, i, j, value));
    }
  }
  if (desc.epilogue == CUBLASLT_EPILOGUE_BGRADA) {
    sum_depth(desc.bias, type, left, m);
  } else if (desc.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
    sum_depth(desc.bias, type, right, n);
  }
  return "";
}

/// What an algorithm holds.
constexpr std::size_t kProblem = 0;
constexpr std::size_t kWorkspace = 1;
constexpr std::size_t kBiasAlignment = 2;
constexpr std::size_t kAlignments = 3;  ///< and the three after it
constexpr std::size_t kSumsInOutputs = 7;

template <typename Function>
std::pair<std::string, void*> symbol(const char* name, Function* function) {
  return {name, reinterpret_cast<void*>(function)};
}

}  // namespace

void set_cublaslt(const CublasLtOptions& what) {
  options = what;
}

std::int64_t cublaslt_products() {
  return products;
}

void* open_library(const std::string& name) {
  return options.major != 0 && name == fmt::format("libcublasLt.so.{}", options.major) ? &options : nullptr;
}

void* find_symbol(void* library, const std::string& name) {
#define CURATE_SYMBOL(function) symbol(#function, &::function)
  static const std::map<std::string, void*> functions = {CURATE_SYMBOL(cublasLtGetVersion),
                                                         CURATE_SYMBOL(cublasLtGetStatusName),
                                                         CURATE_SYMBOL(cublasLtCreate),
                                                         CURATE_SYMBOL(cublasLtDestroy),
                                                         CURATE_SYMBOL(cublasLtMatmulDescCreate),
                                                         CURATE_SYMBOL(cublasLtMatmulDescDestroy),
                                                         CURATE_SYMBOL(cublasLtMatmulDescSetAttribute),
                                                         CURATE_SYMBOL(cublasLtMatrixLayoutCreate),
                                                         CURATE_SYMBOL(cublasLtMatrixLayoutDestroy),
                                                         CURATE_SYMBOL(cublasLtMatmulPreferenceCreate),
                                                         CURATE_SYMBOL(cublasLtMatmulPreferenceDestroy),
                                                         CURATE_SYMBOL(cublasLtMatmulPreferenceSetAttribute),
                                                         CURATE_SYMBOL(cublasLtMatmulAlgoGetHeuristic),
                                                         CURATE_SYMBOL(cublasLtMatmul)};
#undef CURATE_SYMBOL
  const auto found = functions.find(name);
  return library != &options || name == options.missing_function || found == functions.end() ? nullptr : found->second;
}

}  // namespace curate::emulator

namespace emulator = curate::emulator;

std::size_t cublasLtGetVersion() {
  return static_cast<std::size_t>(emulator::options.major) * (emulator::options.major < 12 ? 1000 : 10000) + 203;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown status";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return emulator::create("cublasLtCreate", handle, cublasLtContext{});
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return emulator::destroy(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  if (scale != CUDA_R_32F) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return emulator::create("cublasLtMatmulDescCreate", desc, cublasLtMatmulDescOpaque_t{compute});
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  return emulator::destroy(desc);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  if (!emulator::all_live(desc)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (emulator::fails_now("cublasLtMatmulDescSetAttribute")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  const bool of_masks =
      attribute == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER || attribute == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD;
  if (of_masks && !emulator::options.knows_masks) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return emulator::assign(desc->transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return emulator::assign(desc->transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return emulator::assign(desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return emulator::assign(desc->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return emulator::assign(desc->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return emulator::assign(desc->aux_ld, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t cols, std::int64_t ld) {
  return emulator::create(
      "cublasLtMatrixLayoutCreate", layout,
      cublasLtMatrixLayoutOpaque_t{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols), ld});
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return emulator::destroy(layout);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return emulator::create("cublasLtMatmulPreferenceCreate", preference, cublasLtMatmulPreferenceOpaque_t{});
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return emulator::destroy(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  if (!emulator::all_live(preference)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (emulator::fails_now("cublasLtMatmulPreferenceSetAttribute")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return emulator::assign(preference->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return emulator::assign(preference->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return emulator::assign(preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
                              bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int asked,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  if (!emulator::all_live(handle)) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  if (!emulator::all_live(desc, a, b, c, d, preference) || asked < 1 || results == nullptr || found == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (emulator::fails_now("cublasLtMatmulAlgoGetHeuristic")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  *found = 0;
  const emulator::Product product{*desc, *a, *b, *c, *d};
  if (const cublasStatus_t status = product.check(); status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  const bool gradient = (desc->epilogue & (CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
  if (!emulator::options.algorithms || (gradient && !emulator::options.bias_gradients) ||
      (emulator::has_mask(desc->epilogue) && !emulator::options.masks)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  constexpr std::size_t kWanted = std::size_t{64} << 10U;
  results[0] = {};
  results[0].workspaceSize = std::min(kWanted, preference->workspace);
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].algo.data[emulator::kProblem] = product.fingerprint();
  results[0].algo.data[emulator::kWorkspace] = results[0].workspaceSize;
  results[0].algo.data[emulator::kBiasAlignment] = emulator::alignment_of(desc->bias);
  constexpr std::uint32_t kInOutputs = CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  results[0].algo.data[emulator::kSumsInOutputs] = preference->reductions & kInOutputs;
  // An algorithm makes use of all that it was promised.
  std::copy(std::begin(preference->alignment), std::end(preference->alignment),
            results[0].algo.data + emulator::kAlignments);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  if (!emulator::all_live(handle)) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  if (!emulator::all_live(desc, a_layout, b_layout, c_layout, d_layout) || alpha == nullptr || beta == nullptr ||
      a == nullptr || b == nullptr || c == nullptr || d == nullptr || algorithm == nullptr || stream == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const emulator::Product product{*desc, *a_layout, *b_layout, *c_layout, *d_layout};
  if (const cublasStatus_t status = product.check(); status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  if (algorithm->data[emulator::kProblem] != product.fingerprint()) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const std::size_t needed = algorithm->data[emulator::kWorkspace];
  const auto misaligned = [&](std::size_t operand, const void* data, const cublasLtMatrixLayoutOpaque_t& layout) {
    const std::uint64_t alignment = algorithm->data[emulator::kAlignments + operand];
    return reinterpret_cast<std::uintptr_t>(data) % alignment != 0 || static_cast<std::uint64_t>(layout.ld) *
                                                                              emulator::size_of(layout.type) %
                                                                              std::min<std::uint64_t>(alignment, 16) !=
                                                                          0;
  };
  if (workspace_bytes < needed || (needed > 0 && (workspace == nullptr || emulator::alignment_of(workspace) < 16)) ||
      misaligned(0, a, *a_layout) || misaligned(1, b, *b_layout) || misaligned(2, c, *c_layout) ||
      misaligned(3, d, *d_layout) ||
      (emulator::has_bias(desc->epilogue) &&
       emulator::alignment_of(desc->bias) < algorithm->data[emulator::kBiasAlignment])) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const float one = *static_cast<const float*>(alpha);
  const float other = *static_cast<const float*>(beta);
  const bool sums_in_outputs = algorithm->data[emulator::kSumsInOutputs] != 0;
  const cudaError_t error = emulator::enqueue_host(stream, "cublasLtMatmul", [=] {
    return emulator::multiply(product, one, a, b, other, c, d, workspace, needed, sums_in_outputs);
  });
  if (error != cudaSuccess) {
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  ++emulator::products;
  return CUBLAS_STATUS_SUCCESS;
}
