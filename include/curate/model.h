#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/export.h"
#include "curate/kinds.h"
#include "curate/metrics.h"

namespace curate {

/// A dense array of float32, row-major.
struct CURATE_API Tensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

using TensorMap = std::map<std::string, Tensor>;

/// What a model computes, apart from its tensors.
struct CURATE_API ModelSpec {
  std::string kind = "mf";  ///< mf, mlp, neumf, bias; ensemble
  /// mlp, neumf: of every dense layer, the last included: linear, relu, tanh, sigmoid (which maps to output_min ..
  /// output_max in the last layer, to 0 .. 1 in others). A relu ends at output_floor in the last layer, at 0 in others.
  std::vector<std::string> activations;
  float output_min = 0.0F;
  float output_max = 1.0F;
  float output_floor = 0.0F;
  bool product = false;            ///< mlp: the dot product of the embeddings is added to the output
  RatingTransform transform = {};  ///< of ratings: what the tensors and the outputs' limits are meant in
  std::vector<Feature> features;
};

/// A member of an ensemble.
struct CURATE_API ModelMember {
  ModelSpec spec;  ///< without features: they are the ensemble's
  TensorMap tensors;
};

/// Where to compute.
struct CURATE_API ComputeOptions {
  std::string device = "auto";  ///< auto, cpu, cuda, cuda:N (the GPU numbered N)
  std::int32_t threads = 0;     ///< CPU threads; 0: all
};

/// What a prediction rests on.
enum class PredictionBasis : std::uint8_t {
  model,      ///< user and item have training ratings
  features,   ///< the model, but the user or the item has no training rating: its features stand for it
  user_mean,  ///< the item is unknown: global mean and the user's damped mean offset
  item_mean,  ///< the user is unknown: global mean and the item's damped mean offset
  global_mean,
};

CURATE_API const char* name_of(PredictionBasis basis);

struct CURATE_API Prediction {
  float rating = 0.0F;
  PredictionBasis basis = PredictionBasis::model;
  /// Of an ensemble: the sample standard deviation of its members' predictions, before they are clipped. Nothing for
  /// one model, and where no member predicts.
  std::optional<float> spread = std::nullopt;
};

/// A trained model with all that predicting needs: parameters, ids, titles, training counts and the fallback for users
/// and items that training has not seen, which is the bias model of the training ratings. A model never changes: copies
/// share what it consists of, and any number of threads may use it.
class CURATE_API Model {
 public:
  /// `tensors` of mf: user.embedding [users, dim], item.embedding [items, dim], user.bias [users] and item.bias [items]
  /// (both or none), global_mean [1]. Of mlp: user.embedding [users, user_dim], item.embedding [items, item_dim],
  /// dense.L.weight [outputs, inputs] and dense.L.bias [outputs] for L = 0, 1, ...; the first layer's inputs are
  /// user_dim + item_dim + those of all features, the last one's outputs 1. Of neumf: those of mlp and user.factors
  /// [users, factors], item.factors [items, factors]. Of bias: user.bias [users], item.bias [items], global_mean [1].
  /// For every feature SIDE.NAME.embedding [values, its dim], in mf
  /// [values, dim] and, with biases, SIDE.NAME.bias [values]. Of all: fallback.user [users], fallback.item [items],
  /// fallback.mean [1]. The counts are training ratings by dense id. Throws InputError if they do not fit together.
  ///
  /// An ensemble predicts the mean of its 2 to 64 members' predictions. Each has a spec and tensors of its own; `spec`
  /// has the kind "ensemble" and the features, `tensors` the fallback.* alone.
  struct Parts {
    ModelSpec spec;
    TensorMap tensors;
    std::vector<ModelMember> members = {};  ///< empty: one model
    IdMap users;
    IdMap items;
    std::vector<std::int64_t> user_counts;
    std::vector<std::int64_t> item_counts;
    std::vector<ItemInfo> item_info;
    RatingScale scale;
    bool clip = true;
  };
  explicit Model(Parts parts);
  Model(const Model&) = default;  // moving is copying: no model is ever empty
  Model& operator=(const Model&) = default;

  /// Reads model.safetensors, users.tsv, items.tsv and features.json of a run directory: all of one model, even while
  /// another one is written there. Throws InputError naming file and remedy.
  static Model load(const std::string& run_directory);
  /// Writes these files, all of them or none, in place of those of a model that was there; creates the directory.
  /// Throws InputError where nothing can be written there or another process is at work.
  void save(const std::string& run_directory) const;

  const Parts& parts() const { return *parts_; }

  /// As a Predictor that is opened for this one call: it opens the device. A GPU, and the CPU engine for a network or
  /// features, get all parameters; those of mf alone the CPU engine reads where they are. Make a Predictor for more
  /// than one call.
  std::vector<Prediction> predict(std::span<const RawPair> pairs, const ComputeOptions& compute = {}) const;
  /// Likewise.
  Metrics evaluate(const RatingTable& ratings, const ComputeOptions& compute = {}) const;

  /// `ratings` of a data set with ids of its own, in the model's dense ids; unknown ids become -1, which evaluate takes
  /// as cold.
  RatingTable translate(const Dataset& dataset, const RatingTable& ratings) const;

 private:
  std::shared_ptr<const Parts> parts_;
};

}  // namespace curate
