#pragma once

#include <cstdint>
#include <vector>

#include "curate/feature.h"
#include "curate/options.h"

namespace curate {

/// What a feature takes its memory for.
struct FeatureSize {
  FeatureSide side = FeatureSide::item;
  std::int64_t values = 0;
  std::int64_t rows = 0;  ///< users or items
  std::int64_t ids = 0;   ///< values of all rows
  std::int64_t dim = 0;   ///< columns of its embedding
};

/// Sizes of features in a model that is trained with `resolved`, options as resolve() returns them.
std::vector<FeatureSize> feature_sizes(const TrainOptions& resolved, const std::vector<Feature>& features);

/// What training takes its memory for.
struct TrainingSize {
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::int64_t ratings = 0;  ///< of the training part, the validation slice included
  bool timestamps = true;
  bool own_memory = false;  ///< Device::has_own_memory()
  std::vector<FeatureSize> features = {};
};

/// Bytes that a training run needs at its peak. Everything but `scratch`, `gpu_scratch` and `host` lies in arrays of
/// the device and is known to the byte. R is the number of ratings trained on, V that of the validation slice (R + V =
/// ratings), U and I are the numbers of users and items, B is the batch (R if that is less), S = ceil(R / B) the steps
/// of an epoch, and p(n) is n rounded up to a multiple of 4. Networks have buffers of 128 rows at a time for batches of
/// 512 and more (batch_rows()): for them B is that in `batches` and `gpu_scratch`:
///
///   ratings     12 (R + V): user, item and rating as read; mini-batches: 12 R for those in the epoch's order and 4 R
///               for the order; per-rating SGD on a CPU: 4 R packed (8 R if they are not on a grid of half-stars)
///               and 8 U (and that again for every further group of items, of which there are as many as threads)
///   segments    2 (12 R + 4 S): every batch's rows, starts, positions and counts, for users and for items; nothing for
///               per-rating SGD
///   parameters  mf: 4 (U + I) p(dim + 1), without biases 4 (U + I) p(dim), and 4 for the mean; mlp: 4 (U p(user_dim) +
///               I p(item_dim)) and 4 (inputs + 1) outputs for every dense layer; neumf: 4 (U + I) p(factors) more;
///               features: 4 values p(dim) each, mf: 4 values p(dim + 1) with biases
///               Users' and items' embeddings and factors in 16 bits: 2 (U + I) q(dim), q(n) = n rounded up to a
///               multiple of 8, and their biases 4 (U + I)
///   features    4 (rows + 1 + ids) each; mf: 4 rows (p(dim + 1) + 1) for a side that has some, its vectors with theirs
///               (of both sides if embeddings are in 16 bits)
///   optimizer   parameters, as f32 has them (without mf's mean) x (1 for the gradient + 1 for Adagrad, 2 for Adam and
///               damped SGD; sgd+adam: 2 for what features and dense layers have); nothing for per-rating SGD
///   best        the parameters of the best epoch so far, without padding and in f32, if V > 0; per-rating SGD: and
///               one more array of the larger of the two embeddings while padded ones, or some of 16 bits, come back to
///               the host
///   batches     mf: 8 B (2 p(dim + 1) + 1), without biases 8 B (2 p(dim) + 1): gathered rows, predictions and their
///               gradients; mlp: 8 B (p(inputs) + p(outputs) of every layer), where p(1) = 1: values and their
///               gradients, and half of that once more for predicting, with B = 16384 (all but the first p(inputs)
///               and the last p(outputs) are not there if a GPU works on the layers as one stack); neumf:
///               16 B (p(factors) + 1) more, and half of that for predicting
///   scratch     mini-batches: 24 R, keys and positions while an epoch's order is drawn; per-rating SGD: the larger of
///               32 (U + I) while ratings are packed, and 4 I (dim + 1) at most, dim rounded up to a multiple of 32,
///               while the CPU trains. Left out: mlp, CPU: partial gradients of dense layers, at most 15 copies
///   gpu_scratch the same on a GPU: 24 R, keys and positions while ratings are sorted, and 16 MiB for partial sums;
///               per-rating SGD: at most 8 R (with --deterministic 12 R) + 36 U + 8 I more for the plan; mlp: 32 MiB
///               for cuBLASLt, 4 max(B, 16384) (inputs + outputs) of the widest layer while its products are tried, and
///               with --products bf16 at most 2 (max(B, 16384) (inputs + outputs) + inputs outputs) of every layer
///   host        what the data set itself takes in the host's memory: its ratings, their training part and that part
///               without the validation slice, each 12 bytes a rating and 8 more for timestamps; parameters as they
///               were drawn or as they came back (1 copy without padding); 48 bytes for every id, twice
struct MemoryEstimate {
  std::int64_t ratings = 0;
  std::int64_t segments = 0;
  std::int64_t parameters = 0;
  std::int64_t features = 0;
  std::int64_t optimizer = 0;
  std::int64_t best = 0;
  std::int64_t batches = 0;
  std::int64_t scratch = 0;
  std::int64_t gpu_scratch = 0;
  std::int64_t host = 0;

  /// In arrays of the device: TrainResult::device_bytes.
  std::int64_t arrays() const { return ratings + segments + parameters + features + optimizer + best + batches; }
  /// In all, if the host is the device.
  std::int64_t cpu() const { return arrays() + scratch + host; }
  /// On a GPU, besides what its driver takes; `host` comes on top in the host's memory.
  std::int64_t gpu() const { return arrays() + gpu_scratch; }
};

/// `resolved` as resolve() returns them.
MemoryEstimate estimate_memory(const TrainOptions& resolved, const TrainingSize& size);

}  // namespace curate
