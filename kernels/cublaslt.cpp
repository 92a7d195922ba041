#include "kernels/cublaslt.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <utility>

#include "curate/error.h"
#include "kernels/open_library.h"

namespace curate::cuda {
namespace {

/// NVIDIA's advice for cuBLAS: 32 MiB on Hopper, 4 MiB elsewhere.
constexpr std::size_t workspace_for(int compute_capability_major) {
  return compute_capability_major >= 9 ? std::size_t{32} << 20U : std::size_t{4} << 20U;
}

template <typename Function>
void find(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(find_symbol(library, name));
  if (function == nullptr && missing.empty()) {
    missing = name;
  }
}

/// The first function that the library lacks, or nothing.
std::string find_functions(void* library, CublasLtFunctions& functions) {
  std::string missing;
  find(library, "cublasLtGetVersion", functions.get_version, missing);
  find(library, "cublasLtGetStatusName", functions.status_name, missing);
  find(library, "cublasLtCreate", functions.create, missing);
  find(library, "cublasLtDestroy", functions.destroy, missing);
  find(library, "cublasLtMatmulDescCreate", functions.desc_create, missing);
  find(library, "cublasLtMatmulDescDestroy", functions.desc_destroy, missing);
  find(library, "cublasLtMatmulDescSetAttribute", functions.desc_set, missing);
  find(library, "cublasLtMatrixLayoutCreate", functions.layout_create, missing);
  find(library, "cublasLtMatrixLayoutDestroy", functions.layout_destroy, missing);
  find(library, "cublasLtMatmulPreferenceCreate", functions.preference_create, missing);
  find(library, "cublasLtMatmulPreferenceDestroy", functions.preference_destroy, missing);
  find(library, "cublasLtMatmulPreferenceSetAttribute", functions.preference_set, missing);
  find(library, "cublasLtMatmulAlgoGetHeuristic", functions.get_heuristic, missing);
  find(library, "cublasLtMatmul", functions.matmul, missing);
  return missing;
}

/// 130100 as 13.1.0; before version 12 there was a digit less, 11803 was 11.8.3.
std::string version_text(std::size_t version) {
  const std::size_t major = version >= 100000 ? version / 10000 : version / 1000;
  return fmt::format("{}.{}.{}", major, version / 100 % (version >= 100000 ? 100 : 10), version % 100);
}

bool has_mask(Epilogue epilogue) {
  return epilogue == Epilogue::add_bias_relu_mask || epilogue == Epilogue::apply_mask;
}

cublasLtEpilogue_t epilogue_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::none:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::add_bias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::sum_of_first:
      return CUBLASLT_EPILOGUE_BGRADB;
    case Epilogue::add_bias_relu:
      return CUBLASLT_EPILOGUE_RELU_BIAS;
    case Epilogue::add_bias_relu_mask:
      return CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
    case Epilogue::apply_mask:
      return CUBLASLT_EPILOGUE_DRELU;
  }
  throw std::logic_error("unknown epilogue");
}

}  // namespace

std::optional<CublasLtFunctions> find_cublaslt(std::string& problem) {
  constexpr int kMajor = CUDART_VERSION / 1000;
  constexpr int kOldest = 11;
  // Older ones run wherever this program does; a newer one could ask for a newer driver.
  for (int major = kMajor; major >= kOldest; --major) {
    CublasLtFunctions functions;
    functions.file = fmt::format("libcublasLt.so.{}", major);
    void* const library = open_library(functions.file.c_str());
    if (library == nullptr) {
      continue;
    }
    const std::string missing = find_functions(library, functions);
    if (missing.empty()) {
      return functions;
    }
    if (problem.empty()) {
      problem = fmt::format("{} has no {}", functions.file, missing);
    }
  }
  if (problem.empty()) {
    problem = fmt::format(
        "no libcublasLt.so.{} found; the CUDA toolkit has it, LD_LIBRARY_PATH may have to name its "
        "folder",
        kMajor);
  }
  return std::nullopt;
}

std::string describe_cublaslt() {
  std::string problem;
  const std::optional<CublasLtFunctions> functions = find_cublaslt(problem);
  return functions ? fmt::format("{} ({})", version_text(functions->get_version()), functions->file)
                   : fmt::format("not used, wide dense layers are slower: {}", problem);
}

/// A product with what the library needs for it.
struct CublasLt::Plan {
  Plan(const CublasLtFunctions& library, const Product& what) : functions(&library), product(what) {}
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    for (const cublasLtMatrixLayout_t layout : {first, second, out}) {
      if (layout != nullptr) {
        functions->layout_destroy(layout);
      }
    }
    if (desc != nullptr) {
      functions->desc_destroy(desc);
    }
  }

  const CublasLtFunctions* functions;
  Product product;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t first = nullptr;
  cublasLtMatrixLayout_t second = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  std::optional<cublasLtMatmulAlgo_t> algorithm;  ///< none: the library has none
};

CublasLt::CublasLt(const CublasLtFunctions& functions, cudaStream_t stream, int compute_capability_major)
    : functions_(functions),
      stream_(stream),
      workspace_bytes_(workspace_for(compute_capability_major)),
      workspace_(stream, static_cast<std::int64_t>(workspace_bytes_)) {
  check(functions_.create(&handle_), "cublasLtCreate", "setting up");
}

CublasLt::~CublasLt() {
  plans_.clear();
  functions_.destroy(handle_);
}

void CublasLt::check(cublasStatus_t status, const char* call, const char* operation) const {
  if (status == CUBLAS_STATUS_SUCCESS) {
    return;
  }
  const cudaError_t error = cudaGetLastError();  // so that the next call does not report it again
  const std::string cause =
      error == cudaSuccess ? "" : fmt::format(": {}: {}", cudaGetErrorName(error), cudaGetErrorString(error));
  throw DeviceError(
      fmt::format("{}: {}: {} of {}{}", operation, call, functions_.status_name(status), functions_.file, cause));
}

bool CublasLt::has(const char* operation, const Product& product) {
  return plan_of(operation, product).algorithm.has_value();
}

bool CublasLt::multiply(const char* operation, const Product& product, const ProductMemory& memory) {
  const Plan& plan = plan_of(operation, product);
  if (!plan.algorithm) {
    return false;
  }
  // Read when a product is enqueued, so that layers of one shape share a plan.
  set_pointers(operation, plan, memory.bias, memory.mask);
  const float one = 1.0F;
  const float zero = 0.0F;
  // Columns for rows: see make_plan.
  check(functions_.matmul(handle_, plan.desc, &one, memory.second, plan.second, memory.first, plan.first, &zero,
                          memory.out, plan.out, memory.out, plan.out, &*plan.algorithm, workspace_.data(),
                          workspace_bytes_, stream_),
        "cublasLtMatmul", operation);
  return true;
}

void CublasLt::set(const char* operation, const Plan& plan, cublasLtMatmulDescAttributes_t attribute, const void* value,
                   std::size_t bytes) const {
  check(functions_.desc_set(plan.desc, attribute, value, bytes), "cublasLtMatmulDescSetAttribute", operation);
}

void CublasLt::set_pointers(const char* operation, const Plan& plan, const void* bias, const void* mask) const {
  const Epilogue epilogue = plan.product.epilogue;
  if (epilogue != Epilogue::none && epilogue != Epilogue::apply_mask) {
    set(operation, plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias));
  }
  if (has_mask(epilogue)) {
    set(operation, plan, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &mask, sizeof(mask));
  }
}

const CublasLt::Plan& CublasLt::plan_of(const char* operation, const Product& product) {
  const auto found = std::find_if(plans_.begin(), plans_.end(),
                                  [&](const std::unique_ptr<Plan>& plan) { return plan->product == product; });
  if (found != plans_.end()) {
    return **found;
  }
  plans_.push_back(make_plan(operation, product));
  return *plans_.back();
}

/// Masks are younger than the oldest library that is taken.
bool CublasLt::set_epilogue(const char* operation, const Plan& plan) const {
  const auto set_value = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    return functions_.desc_set(plan.desc, attribute, &value, sizeof(value));
  };
  const bool masked = has_mask(plan.product.epilogue);
  cublasStatus_t status = set_value(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(plan.product.epilogue));
  if (masked && status == CUBLAS_STATUS_SUCCESS) {
    status = set_value(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 8 * mask_bytes(plan.product.cols));  // in bits
  }
  if (masked && status == CUBLAS_STATUS_INVALID_VALUE) {
    return false;
  }
  check(status, "cublasLtMatmulDescSetAttribute", operation);
  // The heuristic looks at the addresses alone, for how they are aligned.
  const void* const aligned = workspace_.data() + kAlignment;
  set_pointers(operation, plan, aligned, aligned);
  return true;
}

/// cuBLASLt's matrices are column-major, ours row-major, and what is one [r, c] is the other's [c, r]. So
/// out = first second is asked for as out^T = second^T first^T, where the transposes cost nothing:
///   D = out^T, A = second^T, B = first^T; m = cols, n = rows, k = depth.
/// A bias to add has one element for every row of D, that is for every column of out. The gradient of one has, with
/// BGRADB, one for every column of D and is the sum of op(B) over k: for every row of out the sum of what `first` has
/// there. A mask has a bit for every element of D, column by column of it: row by row of out.
std::unique_ptr<CublasLt::Plan> CublasLt::make_plan(const char* operation, const Product& product) const {
  auto plan = std::make_unique<Plan>(functions_, product);
  const cublasComputeType_t compute =
      product.precision == ProductPrecision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  check(functions_.desc_create(&plan->desc, compute, CUDA_R_32F), "cublasLtMatmulDescCreate", operation);
  const auto set_value = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    set(operation, *plan, attribute, &value, sizeof(value));
  };
  const auto operation_of = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set_value(CUBLASLT_MATMUL_DESC_TRANSA, operation_of(product.second_transposed));
  set_value(CUBLASLT_MATMUL_DESC_TRANSB, operation_of(product.first_transposed));
  if (!set_epilogue(operation, *plan)) {
    return plan;
  }

  const cudaDataType_t type = product.precision == ProductPrecision::bf16 ? CUDA_R_16BF : CUDA_R_32F;
  const cudaDataType_t out_type = product.out == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
  const auto make_layout = [&](cublasLtMatrixLayout_t& layout, cudaDataType_t element, std::int64_t rows,
                               std::int64_t cols, std::int64_t ld) {
    check(functions_.layout_create(&layout, element, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols),
                                   ld),
          "cublasLtMatrixLayoutCreate", operation);
  };
  const auto make_operand = [&](cublasLtMatrixLayout_t& layout, bool transposed, std::int64_t lines, std::int64_t ld) {
    make_layout(layout, type, transposed ? product.depth : lines, transposed ? lines : product.depth, ld);
  };
  make_operand(plan->second, product.second_transposed, product.cols, product.second_ld);
  // What multiplies from the left is the first operand for us, the second one for the library.
  make_operand(plan->first, !product.first_transposed, product.rows, product.first_ld);
  make_layout(plan->out, out_type, product.cols, product.rows, product.out_ld);

  choose_algorithm(operation, *plan);
  return plan;
}

void CublasLt::choose_algorithm(const char* operation, Plan& plan) const {
  cublasLtMatmulPreference_t made = nullptr;
  check(functions_.preference_create(&made), "cublasLtMatmulPreferenceCreate", operation);
  const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, decltype(functions_.preference_destroy)> preference(
      made, functions_.preference_destroy);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(functions_.preference_set(preference.get(), attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute", operation);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_);
  // The library takes 256 for granted.
  const auto element = static_cast<std::uint32_t>(size_of(plan.product.out));
  const bool rows_aligned = plan.product.out_ld * element % kAlignment == 0;
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES}) {
    prefer(attribute, kAlignment);
  }
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(attribute, rows_aligned ? kAlignment : element);
  }
  if (plan.product.out == DType::bf16) {
    // Where a product is cut into stretches of its depth: not summed up in bf16.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  }
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = functions_.get_heuristic(handle_, plan.desc, plan.second, plan.first, plan.out,
                                                         plan.out, preference.get(), 1, &result, &found);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) {
    check(status, "cublasLtMatmulAlgoGetHeuristic", operation);
    if (found > 0 && result.state == CUBLAS_STATUS_SUCCESS) {
      plan.algorithm = result.algo;
    }
  }
}

}  // namespace curate::cuda
