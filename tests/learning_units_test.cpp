#include "models/learning_units.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "curate/trainer.h"
#include "device/device.h"
#include "models/rating_model.h"
#include "tests/support/networks.h"

namespace curate::test {
namespace {

TEST(LearningUnits, spread_is_that_of_the_ratings) {
  const std::vector<float> ratings = {1.0F, 2.0F, 2.0F, 5.0F};
  const RatingSpread spread = spread_of(ratings);
  EXPECT_DOUBLE_EQ(spread.mean, 2.5);
  EXPECT_DOUBLE_EQ(spread.deviation, 1.5);
  EXPECT_EQ(spread_of({}).deviation, 0.0);
}

// Catches: sums in f32, and squares of what the mean was not taken from: both lose all digits here.
TEST(LearningUnits, spread_of_ratings_far_from_zero) {
  const std::vector<float> ratings = {8388607.0F, 8388608.0F, 8388609.0F};
  EXPECT_NEAR(spread_of(ratings).deviation, std::sqrt(2.0 / 3.0), 1e-9);
}

TEST(LearningUnits, are_the_spread_but_for_presets_and_ratings_that_are_all_the_same) {
  TrainOptions options;
  EXPECT_EQ(learning_units(options, {3.5, 1.25}), (RatingUnits{3.5, 1.25}));
  EXPECT_EQ(learning_units(options, {3.5, 0.0}), (RatingUnits{3.5, 1.0}));
  options.global_mean = false;
  EXPECT_EQ(learning_units(options, {3.5, 1.25}), (RatingUnits{0.0, 1.25}));
  for (const std::string& preset : preset_names()) {
    EXPECT_EQ(learning_units(preset_options(preset), {3.5, 1.25}), RatingUnits()) << preset;
  }
}

// Catches: values that differ in their last digits, which a training of a network turns into another model.
TEST(LearningUnits, of_ratings_that_their_scale_alone_tells_apart_are_the_same_to_the_bit) {
  const std::vector<float> stars = {1.0F, 3.0F, 4.0F, 4.0F, 5.0F, 2.0F, 4.0F};
  for (const auto& [factor, addend] :
       {std::pair(0.01F, 0.0F), {20.0F, 0.0F}, {1000.0F, 0.0F}, {1.0F, -3.0F}, {1.0F, 100.0F}, {0.7F, 0.3F}}) {
    std::vector<float> scaled;
    for (const float rating : stars) {
      scaled.push_back(factor * rating + addend);
    }
    const RatingUnits of_stars = learning_units({}, spread_of(stars));
    const RatingUnits of_scaled = learning_units({}, spread_of(scaled));
    for (std::size_t k = 0; k < stars.size(); ++k) {
      EXPECT_EQ(to_units(scaled[k], of_scaled), to_units(stars[k], of_stars)) << factor << " " << addend;
      EXPECT_NEAR(to_rating(to_units(scaled[k], of_scaled), of_scaled), scaled[k], 2e-5 * of_scaled.unit);
    }
  }
  EXPECT_EQ(to_units(0.1F, {}), 0.1F) << "raw ratings are rounded";
}

std::vector<float> predictions_of(Device& device, const ModelSpec& spec, const TensorMap& tensors) {
  const auto model = make_model(device, spec, tensors);
  const auto upload = [&](const std::vector<std::int32_t>& ids) {
    Buffer buffer = device.allocate_array<std::int32_t>(static_cast<std::int64_t>(ids.size()));
    device.upload(buffer.view(DType::i32, static_cast<std::int64_t>(ids.size())), std::span<const std::int32_t>(ids));
    return buffer;
  };
  const auto count = static_cast<std::int64_t>(kRatings.users.size());
  const Buffer users = upload(kRatings.users);
  const Buffer items = upload(kRatings.items);
  return model->predict(users.view(DType::i32, count), items.view(DType::i32, count));
}

// Catches: a tensor that keeps its units, factors scaled by the unit instead of its root, and a centre that is lost.
TEST(LearningUnits, a_model_in_units_is_made_one_of_ratings) {
  const auto device = make_device("cpu", 1);
  const RatingUnits units = {30.0, 12.5};
  const RatingScale scale = {0.0F, 55.0F, 0.5F};
  const RatingScale in_units = to_units(scale, units);
  for (const Network& network : kNetworks) {
    SCOPED_TRACE(label_of(network));
    const TrainOptions options = options_of(network);
    Start start = start_of(network);
    ModelSpec spec = model_spec(options, in_units);
    ModelSpec raw = model_spec(options, scale);
    spec.features = raw.features = start.spec.features;
    const std::vector<float> values = predictions_of(*device, spec, start.tensors);
    to_rating_scale(start.tensors, raw, units);
    const std::vector<float> ratings = predictions_of(*device, raw, start.tensors);
    for (std::size_t k = 0; k < values.size(); ++k) {
      EXPECT_NEAR(ratings[k], to_rating(values[k], units), 1e-3);
    }
  }
}

TEST(LearningUnits, a_factorization_in_units_is_made_one_of_ratings) {
  const auto device = make_device("cpu", 1);
  const RatingUnits units = {-4.0, 5.0};
  for (const bool biases : {true, false}) {
    for (const bool features : {false, true}) {
      TrainOptions options;
      options.dim = 3;
      options.biases = biases;
      options.init_scale = 0.8;
      options.features = features ? "genre,age,tags" : "";
      options = resolve(options);
      ModelSpec spec = model_spec(options, kScale);
      if (features) {
        spec.features = three_features();
      }
      TensorMap tensors = initial_parameters(options, spec, kUsers, kItems, 0.25);
      float next = 0.1F;
      for (auto& [name, tensor] : tensors) {
        for (float& value : tensor.values) {
          value += next;  // biases and features' vectors start at 0
          next = next > 0.5F ? -0.4F : next + 0.07F;
        }
      }
      const std::vector<float> values = predictions_of(*device, spec, tensors);
      to_rating_scale(tensors, spec, units);
      const std::vector<float> ratings = predictions_of(*device, spec, tensors);
      for (std::size_t k = 0; k < values.size(); ++k) {
        EXPECT_NEAR(ratings[k], to_rating(values[k], units), 1e-4);
      }
    }
  }
}

TEST(LearningUnits, flat_parameters_predict_the_mean) {
  const auto device = make_device("cpu", 1);
  for (const Network& network : kNetworks) {
    const Start start = start_of(network);
    TensorMap first = initial_parameters(options_of(network), start.spec, kUsers, kItems, 3.0);
    for (const float prediction : predictions_of(*device, start.spec, flat_parameters(first, start.spec))) {
      EXPECT_NEAR(prediction, 3.0F, 1e-5) << label_of(network);
    }
  }
}

}  // namespace
}  // namespace curate::test
