// Losses, gradients and trained parameters against PyTorch's float64, recorded by bench/peers/pytorch_parity.py.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/embedding_table.h"
#include "models/rating_model.h"
#include "tests/reference/build_segments.h"
#include "tests/support/compare.h"
#include "tests/support/devices.h"
#include "tests/support/training.h"

namespace curate {
namespace {

constexpr double kTolerance = 1e-5;
// As many as the script records: a file that lost some must not pass.
constexpr std::size_t kCases = 50;
// Cases that hold for updates of all rows and for those of the batch's rows alone run twice.
constexpr std::size_t kRuns = 77;

/// Tensors by name, row-major.
using Values = std::map<std::string, std::vector<double>>;

struct Step {
  double loss = 0.0;
  Values gradients;
};

struct Case {
  std::string name;
  ModelSpec model;
  MiniBatchOptions plan;
  std::vector<bool> dense_updates;
  float learning_rate = 0.0F;
  test::HostRatings ratings;
  TensorMap parameters;
  std::vector<Step> steps;
  Values after;
};

OptimizerKind optimizer_of(const std::string& name) {
  const std::map<std::string, OptimizerKind> kinds = {
      {"sgd", OptimizerKind::sgd}, {"adagrad", OptimizerKind::adagrad}, {"adam", OptimizerKind::adam}};
  return kinds.at(name);
}

LossKind loss_of(const std::string& name) {
  const std::map<std::string, LossKind> kinds = {{"mse", LossKind::mse}, {"mae", LossKind::mae}};
  return kinds.at(name);
}

Feature to_feature(const nlohmann::json& json) {
  Feature feature;
  feature.name = json.at("name").get<std::string>();
  feature.side = json.at("side").get<std::string>() == "user" ? FeatureSide::user : FeatureSide::item;
  feature.kind = json.at("kind").get<std::string>() == "multi" ? FeatureKind::multi : FeatureKind::category;
  feature.values.resize(json.at("values").get<std::size_t>());
  feature.starts = json.at("starts").get<std::vector<std::int32_t>>();
  feature.ids = json.at("ids").get<std::vector<std::int32_t>>();
  return feature;
}

ModelSpec to_model(const nlohmann::json& json) {
  ModelSpec model;
  model.kind = json.at("kind").get<std::string>();
  if (is_network(model.kind)) {
    model.activations = json.at("activations").get<std::vector<std::string>>();
    model.output_min = json.at("output_min").get<float>();
    model.output_max = json.at("output_max").get<float>();
  }
  if (json.contains("features")) {
    for (const nlohmann::json& feature : json.at("features")) {
      model.features.push_back(to_feature(feature));
    }
  }
  return model;
}

MiniBatchOptions to_plan(const nlohmann::json& json) {
  MiniBatchOptions plan;
  plan.gradients.batch = json.at("batch").get<std::int64_t>();
  plan.gradients.loss = loss_of(json.at("loss").get<std::string>());
  plan.gradients.reg = json.at("reg").get<float>();
  plan.optimizer.dense_reg = json.at("dense_reg").get<float>();
  plan.optimizer.feature_reg = json.value("feature_reg", 0.0F);
  plan.optimizer.rows.kind = optimizer_of(json.at("optimizer").get<std::string>());
  plan.optimizer.rows.weight_decay = json.at("weight_decay").get<float>();
  plan.optimizer.rows.beta1 = json.at("beta1").get<float>();
  plan.optimizer.rows.beta2 = json.at("beta2").get<float>();
  plan.optimizer.rows.epsilon = json.at("epsilon").get<float>();
  return plan;
}

Case to_case(const nlohmann::json& json) {
  Case result;
  result.name = json.at("name").get<std::string>();
  result.model = to_model(json.at("model"));
  const nlohmann::json& options = json.at("options");
  result.plan = to_plan(options);
  result.dense_updates = options.at("dense_updates").get<std::vector<bool>>();
  result.learning_rate = options.at("learning_rate").get<float>();
  const nlohmann::json& ratings = json.at("ratings");
  result.ratings.users = ratings.at("users").get<std::vector<std::int32_t>>();
  result.ratings.items = ratings.at("items").get<std::vector<std::int32_t>>();
  result.ratings.ratings = ratings.at("ratings").get<std::vector<float>>();
  for (const auto& [name, tensor] : json.at("parameters").items()) {
    result.parameters[name] = {tensor.at("shape").get<std::vector<std::int64_t>>(),
                               tensor.at("values").get<std::vector<float>>()};
  }
  for (const nlohmann::json& step : json.at("steps")) {
    result.steps.push_back({step.at("loss").get<double>(), step.at("gradients").get<Values>()});
  }
  result.after = json.at("after").get<Values>();
  return result;
}

std::vector<Case> read_cases() {
  // The tests may run on another machine than the one that built them.
  const char* const folder = std::getenv("CURATE_TEST_FIXTURES");
  const std::string path = std::string(folder != nullptr ? folder : CURATE_TEST_FIXTURES) + "/parity.json";
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error("cannot read " + path + "; bench/peers/pytorch_parity.py writes it");
  }
  const auto fixtures = nlohmann::json::parse(file);
  std::vector<Case> cases;
  for (const nlohmann::json& json : fixtures.at("cases")) {
    cases.push_back(to_case(json));
  }
  return cases;
}

/// Every tensor of a model by name. Blocks.
Values download(const std::vector<NamedParameter>& parameters) {
  Values values;
  for (const NamedParameter& parameter : parameters) {
    values[parameter.name] = test::widen(download_matrix(parameter.view));
  }
  return values;
}

std::set<std::string> names_of(const Values& values) {
  std::set<std::string> names;
  std::transform(values.begin(), values.end(), std::inserter(names, names.end()),
                 [](const auto& entry) { return entry.first; });
  return names;
}

double largest(const std::vector<double>& values) {
  double result = 0.0;
  for (const double value : values) {
    result = std::max(result, std::abs(value));
  }
  return result;
}

/// Factor of |w|^2 in the objective's L2 of a whole tensor.
float l2_of(const std::string& name, const Case& expected) {
  if (name.starts_with("dense.")) {
    return name.ends_with(".weight") ? expected.plan.optimizer.dense_reg : 0.0F;
  }
  const auto& features = expected.model.features;
  const bool of_feature = std::any_of(features.begin(), features.end(),
                                      [&](const Feature& feature) { return name.starts_with(feature.prefix() + "."); });
  return of_feature ? expected.plan.optimizer.feature_reg : 0.0F;
}

/// The optimizer's step adds this part of the gradient; PyTorch's has it from the start.
void add_l2_of_tensors(Values& gradients, const Values& parameters, const Case& expected) {
  for (auto& [name, gradient] : gradients) {
    const auto l2 = static_cast<double>(l2_of(name, expected));
    const std::vector<double>& weights = parameters.at(name);
    for (std::size_t e = 0; e < gradient.size(); ++e) {
      gradient[e] += 2.0 * l2 * weights[e];
    }
  }
}

/// Trains one case and compares it step by step.
void expect_parity(Device& device, const Case& expected, bool dense_updates) {
  const std::unique_ptr<RatingModel> model = make_model(device, expected.model, expected.parameters);
  MiniBatchOptions plan = expected.plan;
  plan.optimizer.dense_updates = dense_updates;
  Optimizer optimizer = test::prepare(*model, plan);

  const test::HostRatings& ratings = expected.ratings;
  const test::DeviceRatings device_ratings(device, ratings);
  const test::DeviceSegments users(device, reference::build_segments(ratings.users, plan.gradients.batch, 0));
  const test::DeviceSegments items(device, reference::build_segments(ratings.items, plan.gradients.batch, 0));
  const auto state = test::on_device(device, StepState{});
  const auto sums = test::on_device(device, ErrorSums{});
  const EpochView epoch = {device_ratings.view(), users.view(), items.view(), state.view(), sums.view()};
  device.enqueue(ops::BeginEpoch{
      epoch.state, {1, 0, ratings.size(), plan.gradients.batch, {ScheduleKind::constant, expected.learning_rate}}});

  ErrorSums before;
  for (std::size_t s = 0; s < expected.steps.size(); ++s) {
    const Step& step = expected.steps[s];
    const std::string label = "step " + std::to_string(s) + " ";
    model->enqueue_gradients(epoch);
    Values gradients = download(model->gradients());
    add_l2_of_tensors(gradients, download(model->parameters()), expected);
    ASSERT_EQ(names_of(gradients), names_of(step.gradients));
    for (const auto& [name, gradient] : step.gradients) {
      EXPECT_TRUE(test::gradient_close(gradients.at(name), gradient, kTolerance, label + name));
    }

    const auto now = device.read<ErrorSums>(epoch.sums);
    const double sum =
        plan.gradients.loss == LossKind::mse ? now.squared - before.squared : now.absolute - before.absolute;
    const std::vector<double> loss = {sum / static_cast<double>(now.count - before.count)};
    EXPECT_TRUE(test::all_close(loss, std::vector<double>{step.loss}, {0.0, kTolerance}, label + "loss"));
    before = now;

    optimizer.enqueue_step(epoch);
    for (const auto& [name, gradient] : download(model->gradients())) {
      EXPECT_EQ(largest(gradient), 0.0) << label << name << " after the update";
    }
    device.enqueue(ops::AdvanceStep{epoch.state});
  }
  EXPECT_EQ(before.count, ratings.size());

  const Values after = download(model->parameters());
  ASSERT_EQ(names_of(after), names_of(expected.after));
  for (const auto& [name, values] : expected.after) {
    const test::Tolerance tolerance = {kTolerance * std::max(1.0, largest(values)), 0.0};
    EXPECT_TRUE(test::all_close(after.at(name), values, tolerance, name + " after the last step"));
  }
}

class Parity : public test::DeviceTest {};

TEST_P(Parity, AgreesWithPyTorch) {
  const std::vector<Case> cases = read_cases();
  EXPECT_EQ(cases.size(), kCases);
  std::size_t runs = 0;
  for (const Case& expected : cases) {
    EXPECT_FALSE(expected.dense_updates.empty()) << expected.name;
    EXPECT_FALSE(expected.steps.empty()) << expected.name;
    for (const bool dense_updates : expected.dense_updates) {
      SCOPED_TRACE(expected.name + (dense_updates ? ", all rows" : ", the batch's rows"));
      expect_parity(device(), expected, dense_updates);
      ++runs;
    }
  }
  EXPECT_EQ(runs, kRuns);
}

CURATE_TEST_ON_EVERY_DEVICE(Parity);

}  // namespace
}  // namespace curate
