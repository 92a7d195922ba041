// Stands in for cuBLASLt at its interface, so that the code that calls it runs: checks what the documentation asks for,
// rounds as the hardware does, and does the work in stream order.

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cublas.h"
#include "emulator.h"
#include "library_product.h"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t : curate::emulator::ProductOperation {};
struct cublasLtMatrixLayoutOpaque_t : curate::emulator::ProductMatrix {};
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

/// What an algorithm holds.
struct Algorithm {
  std::uint64_t problem = 0;
  std::uint32_t workspace = 0;
  std::uint32_t bias_alignment = 1;
  std::uint16_t alignment[4] = {};
  std::int32_t id = 0;
  std::int32_t parts = 1;
  std::uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  bool sums_in_outputs = false;
  bool wrong = false;

  static Algorithm of(const cublasLtMatmulAlgo_t& opaque) {
    Algorithm algorithm;
    static_assert(sizeof(Algorithm) <= sizeof(opaque.data));
    std::memcpy(&algorithm, opaque.data, sizeof(algorithm));
    return algorithm;
  }
  void store(cublasLtMatmulAlgo_t& opaque) const { std::memcpy(opaque.data, this, sizeof(*this)); }

  /// Sums of parts that are not added up in D's memory lie in the workspace.
  std::size_t needed(const LibraryProduct& product) const {
    const bool aside = parts > 1 && reduction == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    return workspace + (aside ? static_cast<std::size_t>(parts * product.m() * product.n()) * sizeof(float) : 0);
  }
  /// Blocks for every multiprocessor, in tiles of 128 x 128.
  float waves(const LibraryProduct& product) const {
    const auto tiles = [](std::int64_t lines) { return (lines + 127) / 128; };
    return static_cast<float>(tiles(product.m()) * tiles(product.n()) * parts) /
           static_cast<float>(options.multiprocessors);
  }
};

/// Kernels that are loaded, by handle.
std::set<std::pair<const void*, std::uint64_t>>& loaded() {
  static std::set<std::pair<const void*, std::uint64_t>> kernels;
  return kernels;
}

/// Whether the options are about products of that epilogue.
bool concerns(cublasLtEpilogue_t epilogue) {
  return options.only_epilogue == 0 || options.only_epilogue == epilogue;
}

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
  if (options.major == 0) {
    return nullptr;
  }
  // cuBLAS needs cuBLASLt.
  if (name == fmt::format("libcublas.so.{}", options.major)) {
    return cublas_library();
  }
  return name == fmt::format("libcublasLt.so.{}", options.major) ? &options : nullptr;
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
                                                         CURATE_SYMBOL(cublasLtMatmulAlgoCheck),
                                                         CURATE_SYMBOL(cublasLtMatmulAlgoConfigSetAttribute),
                                                         CURATE_SYMBOL(cublasLtMatmulAlgoConfigGetAttribute),
                                                         CURATE_SYMBOL(cublasLtMatmul)};
#undef CURATE_SYMBOL
  if (library == cublas_library()) {
    return cublas_symbol(name);
  }
  const auto found = functions.find(name);
  return library != &options || name == options.missing_function || found == functions.end() ? nullptr : found->second;
}

}  // namespace curate::emulator

namespace emulator = curate::emulator;

std::size_t cublasLtGetVersion() {
  return static_cast<std::size_t>(emulator::options.major) * (emulator::options.major < 12 ? 1000 : 10000) + 203;
}

const char* cublasLtGetStatusName(cublasStatus_t status) {
  return emulator::status_name(status);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return emulator::create("cublasLtCreate", handle, cublasLtContext{});
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  std::erase_if(emulator::loaded(), [handle](const auto& kernel) { return kernel.first == handle; });
  return emulator::destroy(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute, cudaDataType_t scale) {
  if (scale != CUDA_R_32F) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  return emulator::create("cublasLtMatmulDescCreate", desc, cublasLtMatmulDescOpaque_t{{compute}});
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
      cublasLtMatrixLayoutOpaque_t{{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols), ld}});
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
  const emulator::LibraryProduct product{*desc, *a, *b, *c, *d};
  if (const cublasStatus_t status = product.check(); status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  const emulator::CublasLtOptions& options = emulator::options;
  const bool concerned = emulator::concerns(desc->epilogue);
  if (concerned && options.heuristic_status != 0) {
    return static_cast<cublasStatus_t>(options.heuristic_status);
  }
  const bool gradient = (desc->epilogue & (CUBLASLT_EPILOGUE_BGRADA | CUBLASLT_EPILOGUE_BGRADB)) != 0;
  if (!options.algorithms || (gradient && !options.bias_gradients) || (desc->has_mask() && !options.masks)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  constexpr std::size_t kWanted = std::size_t{64} << 10U;
  constexpr std::uint32_t kInOutputs = CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  const int most = concerned ? options.found : 1;
  for (; *found < std::min(asked, most); ++*found) {
    emulator::Algorithm algorithm;
    algorithm.problem = product.fingerprint();
    algorithm.workspace = static_cast<std::uint32_t>(std::min(kWanted, preference->workspace));
    algorithm.bias_alignment = emulator::alignment_of(desc->bias);
    // An algorithm makes use of all that it was promised.
    std::copy(std::begin(preference->alignment), std::end(preference->alignment), algorithm.alignment);
    algorithm.id = 20 + *found;
    algorithm.parts = *found == options.splitting ? 16 : 1;
    algorithm.reduction =
        *found == options.splitting ? CUBLASLT_REDUCTION_SCHEME_INPLACE : CUBLASLT_REDUCTION_SCHEME_NONE;
    algorithm.sums_in_outputs = (preference->reductions & kInOutputs) != 0;
    algorithm.wrong = concerned && *found < options.wrong;
    cublasLtMatmulHeuristicResult_t& result = results[*found];
    result = {};
    result.workspaceSize = algorithm.needed(product);
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = algorithm.waves(product);
    algorithm.store(result.algo);
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigSetAttribute(cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  if (algorithm == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (emulator::fails_now("cublasLtMatmulAlgoConfigSetAttribute")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  emulator::Algorithm changed = emulator::Algorithm::of(*algorithm);
  cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE;
  if (attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM) {
    status = emulator::assign(changed.parts, value, bytes);
  } else if (attribute == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) {
    status = emulator::assign(changed.reduction, value, bytes);
  }
  changed.store(*algorithm);
  return status;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    std::size_t bytes, std::size_t* written) {
  const emulator::Algorithm known = emulator::Algorithm::of(*algorithm);
  const std::int32_t values[] = {known.id, 20, known.parts, static_cast<std::int32_t>(known.reduction)};
  if (attribute < 0 || attribute > CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME || bytes != sizeof(values[0])) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(value, &values[attribute], bytes);
  *written = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulHeuristicResult_t* result) {
  if (!emulator::all_live(handle)) {
    return CUBLAS_STATUS_NOT_INITIALIZED;
  }
  if (!emulator::all_live(desc, a, b, c, d) || algorithm == nullptr || result == nullptr) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (emulator::fails_now("cublasLtMatmulAlgoCheck")) {
    return CUBLAS_STATUS_INTERNAL_ERROR;
  }
  const emulator::LibraryProduct product{*desc, *a, *b, *c, *d};
  const emulator::Algorithm known = emulator::Algorithm::of(*algorithm);
  if (known.problem != product.fingerprint() || known.parts < 1) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (known.parts > 1 && (!emulator::options.splits || known.reduction == CUBLASLT_REDUCTION_SCHEME_NONE)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  result->workspaceSize = known.needed(product);
  result->wavesCount = known.waves(product);
  result->state = CUBLAS_STATUS_SUCCESS;
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
  emulator::LibraryProduct product{*desc, *a_layout, *b_layout, *c_layout, *d_layout};
  if (const cublasStatus_t status = product.check(); status != CUBLAS_STATUS_SUCCESS) {
    return status;
  }
  const emulator::Algorithm known = emulator::Algorithm::of(*algorithm);
  if (known.problem != product.fingerprint()) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const std::size_t needed = known.needed(product);
  const auto misaligned = [&](std::size_t operand, const void* data, const emulator::ProductMatrix& layout) {
    const std::uint64_t alignment = known.alignment[operand];
    return reinterpret_cast<std::uintptr_t>(data) % alignment != 0 || static_cast<std::uint64_t>(layout.ld) *
                                                                              emulator::size_of(layout.type) %
                                                                              std::min<std::uint64_t>(alignment, 16) !=
                                                                          0;
  };
  if (workspace_bytes < needed || (needed > 0 && (workspace == nullptr || emulator::alignment_of(workspace) < 16)) ||
      misaligned(0, a, *a_layout) || misaligned(1, b, *b_layout) || misaligned(2, c, *c_layout) ||
      misaligned(3, d, *d_layout) || (desc->has_bias() && emulator::alignment_of(desc->bias) < known.bias_alignment)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const emulator::CublasLtOptions& options = emulator::options;
  if (emulator::concerns(desc->epilogue) && options.matmul_status != 0) {
    return static_cast<cublasStatus_t>(options.matmul_status);
  }
  // Kernels are loaded when they are first called.
  const std::uint64_t kernel = known.problem * 64 + static_cast<std::uint64_t>(known.id + 7 * known.parts);
  if (!emulator::loaded().contains({handle, kernel})) {
    if (!emulator::outside_capture(stream)) {
      return CUBLAS_STATUS_INTERNAL_ERROR;
    }
    emulator::loaded().insert({handle, kernel});
  }
  product.desc.mask_of_zero = options.mask_of_zero;
  emulator::SumOrder order{product.k(), known.parts, known.sums_in_outputs};
  if (emulator::concerns(desc->epilogue) && options.tail_of > 0) {
    order.depth -= product.k() % options.tail_of;
  }
  order.depth -= known.wrong ? 1 : 0;
  const emulator::ProductArguments at{
      *static_cast<const float*>(alpha), a, b, *static_cast<const float*>(beta), c, d, workspace, needed};
  const cudaError_t error = emulator::enqueue_host(
      stream, "cublasLtMatmul", [=] { return emulator::multiply("cublasLtMatmul", product, at, order); });
  if (error != cudaSuccess) {
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  ++emulator::products;
  return CUBLAS_STATUS_SUCCESS;
}
