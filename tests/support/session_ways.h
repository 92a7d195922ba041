#pragma once

#include <functional>
#include <string>
#include <vector>

#include "curate/dataset.h"
#include "curate/options.h"
#include "tests/support/features.h"

namespace curate::test {

/// One way to train, in which a session must be able to stop and go on.
struct SessionWay {
  std::string name;
  std::function<void(TrainOptions&)> set;
  bool on_cpu = true;
};

inline std::vector<SessionWay> session_ways() {
  const auto mlp = [](TrainOptions& o) {
    o.model = ModelKind::mlp;
    o.layers = {12, 6};
    o.dropout = {0.1, 0.1};
    o.dense_dropout = 0.1;
    o.batch = 64;
  };
  return {
      {"per_rating", [](TrainOptions&) {}},
      {"rate_decay",
       [](TrainOptions& o) { o.rate_decay = 0.02, o.schedule = ScheduleKind::constant, o.biases = false; }},
      {"per_rating_deterministic", [](TrainOptions& o) { o.deterministic = true, o.non_negative = true; }},
      {"logarithms", [](TrainOptions& o) { o.transform = TransformKind::log; }},
      {"sgd", [](TrainOptions& o) { o.batch = 50, o.schedule = ScheduleKind::constant; }},
      {"damped_sgd", [](TrainOptions& o) { o.batch = 300, o.damping = 0.1, o.warmup = 3.5; }},
      {"adagrad", [](TrainOptions& o) { o.optimizer = OptimizerChoice::adagrad, o.weight_decay = 0.01; }},
      {"adam", [](TrainOptions& o) { o.optimizer = OptimizerChoice::adam, o.batch = 70; }},
      {"adam_dense",
       [](TrainOptions& o) { o.optimizer = OptimizerChoice::adam, o.batch = 70, o.dense_updates = true; }},
      {"without_validation",
       [](TrainOptions& o) { o.optimizer = OptimizerChoice::adam, o.batch = 70, o.validation = 0.0; }},
      {"patience", [](TrainOptions& o) { o.learning_rate = 0.2, o.reg = 0.0, o.patience = 2, o.epochs = 40; }},
      {"features", [](TrainOptions& o) { o.features = "of the test", o.batch = 100; }},
      {"mlp", mlp},
      {"mlp_features_adagrad",
       [mlp](TrainOptions& o) {
         mlp(o), o.optimizer = OptimizerChoice::adagrad, o.features = "of the test", o.feature_dropout = 0.1;
       }},
      {"mlp_patience",
       [mlp](TrainOptions& o) {
         mlp(o), o.optimizer = OptimizerChoice::adam, o.learning_rate = 0.05, o.schedule = ScheduleKind::constant,
                 o.patience = 1, o.epochs = 40, o.product = false;
       }},
      {"neumf",
       [](TrainOptions& o) { o.model = ModelKind::neumf, o.layers = {9}, o.batch = 64, o.loss = LossKind::mae; }},
      {"mlp_products_in_bf16", [mlp](TrainOptions& o) { mlp(o), o.products = ProductPrecision::bf16; }, false},
      {"f16", [](TrainOptions& o) { o.precision = EmbeddingPrecision::f16; }, false},
      {"bf16_adam",
       [](TrainOptions& o) {
         o.precision = EmbeddingPrecision::bf16, o.optimizer = OptimizerChoice::adam, o.batch = 70;
       },
       false},
  };
}

/// The data that a way is trained on.
inline Dataset session_dataset(const TrainOptions& options) {
  SyntheticOptions synthetic;
  synthetic.users = 50;
  synthetic.items = 40;
  synthetic.ratings = 900;
  Dataset dataset = generate_dataset(synthetic).dataset;
  if (!options.features.empty()) {
    std::vector<std::vector<std::int32_t>> ages(static_cast<std::size_t>(dataset.users.size()));
    for (std::size_t user = 0; user < ages.size(); ++user) {
      ages[user] = {static_cast<std::int32_t>(user % 5)};
    }
    std::vector<std::vector<std::int32_t>> genres(static_cast<std::size_t>(dataset.items.size()));
    for (std::size_t item = 0; item < genres.size(); ++item) {
      genres[item] = {static_cast<std::int32_t>(item % 7), static_cast<std::int32_t>(item % 3)};
    }
    dataset.features = {make_feature("age", FeatureSide::user, 5, ages),
                        make_feature("genres", FeatureSide::item, 7, genres)};
  }
  return dataset;
}

/// Options of the way of that name, resolved.
inline TrainOptions session_options(const std::string& way, const std::string& device) {
  TrainOptions options;
  options.dim = 6;
  options.epochs = 5;
  options.validation = 0.1;
  options.threads = 2;
  options.device = device;
  for (const SessionWay& known : session_ways()) {
    if (known.name == way) {
      known.set(options);
      return resolve(options);
    }
  }
  throw std::invalid_argument("no way is called " + way);
}

}  // namespace curate::test
