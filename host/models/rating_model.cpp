#include "models/rating_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "curate/error.h"
#include "support/philox.h"
#include "support/printable.h"
#include "support/thread_pool.h"

namespace curate {
namespace {

/// `step` tells draws for one purpose apart.
std::vector<float> draw(const TrainOptions& options, std::int64_t count, RandomPurpose purpose,
                        std::uint32_t step = 0) {
  std::vector<float> values(static_cast<std::size_t>(count));
  const double scale = options.init_scale.value();
  const bool uniform = options.init == InitKind::uniform;
  constexpr std::int64_t kGrain = std::int64_t{1} << 16U;
  ThreadPool pool(count <= kGrain ? 1 : options.threads > 0 ? options.threads : hardware_threads());
  pool.parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t e = begin; e < end; ++e) {
      const PhiloxWords words = philox(options.seed, static_cast<std::uint64_t>(e), step, purpose);
      const double unit = uniform ? 2.0 * uniform_double(words.low64()) - 1.0 : normal_double(words);
      values[static_cast<std::size_t>(e)] = static_cast<float>(scale * unit);
    }
  });
  return values;
}

const Tensor& find_tensor(const TensorMap& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw InputError(fmt::format("the model has no tensor {}; train it again", name));
  }
  return found->second;
}

const Tensor& find_matrix(const TensorMap& tensors, const std::string& name) {
  const Tensor& tensor = find_tensor(tensors, name);
  if (tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] < 1) {
    throw InputError(fmt::format("tensor {} is not a matrix; train the model again", name));
  }
  return tensor;
}

std::int64_t elements_of(const TensorMap& tensors, const std::string& name) {
  return static_cast<std::int64_t>(find_tensor(tensors, name).values.size());
}

void need_elements(const TensorMap& tensors, const std::string& name, std::int64_t elements) {
  if (const std::int64_t found = elements_of(tensors, name); found != elements) {
    throw InputError(fmt::format("tensor {} has {} elements, not {}; train the model again", name, found, elements));
  }
}

/// `floor` of a relu, `low` and `high` of a sigmoid.
Activation make_activation(const std::string& name, float floor, float low, float high) {
  if (const std::optional<ActivationKind> kind = find_kind<ActivationKind>(name)) {
    return *kind == ActivationKind::sigmoid ? Activation{*kind, low, high}
           : *kind == ActivationKind::relu  ? Activation{*kind, floor}
                                            : Activation{*kind};
  }
  throw InputError(fmt::format("the model has an activation '{}', not known to this version", printable(name)));
}

/// Of every dense layer: the last one's range is the output's.
std::vector<Activation> activations_of(const ModelSpec& spec) {
  std::vector<Activation> activations;
  for (std::size_t layer = 0; layer < spec.activations.size(); ++layer) {
    const bool last = layer + 1 == spec.activations.size();
    activations.push_back(
        last ? make_activation(spec.activations[layer], spec.output_floor, spec.output_min, spec.output_max)
             : make_activation(spec.activations[layer], 0.0F, 0.0F, 1.0F));
  }
  return activations;
}

/// Checks a matrix of `rows` rows and `dim` columns (0: any), and returns its columns.
std::int64_t need_rows(const TensorMap& tensors, const std::string& name, std::int64_t rows, std::int64_t dim = 0) {
  const Tensor& tensor = find_matrix(tensors, name);
  if (tensor.shape[0] != rows || (dim > 0 && tensor.shape[1] != dim)) {
    throw InputError(fmt::format("tensor {} is [{}, {}], not [{}, {}]; train the model again", printable(name),
                                 tensor.shape[0], tensor.shape[1], rows,
                                 dim > 0 ? fmt::format("{}", dim) : std::string("any")));
  }
  return tensor.shape[1];
}

/// The same of the embedding of a feature's values.
std::int64_t need_embedding(const TensorMap& tensors, const Feature& feature, std::int64_t dim = 0) {
  return need_rows(tensors, feature.prefix() + ".embedding", static_cast<std::int64_t>(feature.values.size()), dim);
}

/// Uniform with the variance 2 / (inputs + outputs).
Tensor draw_glorot(std::uint64_t seed, std::int64_t outputs, std::int64_t inputs, std::size_t layer) {
  const double limit = std::sqrt(6.0 / static_cast<double>(inputs + outputs));
  Tensor tensor = {{outputs, inputs}, std::vector<float>(static_cast<std::size_t>(outputs * inputs))};
  for (std::size_t e = 0; e < tensor.values.size(); ++e) {
    const PhiloxWords words = philox(seed, e, static_cast<std::uint32_t>(layer), RandomPurpose::initial_dense);
    tensor.values[e] = static_cast<float>(limit * (2.0 * uniform_double(words.low64()) - 1.0));
  }
  return tensor;
}

/// The z at which the output is `mean`.
double inverse_output(const ModelSpec& spec, double mean) {
  if (spec.activations.back() != "sigmoid") {
    return mean;
  }
  const auto low = static_cast<double>(spec.output_min);
  const auto high = static_cast<double>(spec.output_max);
  const double share = std::clamp((mean - low) / (high - low), 0.01, 0.99);
  return std::log(share / (1.0 - share));
}

void add_feature_embeddings(TensorMap& tensors, const TrainOptions& resolved, const ModelSpec& spec) {
  const std::vector<std::int64_t> dims = feature_dims(resolved, sources_of(spec.features));
  for (std::size_t f = 0; f < spec.features.size(); ++f) {
    const std::string prefix = spec.features[f].prefix();
    const auto values = static_cast<std::int64_t>(spec.features[f].values.size());
    const auto zeros = [](std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count), 0.0F); };
    tensors[prefix + ".embedding"] = {
        {values, dims[f]},
        is_network(spec.kind)
            ? draw(resolved, values * dims[f], RandomPurpose::initial_features, static_cast<std::uint32_t>(f))
            : zeros(values * dims[f])};
    if (resolved.biases && !is_network(spec.kind)) {
      tensors[prefix + ".bias"] = {{values}, zeros(values)};
    }
  }
}

void add_dense_parameters(TensorMap& tensors, const TrainOptions& resolved, const ModelSpec& spec, double global_mean) {
  std::int64_t inputs = resolved.user_dim.value() + resolved.item_dim.value();
  for (const std::int64_t dim : feature_dims(resolved, sources_of(spec.features))) {
    inputs += dim;
  }
  const std::vector<std::int64_t> widths = layer_widths(resolved);
  for (std::size_t layer = 0; layer < widths.size(); ++layer) {
    const std::int64_t outputs = widths[layer];
    tensors[fmt::format("dense.{}.weight", layer)] = draw_glorot(resolved.seed, outputs, inputs, layer);
    const bool last = layer + 1 == widths.size();
    const double bias = last && resolved.global_mean ? inverse_output(spec, global_mean) : 0.0;
    tensors[fmt::format("dense.{}.bias", layer)] = {
        {outputs}, std::vector<float>(static_cast<std::size_t>(outputs), static_cast<float>(bias))};
    inputs = outputs;
  }
}

}  // namespace

bool is_network(const std::string& kind) {
  const std::optional<ModelKind> model = find_kind<ModelKind>(kind);
  return model && is_network(*model);
}

std::vector<std::int64_t> layer_widths(const TrainOptions& resolved) {
  const std::vector<std::int32_t>& hidden = resolved.layers.value();
  std::vector<std::int64_t> widths(hidden.begin(), hidden.end());
  widths.push_back(1);
  return widths;
}

std::int64_t default_feature_dim(std::int64_t values) {
  const double dim = std::ceil(2.0 * std::pow(static_cast<double>(values), 0.25));
  return std::min<std::int64_t>(16, static_cast<std::int64_t>(dim));
}

std::vector<std::int64_t> feature_dims(const TrainOptions& resolved, const std::vector<FeatureSource>& features) {
  std::vector<std::int64_t> dims;
  for (const FeatureSource& feature : features) {
    dims.push_back(is_network(resolved.model) ? default_feature_dim(feature.values) : resolved.dim.value());
  }
  for (const auto& [name, dim] : resolved.feature_dim) {
    bool found = false;
    for (std::size_t f = 0; f < features.size(); ++f) {
      if (name.empty() || name == features[f].name) {
        dims[f] = dim;
        found = true;
      }
    }
    if (!found) {
      throw InputError("feature_dim",
                       name.empty() ? fmt::format("{}", dim) : fmt::format("{}={}", printable(name), dim),
                       fmt::format("there is no feature {}; name one of `features`", printable(name)));
    }
  }
  return dims;
}

namespace {

/// Of the bias model as mf has it: with one factor, which is 0.
MfShape bias_shape_of(const TensorMap& tensors) {
  const MfShape shape = {elements_of(tensors, "user.bias"), elements_of(tensors, "item.bias"), 1, true, DType::f32};
  need_elements(tensors, "global_mean", 1);
  return shape;
}

TensorMap with_zero_factor(const TensorMap& tensors, const MfShape& shape) {
  TensorMap all = tensors;
  all["user.embedding"] = {{shape.users, 1}, std::vector<float>(static_cast<std::size_t>(shape.users))};
  all["item.embedding"] = {{shape.items, 1}, std::vector<float>(static_cast<std::size_t>(shape.items))};
  return all;
}

}  // namespace

bool is_bias(const ModelSpec& spec) {
  return spec.kind == name_of(ModelKind::bias);
}

MfShape mf_shape_of(const ModelSpec& spec, const TensorMap& tensors) {
  if (is_bias(spec)) {
    return bias_shape_of(tensors);
  }
  const Tensor& user = find_matrix(tensors, "user.embedding");
  const Tensor& item = find_matrix(tensors, "item.embedding");
  if (user.shape[1] != item.shape[1]) {
    throw InputError("user.embedding and item.embedding differ in width; train the model again");
  }
  const MfShape shape = {user.shape[0], item.shape[0], user.shape[1], tensors.count("user.bias") > 0, DType::f32};
  if (tensors.count("user.bias") != tensors.count("item.bias")) {
    throw InputError("the model has user.bias or item.bias without the other; train the model again");
  }
  if (shape.biases) {
    need_elements(tensors, "user.bias", shape.users);
    need_elements(tensors, "item.bias", shape.items);
  }
  need_elements(tensors, "global_mean", 1);
  for (const Feature& feature : spec.features) {
    need_embedding(tensors, feature, shape.dim);
    if (shape.biases) {
      need_elements(tensors, feature.prefix() + ".bias", static_cast<std::int64_t>(feature.values.size()));
    }
  }
  return shape;
}

MlpShape mlp_shape_of(const ModelSpec& spec, const TensorMap& tensors) {
  const Tensor& user = find_matrix(tensors, "user.embedding");
  const Tensor& item = find_matrix(tensors, "item.embedding");
  MlpShape shape = {user.shape[0], item.shape[0], user.shape[1], item.shape[1]};
  std::int64_t width = shape.user_dim + shape.item_dim;
  for (const Feature& feature : spec.features) {
    shape.feature_dims.push_back(need_embedding(tensors, feature));
    width += shape.feature_dims.back();
  }
  if (spec.kind == "neumf") {
    shape.factors = need_rows(tensors, "user.factors", shape.users);
    need_rows(tensors, "item.factors", shape.items, shape.factors);
  }
  shape.product = spec.product;
  if (shape.product && shape.user_dim != shape.item_dim) {
    throw InputError("user.embedding and item.embedding differ in width, which have a product; train the model again");
  }
  for (std::size_t layer = 0; layer < spec.activations.size(); ++layer) {
    const std::string name = fmt::format("dense.{}.weight", layer);
    const Tensor& weight = find_matrix(tensors, name);
    if (weight.shape[1] != width) {
      throw InputError(fmt::format("tensor {} has {} columns, not the {} of what goes in; train the model again", name,
                                   weight.shape[1], width));
    }
    width = weight.shape[0];
    need_elements(tensors, fmt::format("dense.{}.bias", layer), width);
    shape.layers.push_back(width);
  }
  shape.activations = activations_of(spec);
  if (shape.layers.empty() || width != 1) {
    throw InputError("the model's dense layers do not end in one output; train the model again");
  }
  return shape;
}

DType storage_of(const TrainOptions& resolved) {
  switch (resolved.precision) {
    case EmbeddingPrecision::f16:
      return DType::f16;
    case EmbeddingPrecision::bf16:
      return DType::bf16;
    case EmbeddingPrecision::f32:
      break;
  }
  return DType::f32;
}

std::unique_ptr<RatingModel> make_model(Device& device, const ModelSpec& spec, const TensorMap& tensors,
                                        DType storage) {
  if (is_bias(spec)) {
    const MfShape shape = bias_shape_of(tensors);
    std::unique_ptr<RatingModel> model = make_mf(device, shape, {});
    model->upload(with_zero_factor(tensors, shape));
    return model;
  }
  std::unique_ptr<RatingModel> model;
  if (spec.kind == "mf") {
    MfShape shape = mf_shape_of(spec, tensors);
    shape.storage = storage;
    model = make_mf(device, shape, sources_of(spec.features));
  } else if (is_network(spec.kind)) {
    MlpShape shape = mlp_shape_of(spec, tensors);
    shape.storage = storage;
    model = make_mlp(device, shape, sources_of(spec.features));
  } else {
    throw InputError(fmt::format("a model of kind '{}' is not known to this version", printable(spec.kind)));
  }
  model->upload(tensors);
  return model;
}

std::unique_ptr<RatingModel> make_new_model(Device& device, const TrainOptions& resolved, const RatingScale& scale,
                                            std::int64_t users, std::int64_t items,
                                            const std::vector<FeatureSource>& features) {
  const DType storage = storage_of(resolved);
  if (resolved.model == ModelKind::bias) {
    return make_mf(device, {users, items, 1, true, storage}, {});
  }
  if (!is_network(resolved.model)) {
    return make_mf(device, {users, items, resolved.dim.value(), resolved.biases, storage}, features);
  }
  const ModelSpec spec = model_spec(resolved, scale);
  MlpShape shape;
  shape.users = users;
  shape.items = items;
  shape.user_dim = resolved.user_dim.value();
  shape.item_dim = resolved.item_dim.value();
  shape.layers = layer_widths(resolved);
  shape.activations = activations_of(spec);
  shape.feature_dims = feature_dims(resolved, features);
  shape.factors = resolved.model == ModelKind::neumf ? resolved.factors.value() : 0;
  shape.product = spec.product;
  shape.storage = storage;
  return make_mlp(device, shape, features);
}

ModelSpec model_spec(const TrainOptions& resolved, const RatingScale& scale) {
  ModelSpec spec;
  spec.kind = name_of(resolved.model);
  if (!is_network(resolved.model)) {
    return spec;
  }
  const std::vector<ActivationKind>& activations = resolved.activations;
  for (std::size_t layer = 0; layer < resolved.layers.value().size(); ++layer) {
    spec.activations.emplace_back(name_of(activations.size() == 1 ? activations.front() : activations[layer]));
  }
  spec.activations.emplace_back(name_of(resolved.output.value()));
  // A sigmoid reaches the ends of its range at infinity only: the range is wider than the ratings'.
  const float width = scale.max > scale.min ? scale.max - scale.min : 1.0F;
  spec.output_min = scale.min - 0.1F * width;
  spec.output_max = scale.max + 0.1F * width;
  // The notebook's relu ends at 0, below any rating.
  spec.output_floor = resolved.units == UnitsKind::raw ? 0.0F : scale.min;
  spec.product = resolved.product.value_or(false);
  return spec;
}

TensorMap initial_parameters(const TrainOptions& resolved, const ModelSpec& spec, std::int64_t users,
                             std::int64_t items, double global_mean) {
  const bool network = is_network(spec.kind);
  const std::int64_t user_dim = network ? resolved.user_dim.value() : resolved.dim.value();
  const std::int64_t item_dim = network ? resolved.item_dim.value() : resolved.dim.value();
  TensorMap tensors;
  tensors["user.embedding"] = {{users, user_dim},
                               draw(resolved, users * user_dim, RandomPurpose::initial_user_embedding)};
  tensors["item.embedding"] = {{items, item_dim},
                               draw(resolved, items * item_dim, RandomPurpose::initial_item_embedding)};
  if (resolved.model == ModelKind::neumf) {
    const std::int64_t factors = resolved.factors.value();
    tensors["user.factors"] = {{users, factors}, draw(resolved, users * factors, RandomPurpose::initial_user_factors)};
    tensors["item.factors"] = {{items, factors}, draw(resolved, items * factors, RandomPurpose::initial_item_factors)};
  }
  add_feature_embeddings(tensors, resolved, spec);
  if (resolved.non_negative) {
    for (auto& [name, tensor] : tensors) {
      for (float& value : tensor.values) {
        value = value < 0.0F ? 0.0F : value;
      }
    }
  }
  if (network) {
    add_dense_parameters(tensors, resolved, spec, global_mean);
    return tensors;
  }
  if (resolved.biases) {
    tensors["user.bias"] = {{users}, std::vector<float>(static_cast<std::size_t>(users), 0.0F)};
    tensors["item.bias"] = {{items}, std::vector<float>(static_cast<std::size_t>(items), 0.0F)};
  }
  tensors["global_mean"] = {{1}, {resolved.global_mean ? static_cast<float>(global_mean) : 0.0F}};
  return tensors;
}

TensorMap flat_parameters(TensorMap first, const ModelSpec& spec) {
  const auto clear = [](Tensor& tensor) { std::fill(tensor.values.begin(), tensor.values.end(), 0.0F); };
  if (is_network(spec.kind)) {
    clear(first.at(fmt::format("dense.{}.weight", spec.activations.size() - 1)));
    for (const char* factors : {"user.factors", "item.factors"}) {
      if (const auto found = first.find(factors); found != first.end()) {
        clear(found->second);
      }
    }
    if (spec.product) {
      clear(first.at("item.embedding"));
    }
    return first;
  }
  for (auto& [name, tensor] : first) {
    if (name.ends_with(".embedding")) {
      clear(tensor);
    }
  }
  return first;
}

}  // namespace curate
