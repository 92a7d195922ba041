#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "curate/model.h"
#include "models/rating_model.h"
#include "recommend/scratch_pool.h"

namespace curate {

/// Predicts one pair on the caller's thread, from the parameters as the host has them. Any thread may call it.
class PairScorer {
 public:
  /// Of a model, or of that member of an ensemble. The parts have to outlive it. Throws InputError if a tensor is
  /// missing or misshapen.
  explicit PairScorer(const Model::Parts& parts, std::size_t member = 0);

  /// From now on it reads mf's rows there, in the host's memory, where factors and bias may lie side by side in large
  /// pages. The tables have the model's parameters and have to outlive it.
  void read_from(const MfTables& tables);

  /// Asks the memory for what score() reads of a user or an item; -1: of none.
  void fetch_user(std::int32_t user) const { fetch(user_, user); }
  void fetch_item(std::int32_t item) const { fetch(item_, item); }

  /// The model's prediction, not clipped, for dense ids of the model. mf: to the bit what a block gives on the CPU
  /// engine. Throws std::bad_alloc alone, and only if a row needs more than kStackFloats.
  float score(std::int32_t user, std::int32_t item) const;

  /// Floats of working memory up to which none comes from the heap.
  static constexpr std::size_t kStackFloats = 4096;

 private:
  /// [rows, cols]; absent if `values` is null.
  struct Table {
    const float* values = nullptr;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    std::int64_t ld = 0;

    const float* row(std::int32_t r) const { return values + r * ld; }
  };

  /// What users have, or items.
  struct Side {
    Table embedding;
    Table bias;     ///< mf, or absent
    Table factors;  ///< neumf, or absent
  };

  /// What the values of a feature have.
  struct FeatureTables {
    const Feature* feature = nullptr;
    Table embedding;
    Table bias;  ///< mf, or absent
  };

  struct DenseTables {
    Table weight;
    const float* bias = nullptr;
    Activation activation;
  };

  static Table table_of(const TensorMap& tensors, const std::string& name);
  static Side side_of(const TensorMap& tensors, const std::string& name);
  static void fetch(const Side& side, std::int32_t id);

  void add_features(float* row, float* scratch, FeatureSide side, std::int32_t id) const;
  float score_mf(std::int32_t user, std::int32_t item) const;
  float score_mf_with_features(std::int32_t user, std::int32_t item, float* scratch) const;
  float score_network(std::int32_t user, std::int32_t item, float* scratch) const;

  bool network_ = false;
  bool product_ = false;  ///< of the embeddings, which the network adds to its output
  Side user_;
  Side item_;
  std::vector<FeatureTables> features_;
  float mean_ = 0.0F;                ///< mf
  std::vector<DenseTables> layers_;  ///< networks
  std::int64_t row_floats_ = 0;      ///< of a row in working memory
  std::unique_ptr<ScratchPool> scratch_;
};

}  // namespace curate
