#include "train/memory_estimate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "device/device.h"
#include "models/batch_walk.h"
#include "models/rating_model.h"
#include "solvers/mini_batch.h"

namespace curate {
namespace {

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kState = sizeof(StepState) + sizeof(ErrorSums);

std::int64_t padded(std::int64_t columns) {
  return (columns + 3) / 4 * 4;
}

bool in_16_bits(const TrainOptions& options) {
  return storage_of(options) != DType::f32;
}

/// Bytes of a table of users or items as it is stored.
std::int64_t stored_table(const TrainOptions& options, std::int64_t rows, std::int64_t columns, bool with_bias) {
  if (!in_16_bits(options)) {
    return kFloat * rows * padded(columns + (with_bias ? 1 : 0));
  }
  constexpr std::int64_t kHalf = 2;
  return rows * (kHalf * ((columns + 7) / 8 * 8) + (with_bias ? kFloat : 0));
}

/// Columns of a layer's values; a single one is not padded.
std::int64_t padded_values(std::int64_t columns) {
  return columns == 1 ? 1 : padded(columns);
}

/// A model's size in floats.
struct ModelSize {
  std::int64_t embeddings = 0;  ///< of users and items, with padding
  std::int64_t stored = 0;      ///< their bytes, as they are stored
  std::int64_t shared = 0;      ///< features' embeddings, with padding, and dense layers
  std::int64_t untrained = 0;
  std::int64_t plain = 0;     ///< all parameters without padding
  std::int64_t transfer = 0;  ///< the largest array that is copied to lose its padding
  std::int64_t batch = 0;     ///< per rating of a batch, values and gradients
  std::int64_t predicting = 0;
  std::int64_t products = 0;  ///< bytes that a GPU takes for dense layers
};

ModelSize mf_size(const TrainOptions& options, const TrainingSize& size) {
  const std::int64_t dim = options.dim.value();
  const std::int64_t columns = dim + (options.biases ? 1 : 0);
  ModelSize model;
  model.embeddings = (size.users + size.items) * padded(columns);
  model.stored = stored_table(options, size.users + size.items, dim, options.biases);
  model.untrained = 1;
  model.plain = (size.users + size.items) * columns + 1;
  std::int64_t longest = std::max(size.users, size.items);
  for (const FeatureSize& feature : size.features) {
    model.shared += feature.values * padded(columns);
    model.plain += feature.values * columns;
    longest = std::max(longest, feature.values);
  }
  model.transfer = padded(columns) == dim && !in_16_bits(options) ? 0 : longest * dim;
  model.batch = 2 * (2 * padded(columns) + 1);
  return model;
}

ModelSize mlp_size(const TrainOptions& options, const TrainingSize& size) {
  ModelSize model;
  const auto add_table = [&](std::int64_t& elements, std::int64_t rows, std::int64_t columns, bool converted) {
    elements += rows * padded(columns);
    model.plain += rows * columns;
    model.transfer = std::max(model.transfer, padded(columns) == columns && !converted ? 0 : rows * columns);
  };
  const auto add_rows = [&](std::int64_t rows, std::int64_t columns) {
    add_table(model.embeddings, rows, columns, in_16_bits(options));
    model.stored += stored_table(options, rows, columns, false);
  };
  add_rows(size.users, options.user_dim.value());
  add_rows(size.items, options.item_dim.value());
  std::int64_t width = options.user_dim.value() + options.item_dim.value();
  for (const FeatureSize& feature : size.features) {
    add_table(model.shared, feature.values, feature.dim, false);
    width += feature.dim;
  }
  constexpr std::int64_t kWorkspace = std::int64_t{32} << 20U;
  const std::int64_t rows = std::max(batch_rows(options.batch.value()), kPredictionBatch);
  std::int64_t rounded = 0;
  std::int64_t tried = 0;
  std::int64_t values = padded_values(width);
  const std::vector<std::int64_t> widths = layer_widths(options);
  for (std::size_t layer = 0; layer < widths.size(); ++layer) {
    const std::int64_t dense = (width + 1) * widths[layer];
    model.shared += dense;
    model.plain += dense;
    if (options.products == ProductPrecision::bf16) {
      rounded += 2 * (rows * (width + widths[layer]) + width * widths[layer]);
    }
    tried = std::max(tried, kFloat * rows * (width + widths[layer]));
    width = widths[layer];
    // A dropout after a hidden layer has values of its own.
    const bool dropout = options.dense_dropout.value() > 0.0 && layer + 1 < widths.size();
    values += padded_values(width) * (dropout ? 2 : 1);
  }
  model.batch = 2 * values;
  if (options.model == ModelKind::neumf) {
    const std::int64_t factors = options.factors.value();
    add_rows(size.users, factors);
    add_rows(size.items, factors);
    const std::int64_t dot = 2 * padded_values(factors) + 1;
    model.untrained = 1;
    model.batch += 2 * dot;
    values += dot;
  }
  model.predicting = kPredictionBatch * values;
  model.products = kWorkspace + rounded + tried;
  return model;
}

}  // namespace

std::vector<FeatureSize> feature_sizes(const TrainOptions& resolved, const std::vector<Feature>& features) {
  const std::vector<std::int64_t> dims = feature_dims(resolved, features);
  std::vector<FeatureSize> sizes;
  for (std::size_t f = 0; f < features.size(); ++f) {
    const Feature& feature = features[f];
    sizes.push_back({feature.side, static_cast<std::int64_t>(feature.values.size()), feature.rows(),
                     static_cast<std::int64_t>(feature.ids.size()), dims[f]});
  }
  return sizes;
}

MemoryEstimate estimate_memory(const TrainOptions& resolved, const TrainingSize& size) {
  const bool per_rating = solver_of(resolved) == SolverKind::per_rating_sgd;
  const OptimizerOptions optimizer = mini_batch_options(resolved).optimizer;
  const ModelSize model = is_network(resolved.model) ? mlp_size(resolved, size) : mf_size(resolved, size);
  const auto held_out = static_cast<std::int64_t>(std::round(resolved.validation * static_cast<double>(size.ratings)));
  const std::int64_t validation = size.ratings < 2 ? 0 : std::min(held_out, size.ratings - 1);
  const std::int64_t trained = size.ratings - validation;
  const std::int64_t batch = std::max<std::int64_t>(1, std::min(resolved.batch.value(), trained));
  const std::int64_t steps = (trained + batch - 1) / batch;

  MemoryEstimate bytes;
  bytes.ratings = 12 * (trained + validation) + kState;
  if (per_rating) {
    // On a GPU the plan is scratch memory.
    bytes.ratings += size.own_memory ? 0 : 4 * trained + 8 * std::min(size.users, trained);
    const std::int64_t item_row = (resolved.dim.value() + 31) / 32 * 32 + 1;
    bytes.scratch = std::max(32 * (size.users + size.items), kFloat * size.items * item_row);
  } else {
    bytes.ratings += 16 * trained;
    bytes.scratch = 24 * trained;
  }
  constexpr std::int64_t kPartialSums = std::int64_t{16} << 20U;
  // Of per-rating SGD: packed ratings and, if deterministic, their users; counts; pieces of users.
  const std::int64_t planned = (resolved.deterministic ? 12 : 8) * trained + 36 * size.users + 8 * size.items;
  bytes.gpu_scratch = 24 * trained + kPartialSums + model.products + (per_rating ? planned : 0);
  bytes.parameters = model.stored + kFloat * (model.shared + model.untrained);
  for (const FeatureSize& feature : size.features) {
    bytes.features += 4 * (feature.rows + 1 + feature.ids);
  }
  for (const FeatureSide side : {FeatureSide::user, FeatureSide::item}) {
    const bool any = std::any_of(size.features.begin(), size.features.end(),
                                 [side](const FeatureSize& feature) { return feature.side == side; });
    // With features of one side the other is summed in f32 too.
    const bool whole = any || (in_16_bits(resolved) && !size.features.empty());
    if (whole && !is_network(resolved.model)) {
      const std::int64_t rows = side == FeatureSide::user ? size.users : size.items;
      bytes.features += kFloat * rows * (padded(resolved.dim.value() + (resolved.biases ? 1 : 0)) + 1) +
                        static_cast<std::int64_t>(sizeof(StepState));
    }
  }
  if (!per_rating) {
    // The gradient, and the optimizer's moments.
    const auto slots = [](const OptimizerParams& params) {
      return 1 + (params.kind == OptimizerKind::adam ? 2 : params.kind == OptimizerKind::adagrad ? 1 : 0);
    };
    bytes.segments = 2 * (12 * trained + 4 * steps);
    bytes.optimizer = kFloat * (slots(optimizer.rows) * model.embeddings + slots(optimizer.dense()) * model.shared);
    bytes.batches =
        kFloat * (model.batch * (is_network(resolved.model) ? batch_rows(batch) : batch) + model.predicting);
  }
  // Mini-batches give back their gradients before parameters come to the host.
  bytes.best = kFloat * ((validation > 0 ? model.plain : 0) + (per_rating ? model.transfer : 0));
  const std::int64_t rating = 12 + (size.timestamps ? 8 : 0);
  bytes.host = 3 * rating * size.ratings + kFloat * model.plain + 2 * 48 * (size.users + size.items);
  return bytes;
}

}  // namespace curate
