#include "kernels/cublaslt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "kernels/find_library.h"
#include "kernels/product_trial.h"
#include "kernels/stream_timer.h"

namespace curate::cuda {
namespace {

/// The library refused a product: the caller tries another way.
struct Refused {
  std::string why;
};

/// The first function that the library lacks, or nothing.
std::string find_cublaslt_functions(void* library, CublasLtFunctions& functions) {
  std::string missing;
  find_function(library, "cublasLtGetVersion", functions.get_version, missing);
  find_function(library, "cublasLtGetStatusName", functions.status_name, missing);
  find_function(library, "cublasLtCreate", functions.create, missing);
  find_function(library, "cublasLtDestroy", functions.destroy, missing);
  find_function(library, "cublasLtMatmulDescCreate", functions.desc_create, missing);
  find_function(library, "cublasLtMatmulDescDestroy", functions.desc_destroy, missing);
  find_function(library, "cublasLtMatmulDescSetAttribute", functions.desc_set, missing);
  find_function(library, "cublasLtMatrixLayoutCreate", functions.layout_create, missing);
  find_function(library, "cublasLtMatrixLayoutDestroy", functions.layout_destroy, missing);
  find_function(library, "cublasLtMatmulPreferenceCreate", functions.preference_create, missing);
  find_function(library, "cublasLtMatmulPreferenceDestroy", functions.preference_destroy, missing);
  find_function(library, "cublasLtMatmulPreferenceSetAttribute", functions.preference_set, missing);
  find_function(library, "cublasLtMatmulAlgoGetHeuristic", functions.get_heuristic, missing);
  find_function(library, "cublasLtMatmulAlgoCheck", functions.algo_check, missing);
  find_function(library, "cublasLtMatmulAlgoConfigSetAttribute", functions.config_set, missing);
  find_function(library, "cublasLtMatmulAlgoConfigGetAttribute", functions.config_get, missing);
  find_function(library, "cublasLtMatmul", functions.matmul, missing);
  return missing;
}

/// 130100 as 13.1.0; before version 12 there was a digit less, 11803 was 11.8.3.
std::string version_text(std::size_t version) {
  const std::size_t major = version >= 100000 ? version / 10000 : version / 1000;
  return fmt::format("{}.{}.{}", major, version / 100 % (version >= 100000 ? 100 : 10), version % 100);
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

/// What was timed in this process, for all devices of it.
struct TimedChoices {
  std::mutex mutex;
  std::vector<std::pair<Product, cublasLtMatmulAlgo_t>> choices;
};
TimedChoices& timed_choices() {
  static TimedChoices choices;
  return choices;
}

constexpr float kBusy = 0.5F;  ///< waves of blocks: half of the GPU

}  // namespace

std::optional<CublasLtFunctions> find_cublaslt(std::string& problem) {
  return find_library<CublasLtFunctions>("libcublasLt.so", find_cublaslt_functions, problem);
}

std::string describe_cublaslt() {
  std::string problem;
  const std::optional<CublasLtFunctions> functions = find_cublaslt(problem);
  return functions ? fmt::format("{} ({})", version_text(functions->get_version()), functions->file)
                   : fmt::format("not used, wide dense layers are slower: {}", problem);
}

/// A product with what the library needs for it.
struct CublasLt::Prepared {
  Prepared(const CublasLtFunctions& library, const Product& what) : functions(&library), product(what) {}
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  ~Prepared() {
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
  std::vector<Candidate> candidates;   ///< the library's, in its order, then one that we split
  std::optional<Candidate> algorithm;  ///< none: `why`
  std::string why;
};

CublasLt::CublasLt(const CublasLtFunctions& functions, cudaStream_t stream, const GpuShape& gpu)
    : functions_(functions),
      stream_(stream),
      gpu_(gpu),
      workspace_bytes_(workspace_bytes(gpu)),
      workspace_(stream, static_cast<std::int64_t>(workspace_bytes_)) {
  check(functions_.create(&handle_), "cublasLtCreate", "setting up");
}

CublasLt::~CublasLt() {
  prepared_.clear();
  functions_.destroy(handle_);
}

std::string CublasLt::name_of(cublasStatus_t status) const {
  return fmt::format("{} of {}", functions_.status_name(status), functions_.file);
}

void CublasLt::require(cublasStatus_t status, const char* call) const {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Refused{fmt::format("{}: {}", call, name_of(status))};
  }
}

void CublasLt::check(cublasStatus_t status, const char* call, const char* operation) const {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw_library_error(operation, call, name_of(status));
  }
}

CublasLt::Prepared* CublasLt::find(const Product& product) const {
  const auto found = std::find_if(prepared_.begin(), prepared_.end(), [&](const std::unique_ptr<Prepared>& prepared) {
    return prepared->product == product;
  });
  return found == prepared_.end() ? nullptr : found->get();
}

bool CublasLt::prepare(const char* operation, const Product& product) {
  if (const Prepared* const known = find(product)) {
    return known->algorithm.has_value();
  }
  auto prepared = std::make_unique<Prepared>(functions_, product);
  try {
    describe(*prepared);
    ProductTrial trial(stream_, product);
    if (std::getenv("CURATE_TIME_PRODUCTS") != nullptr) {
      choose_fastest(operation, *prepared, trial);
    } else {
      choose(operation, *prepared, trial);
    }
  } catch (const Refused& refused) {
    cudaGetLastError();  // so that the next call does not report it
    prepared->why = refused.why;
  }
  prepared_.push_back(std::move(prepared));
  return prepared_.back()->algorithm.has_value();
}

std::string CublasLt::why(const Product& product) const {
  const Prepared* const prepared = find(product);
  return prepared == nullptr ? "not asked for" : prepared->why;
}

std::string CublasLt::choice(const Product& product) const {
  const Prepared* const prepared = find(product);
  if (prepared == nullptr || !prepared->algorithm) {
    return "";
  }
  const AlgorithmTime chosen = properties(*prepared->algorithm);
  return fmt::format("algorithm {}, tile {}, {} part{}", chosen.id, chosen.tile, chosen.split_k,
                     chosen.split_k == 1 ? "" : "s");
}

void CublasLt::multiply(const char* operation, const Product& product, const ProductMemory& memory) {
  const Prepared* const prepared = find(product);
  if (prepared == nullptr || !prepared->algorithm) {
    throw std::logic_error(
        fmt::format("{}: a product that cuBLASLt was not prepared for: {}", operation, label_of(product)));
  }
  // Read when a product is enqueued, so that layers of one shape share one.
  check(set_pointers(*prepared, memory.bias, memory.mask), "cublasLtMatmulDescSetAttribute", operation);
  check(enqueue(*prepared, prepared->algorithm->algorithm, memory), "cublasLtMatmul", operation);
}

cublasStatus_t CublasLt::enqueue(const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm,
                                 const ProductMemory& memory) const {
  const float one = 1.0F;
  const float other = prepared.product.adds ? 1.0F : 0.0F;
  // Columns for rows: see describe().
  return functions_.matmul(handle_, prepared.desc, &one, memory.second, prepared.second, memory.first, prepared.first,
                           &other, memory.out, prepared.out, memory.out, prepared.out, &algorithm, workspace_.data(),
                           workspace_bytes_, stream_);
}

cublasStatus_t CublasLt::set_pointers(const Prepared& prepared, const void* bias, const void* mask) const {
  const Epilogue epilogue = prepared.product.epilogue;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  if (epilogue != Epilogue::none && epilogue != Epilogue::apply_mask) {
    status = functions_.desc_set(prepared.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(bias));
  }
  if (has_mask(epilogue) && status == CUBLAS_STATUS_SUCCESS) {
    status = functions_.desc_set(prepared.desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &mask, sizeof(mask));
  }
  return status;
}

/// Masks, and gradients of biases, are younger than the oldest library that is taken.
void CublasLt::set_epilogue(const Prepared& prepared) const {
  const auto set_value = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    require(functions_.desc_set(prepared.desc, attribute, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
  };
  set_value(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(prepared.product.epilogue));
  if (has_mask(prepared.product.epilogue)) {
    set_value(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, 8 * mask_bytes(prepared.product.cols));  // in bits
  }
  // The heuristic looks at the addresses alone, for how they are aligned.
  const void* const aligned = workspace_.data() + kProductAlignment;
  require(set_pointers(prepared, aligned, aligned), "cublasLtMatmulDescSetAttribute");
}

/// cuBLASLt's matrices are column-major, ours row-major, and what is one [r, c] is the other's [c, r]. So
/// out = first second is asked for as out^T = second^T first^T, where the transposes cost nothing:
///   D = out^T, A = second^T, B = first^T; m = cols, n = rows, k = depth.
/// A bias to add has one element for every row of D, that is for every column of out. The gradient of one has, with
/// BGRADB, one for every column of D and is the sum of op(B) over k: for every row of out the sum of what `first` has
/// there. A mask has a bit for every element of D, column by column of it: row by row of out.
void CublasLt::describe(Prepared& prepared) const {
  const Product& product = prepared.product;
  const cublasComputeType_t compute =
      product.precision == ProductPrecision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  require(functions_.desc_create(&prepared.desc, compute, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const auto set_operation = [&](cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const cublasOperation_t value = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    require(functions_.desc_set(prepared.desc, attribute, &value, sizeof(value)), "cublasLtMatmulDescSetAttribute");
  };
  set_operation(CUBLASLT_MATMUL_DESC_TRANSA, product.second_transposed);
  set_operation(CUBLASLT_MATMUL_DESC_TRANSB, product.first_transposed);
  set_epilogue(prepared);

  const auto type_of = [](DType type) { return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; };
  const auto make_layout = [&](cublasLtMatrixLayout_t& layout, DType type, std::int64_t rows, std::int64_t cols,
                               std::int64_t ld) {
    require(functions_.layout_create(&layout, type_of(type), static_cast<std::uint64_t>(rows),
                                     static_cast<std::uint64_t>(cols), ld),
            "cublasLtMatrixLayoutCreate");
  };
  const auto make_operand = [&](cublasLtMatrixLayout_t& layout, bool transposed, std::int64_t lines, std::int64_t ld) {
    make_layout(layout, product.operands(), transposed ? product.depth : lines, transposed ? lines : product.depth, ld);
  };
  make_operand(prepared.second, product.second_transposed, product.cols, product.second_ld);
  // What multiplies from the left is the first operand for us, the second one for the library.
  make_operand(prepared.first, !product.first_transposed, product.rows, product.first_ld);
  make_layout(prepared.out, product.out, product.cols, product.rows, product.out_ld);

  prepared.candidates = ask_heuristic(prepared);
  if (worth_splitting(product)) {
    const std::optional<Candidate> ours = split(prepared, prepared.candidates.front());
    const bool new_one =
        ours && std::none_of(prepared.candidates.begin(), prepared.candidates.end(), [&](const Candidate& candidate) {
          return std::memcmp(&candidate.algorithm, &ours->algorithm, sizeof(cublasLtMatmulAlgo_t)) == 0;
        });
    if (new_one) {
      prepared.candidates.push_back(*ours);
    }
  }
}

std::vector<CublasLt::Candidate> CublasLt::ask_heuristic(const Prepared& prepared) const {
  constexpr int kAsked = 8;
  cublasLtMatmulPreference_t made = nullptr;
  require(functions_.preference_create(&made), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, decltype(functions_.preference_destroy)> preference(
      made, functions_.preference_destroy);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    require(functions_.preference_set(preference.get(), attribute, &value, sizeof(value)),
            "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_);
  // The library assumes 256 unless it is told.
  const auto element = static_cast<std::uint32_t>(size_of(prepared.product.out));
  const bool rows_aligned = prepared.product.out_ld * element % kProductAlignment == 0;
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES}) {
    prefer(attribute, kProductAlignment);
  }
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    prefer(attribute, rows_aligned ? kProductAlignment : element);
  }
  if (prepared.product.out == DType::bf16) {
    // Where a product is cut into stretches of its depth: not summed up in bf16.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  }
  cublasLtMatmulHeuristicResult_t results[kAsked]{};
  int found = 0;
  require(functions_.get_heuristic(handle_, prepared.desc, prepared.second, prepared.first, prepared.out, prepared.out,
                                   preference.get(), kAsked, results, &found),
          "cublasLtMatmulAlgoGetHeuristic");
  std::vector<Candidate> candidates;
  for (int i = 0; i < found; ++i) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) {
      candidates.push_back({results[i].algo, results[i].wavesCount});
    }
  }
  if (candidates.empty()) {
    throw Refused{fmt::format("cublasLtMatmulAlgoGetHeuristic: no algorithm in {}", functions_.file)};
  }
  return candidates;
}

/// Parts of the depth that would give every multiprocessor a tile, none shorter than is worth a tile's sums.
std::int64_t CublasLt::wanted_parts(const Product& product) const {
  constexpr std::int64_t kTile = 128;
  constexpr std::int64_t kShortest = 512;
  constexpr std::int64_t kMost = 64;
  const auto across = [](std::int64_t lines) { return (lines + kTile - 1) / kTile; };
  const std::int64_t tiles = across(product.rows) * across(product.cols);
  return std::min({gpu_.multiprocessors / tiles, product.depth / kShortest, kMost});
}

bool CublasLt::worth_splitting(const Product& product) const {
  return wanted_parts(product) >= 2;
}

std::optional<CublasLt::Candidate> CublasLt::split(const Prepared& prepared, const Candidate& candidate) const {
  Candidate ours = candidate;
  const auto set = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto value) {
    return functions_.config_set(&ours.algorithm, attribute, &value, sizeof(value)) == CUBLAS_STATUS_SUCCESS;
  };
  if (!set(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, static_cast<std::int32_t>(wanted_parts(prepared.product))) ||
      !set(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE))) {
    return std::nullopt;
  }
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = functions_.algo_check(handle_, prepared.desc, prepared.second, prepared.first,
                                                      prepared.out, prepared.out, &ours.algorithm, &result);
  if (status != CUBLAS_STATUS_SUCCESS || result.state != CUBLAS_STATUS_SUCCESS ||
      result.workspaceSize > workspace_bytes_) {
    return std::nullopt;
  }
  ours.waves = result.wavesCount;
  return ours;
}

void CublasLt::choose(const char* operation, Prepared& prepared, ProductTrial& trial) const {
  std::vector<Candidate> ordered = prepared.candidates;
  if (worth_splitting(prepared.product)) {
    auto first = std::find_if(ordered.begin(), ordered.end(),
                              [](const Candidate& candidate) { return candidate.waves >= kBusy; });
    if (first == ordered.end()) {
      first = std::max_element(ordered.begin(), ordered.end(),
                               [](const Candidate& a, const Candidate& b) { return a.waves < b.waves; });
    }
    std::rotate(ordered.begin(), first, first + 1);
  }
  for (const Candidate& candidate : ordered) {
    prepared.why = try_algorithm(operation, prepared, candidate.algorithm, trial);
    if (prepared.why.empty()) {
      prepared.algorithm = candidate;
      return;
    }
  }
}

void CublasLt::choose_fastest(const char* operation, Prepared& prepared, ProductTrial& trial) const {
  constexpr int kRepeats = 5;
  TimedChoices& known = timed_choices();
  const std::lock_guard lock(known.mutex);
  for (const auto& [product, algorithm] : known.choices) {
    if (product == prepared.product && try_algorithm(operation, prepared, algorithm, trial).empty()) {
      prepared.algorithm = Candidate{algorithm, 0.0F};
      return;
    }
  }
  float least = 0.0F;
  for (const Candidate& candidate : prepared.candidates) {
    const AlgorithmTime taken = time(operation, prepared, candidate, trial, kRepeats);
    prepared.why = taken.problem.empty() ? prepared.why : taken.problem;
    if (taken.problem.empty() && (!prepared.algorithm || taken.microseconds < least)) {
      prepared.algorithm = candidate;
      least = taken.microseconds;
    }
  }
  if (prepared.algorithm) {
    prepared.why.clear();
    known.choices.emplace_back(prepared.product, prepared.algorithm->algorithm);
  }
}

std::string CublasLt::try_algorithm(const char* operation, const Prepared& prepared,
                                    const cublasLtMatmulAlgo_t& algorithm, ProductTrial& trial) const {
  trial.reset();
  cublasStatus_t status = set_pointers(prepared, trial.memory().bias, trial.memory().mask);
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = enqueue(prepared, algorithm, trial.memory());
  }
  if (status == CUBLAS_STATUS_SUCCESS) {
    return trial.right() ? "" : fmt::format("cublasLtMatmul of {} gives wrong sums", functions_.file);
  }
  // What the library could not start is this product's problem alone, unless the GPU itself has failed.
  cudaGetLastError();
  cuda::check(cudaStreamSynchronize(stream_), operation, __FILE__, __LINE__);
  return fmt::format("cublasLtMatmul: {}", name_of(status));
}

AlgorithmTime CublasLt::properties(const Candidate& candidate) const {
  AlgorithmTime result;
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto& value) {
    std::size_t written = 0;
    functions_.config_get(&candidate.algorithm, attribute, &value, sizeof(value), &written);
  };
  std::int32_t id = 0;
  std::uint32_t tile = 0;
  std::int32_t parts = 1;
  get(CUBLASLT_ALGO_CONFIG_ID, id);
  get(CUBLASLT_ALGO_CONFIG_TILE_ID, tile);
  get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, parts);
  result.id = id;
  result.tile = static_cast<int>(tile);
  result.split_k = std::max(parts, 1);
  result.waves = candidate.waves;
  return result;
}

AlgorithmTime CublasLt::time(const char* operation, const Prepared& prepared, const Candidate& candidate,
                             ProductTrial& trial, int repeats) const {
  AlgorithmTime result = properties(candidate);
  result.problem = try_algorithm(operation, prepared, candidate.algorithm, trial);  // warms up, too
  if (!result.problem.empty()) {
    return result;
  }
  const StreamTimer timer(stream_);
  std::vector<float> times;
  for (int i = 0; i < repeats; ++i) {
    timer.start();
    check(enqueue(prepared, candidate.algorithm, trial.memory()), "cublasLtMatmul", operation);
    timer.stop();
    times.push_back(1e6F * static_cast<float>(timer.seconds()));
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  result.microseconds = times[static_cast<std::size_t>(repeats / 2)];
  return result;
}

std::vector<AlgorithmTime> CublasLt::time_algorithms(const char* operation, const Product& product, int repeats) {
  if (repeats < 1) {
    throw std::invalid_argument("time_algorithms: no repeats");
  }
  std::vector<AlgorithmTime> times;
  prepare(operation, product);
  const Prepared& prepared = *find(product);
  if (prepared.candidates.empty()) {
    return times;
  }
  ProductTrial trial(stream_, product);
  for (const Candidate& candidate : prepared.candidates) {
    times.push_back(time(operation, prepared, candidate, trial, repeats));
    times.back().chosen = prepared.algorithm && std::memcmp(&prepared.algorithm->algorithm, &candidate.algorithm,
                                                            sizeof(cublasLtMatmulAlgo_t)) == 0;
  }
  return times;
}

}  // namespace curate::cuda
