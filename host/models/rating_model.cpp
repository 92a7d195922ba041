#include "models/rating_model.h"

#include <fmt/format.h>

#include "curate/error.h"
#include "models/embedding_table.h"
#include "support/philox.h"

namespace curate {
namespace {

std::vector<float> draw(const TrainOptions& options, std::int64_t count, RandomPurpose purpose) {
  std::vector<float> values(static_cast<std::size_t>(count));
  const bool uniform = options.init == "uniform";
  for (std::int64_t e = 0; e < count; ++e) {
    const PhiloxWords words = philox(options.seed, static_cast<std::uint64_t>(e), 0, purpose);
    const double unit = uniform ? 2.0 * uniform_double(words.low64()) - 1.0 : normal_double(words);
    values[static_cast<std::size_t>(e)] = static_cast<float>(options.init_scale * unit);
  }
  return values;
}

const Tensor& find_tensor(const TensorMap& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw InputError(fmt::format("the model has no tensor {}; train it again", name));
  }
  return found->second;
}

}  // namespace

TrainingPlan make_plan(const TrainOptions& resolved) {
  TrainingPlan plan;
  plan.batch = resolved.batch;
  plan.per_rating = resolved.optimizer == "sgd" && resolved.batch == 1;
  plan.optimizer.kind = resolved.optimizer == "adam"      ? OptimizerKind::adam
                        : resolved.optimizer == "adagrad" ? OptimizerKind::adagrad
                                                          : OptimizerKind::sgd;
  plan.optimizer.dense = resolved.dense_updates;
  plan.optimizer.non_negative = resolved.non_negative;
  plan.optimizer.beta1 = static_cast<float>(resolved.beta1);
  plan.optimizer.beta2 = static_cast<float>(resolved.beta2);
  plan.optimizer.epsilon = static_cast<float>(resolved.epsilon);
  plan.loss = resolved.loss == "mae" ? LossKind::mae : LossKind::mse;
  plan.reg = static_cast<float>(resolved.reg);
  return plan;
}

TensorMap RatingModel::download() const {
  TensorMap tensors;
  for (const NamedParameter& parameter : parameters()) {
    Tensor& tensor = tensors[parameter.name];
    tensor.shape = {parameter.view.rows};
    if (!parameter.vector) {
      tensor.shape.push_back(parameter.view.cols);
    }
    tensor.values = download_matrix(parameter.view);
  }
  return tensors;
}

void RatingModel::upload(const TensorMap& tensors) {
  for (const NamedParameter& parameter : parameters()) {
    const Tensor& tensor = find_tensor(tensors, parameter.name);
    if (static_cast<std::int64_t>(tensor.values.size()) != parameter.view.rows * parameter.view.cols) {
      throw InputError(fmt::format("tensor {} has {} elements, not {} x {}", parameter.name, tensor.values.size(),
                                   parameter.view.rows, parameter.view.cols));
    }
    upload_matrix(parameter.view, tensor.values);
  }
}

std::unique_ptr<RatingModel> make_model(Device& device, const std::string& kind, const TensorMap& tensors) {
  if (kind != "mf") {
    throw InputError(fmt::format("a model of kind '{}' is not known to this version", kind));
  }
  const Tensor& user = find_tensor(tensors, "user.embedding");
  const Tensor& item = find_tensor(tensors, "item.embedding");
  if (user.shape.size() != 2 || item.shape.size() != 2 || user.shape[1] != item.shape[1]) {
    throw InputError("user.embedding and item.embedding are not matrices of the same width");
  }
  const bool biases = tensors.count("user.bias") > 0;
  auto model = make_mf(device, {user.shape[0], item.shape[0], user.shape[1], biases});
  model->upload(tensors);
  return model;
}

TensorMap initial_parameters(const TrainOptions& resolved, std::int64_t users, std::int64_t items, double global_mean) {
  const std::int64_t dim = resolved.dim;
  TensorMap tensors;
  tensors["user.embedding"] = {{users, dim}, draw(resolved, users * dim, RandomPurpose::initial_user_embedding)};
  tensors["item.embedding"] = {{items, dim}, draw(resolved, items * dim, RandomPurpose::initial_item_embedding)};
  if (resolved.non_negative) {
    for (const char* name : {"user.embedding", "item.embedding"}) {
      for (float& value : tensors[name].values) {
        value = value < 0.0F ? 0.0F : value;
      }
    }
  }
  if (resolved.biases) {
    tensors["user.bias"] = {{users}, std::vector<float>(static_cast<std::size_t>(users), 0.0F)};
    tensors["item.bias"] = {{items}, std::vector<float>(static_cast<std::size_t>(items), 0.0F)};
  }
  tensors["global_mean"] = {{1}, {resolved.global_mean ? static_cast<float>(global_mean) : 0.0F}};
  return tensors;
}

}  // namespace curate
