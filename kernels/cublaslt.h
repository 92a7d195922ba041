#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/product.h"
#include "kernels/scratch.h"

namespace curate::cuda {

class ProductTrial;

/// The functions of cuBLASLt that are used, found by name: half a gigabyte that programs without wide dense layers, and
/// machines without it, do not load.
struct CublasLtFunctions {
  std::string file;  ///< the library's file name

  decltype(&::cublasLtGetVersion) get_version = nullptr;
  decltype(&::cublasLtGetStatusName) status_name = nullptr;
  decltype(&::cublasLtCreate) create = nullptr;
  decltype(&::cublasLtDestroy) destroy = nullptr;
  decltype(&::cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&::cublasLtMatmulAlgoCheck) algo_check = nullptr;
  decltype(&::cublasLtMatmulAlgoConfigSetAttribute) config_set = nullptr;
  decltype(&::cublasLtMatmulAlgoConfigGetAttribute) config_get = nullptr;
  decltype(&::cublasLtMatmul) matmul = nullptr;
};

/// Looks for the library. If there is none that will do, `problem` says so in one line.
std::optional<CublasLtFunctions> find_cublaslt(std::string& problem);

/// For `doctor`: the version, or why there is none.
std::string describe_cublaslt();

/// An algorithm of the library for a product: what it is and how long it takes.
struct AlgorithmTime {
  int id = 0;                 ///< CUBLASLT_ALGO_CONFIG_ID
  int tile = 0;               ///< cublasLtMatmulTile_t
  int split_k = 1;            ///< parts of the depth that are summed up side by side
  float waves = 0.0F;         ///< of blocks on the GPU, by the library's count
  float microseconds = 0.0F;  ///< median; 0 if it does not run
  std::string problem;        ///< empty: it runs and is right
  bool chosen = false;
};

/// cuBLASLt on one stream. A product's algorithm is chosen once, before its first use, called on memory of its own and
/// compared with sums of ours (ProductTrial): one that the library does not have, that it refuses to run or that
/// computes something else is passed over, and `why()` tells. The choice is by rule and without a clock, so that one
/// version of the library on one kind of GPU gives the same bits on every run:
///
///   the library's first algorithm; for a product with few tiles and a long depth the first that keeps half of the GPU
///   busy by splitting the depth, the library's first one with the depth split by us being the last to be asked; if
///   none does, the one that keeps most of it busy.
///
/// With CURATE_TIME_PRODUCTS set in the environment the fastest of all of them is chosen by time instead, once for
/// every product of the process: then two runs may differ in their last bits.
class CublasLt {
 public:
  /// Allocates: not inside a capture. Throws DeviceError if the library does not start.
  CublasLt(const CublasLtFunctions& functions, cudaStream_t stream, const GpuShape& gpu);
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;
  ~CublasLt();

  const std::string& file() const { return functions_.file; }

  /// Chooses an algorithm, unless that was done. Returns whether there is one. Not inside a capture. Throws DeviceError
  /// if the GPU has failed. `operation` stands in errors.
  bool prepare(const char* operation, const Product& product);

  /// Why prepare() found none, in one line; empty if it did.
  std::string why(const Product& product) const;

  /// What prepare() chose: "algorithm 21, tile 20, 16 parts". Empty if it found none.
  std::string choice(const Product& product) const;

  /// Enqueues a product that prepare() has an algorithm for; inside captures too.
  void multiply(const char* operation, const Product& product, const ProductMemory& memory);

  /// The times of all algorithms that prepare() chooses from, in the library's order, then those split by us; medians
  /// of `repeats` calls. Not inside a capture. Nothing if the library has none.
  std::vector<AlgorithmTime> time_algorithms(const char* operation, const Product& product, int repeats = 5);

 private:
  struct Prepared;
  struct Candidate {
    cublasLtMatmulAlgo_t algorithm;
    float waves = 0.0F;
  };

  Prepared* find(const Product& product) const;
  /// Descriptors and, in order of preference, algorithms. Throws Refused if the library says no.
  void describe(Prepared& prepared) const;
  void set_epilogue(const Prepared& prepared) const;
  cublasStatus_t set_pointers(const Prepared& prepared, const void* bias, const void* mask) const;
  std::vector<Candidate> ask_heuristic(const Prepared& prepared) const;
  /// The first candidate with its depth split by us, if that is sound.
  std::optional<Candidate> split(const Prepared& prepared, const Candidate& candidate) const;
  bool worth_splitting(const Product& product) const;
  std::int64_t wanted_parts(const Product& product) const;
  void choose(const char* operation, Prepared& prepared, ProductTrial& trial) const;
  void choose_fastest(const char* operation, Prepared& prepared, ProductTrial& trial) const;
  /// What is wrong with an algorithm: it does not run, or computes something else. Empty: nothing.
  std::string try_algorithm(const char* operation, const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm,
                            ProductTrial& trial) const;
  AlgorithmTime time(const char* operation, const Prepared& prepared, const Candidate& candidate, ProductTrial& trial,
                     int repeats) const;
  AlgorithmTime properties(const Candidate& candidate) const;
  /// With the pointers that were set last.
  cublasStatus_t enqueue(const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm,
                         const ProductMemory& memory) const;
  std::string name_of(cublasStatus_t status) const;
  void require(cublasStatus_t status, const char* call) const;
  void check(cublasStatus_t status, const char* call, const char* operation) const;

  CublasLtFunctions functions_;
  cudaStream_t stream_;
  GpuShape gpu_;
  std::size_t workspace_bytes_;
  Scratch<std::byte> workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::vector<std::unique_ptr<Prepared>> prepared_;  ///< a few: three or four for each layer
};

}  // namespace curate::cuda
