// Predictor: pairs, blocks and evaluation of one model, from one thread and from many. A program of its own, because it
// counts what is taken from the heap.

#include "curate/predictor.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "curate/error.h"
#include "recommend/predictor.h"
#include "tests/support/features.h"
#include "tests/support/forwarding_device.h"

namespace {

thread_local std::int64_t allocations = 0;

}  // namespace

// Those of the standard library call these. Not inline: GCC would take malloc and delete, or new and free, for a pair.
__attribute__((noinline)) void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes)) {
    return memory;
  }
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
  std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

namespace curate::test {
namespace {

enum class Ids { numbers, texts };

struct Shape {
  std::string kind = "mf";
  std::int32_t users = 40;
  std::int32_t items = 30;
  std::int64_t dim = 8;
  bool biases = true;
  bool features = false;
  bool clip = true;
  Ids ids = Ids::texts;
  std::vector<std::int64_t> layers;  ///< networks: hidden ones
  bool product = false;              ///< mlp: of the embeddings
};

/// Longer than what a std::string has room for by itself.
std::string text_of(const char* what, std::int32_t id) {
  return fmt::format("{}-with-a-long-name-{:05}", what, 17 * id);
}

RawId raw_of(const Shape& shape, const char* what, std::int32_t id) {
  return shape.ids == Ids::texts ? RawId(text_of(what, id)) : RawId(std::int64_t{1000000007} * id + 3);
}

/// Every seventh user and every fifth item has no training rating.
std::int64_t count_of(std::int32_t id, std::int32_t cold) {
  return id % cold == cold - 1 ? 0 : 1 + id;
}

class ModelMaker {
 public:
  explicit ModelMaker(const Shape& shape) : shape_(shape), random_(7) {}

  Model make() {
    for (std::int32_t user = 0; user < shape_.users; ++user) {
      parts_.users.find_or_add(raw_of(shape_, "user", user));
      parts_.user_counts.push_back(count_of(user, 7));
    }
    for (std::int32_t item = 0; item < shape_.items; ++item) {
      parts_.items.find_or_add(raw_of(shape_, "item", item));
      parts_.item_counts.push_back(count_of(item, 5));
    }
    add("fallback.user", shape_.users);
    add("fallback.item", shape_.items);
    parts_.tensors["fallback.mean"] = {{1}, {3.25F}};
    parts_.scale = {2.5F, 4.0F, 0.5F};
    parts_.clip = shape_.clip;
    parts_.spec.kind = shape_.kind;
    add("user.embedding", shape_.users, shape_.dim);
    add("item.embedding", shape_.items, shape_.dim);
    if (shape_.features) {
      add_features();
    }
    shape_.kind == "mf" ? add_mf() : add_layers();
    return Model(parts_);
  }

 private:
  void add(const std::string& name, std::int64_t rows, std::int64_t cols = 0) {
    std::normal_distribution<float> normal(0.0F, 0.5F);
    Tensor& tensor = parts_.tensors[name];
    tensor.shape = cols > 0 ? std::vector<std::int64_t>{rows, cols} : std::vector<std::int64_t>{rows};
    tensor.values.resize(static_cast<std::size_t>(rows * std::max<std::int64_t>(1, cols)));
    std::generate(tensor.values.begin(), tensor.values.end(), [&] { return normal(random_); });
  }

  void add_mf() {
    parts_.tensors["global_mean"] = {{1}, {3.3F}};
    if (shape_.biases) {
      add("user.bias", shape_.users);
      add("item.bias", shape_.items);
      for (const Feature& feature : parts_.spec.features) {
        add(feature.prefix() + ".bias", static_cast<std::int64_t>(feature.values.size()));
      }
    }
  }

  /// One of users stands between two of items. Half of all rows are known to none.
  void add_features() {
    const auto rows = [&](std::int32_t count, std::int32_t values) {
      std::vector<std::vector<std::int32_t>> all;
      for (std::int32_t row = 0; row < count; ++row) {
        all.push_back({row % 2 == 0 ? 0 : 1 + row % (values - 1)});
        for (std::int32_t more = 0; row % 2 == 1 && more < row % 4; ++more) {
          all.back().push_back(1 + (row + 3 * more) % (values - 1));
        }
      }
      return all;
    };
    parts_.spec.features = {make_feature("genre", FeatureSide::item, 5, rows(shape_.items, 5)),
                            make_feature("age", FeatureSide::user, 4, rows(shape_.users, 4)),
                            make_feature("tags", FeatureSide::item, 7, rows(shape_.items, 7))};
    for (std::size_t f = 0; f < parts_.spec.features.size(); ++f) {
      const Feature& feature = parts_.spec.features[f];
      const std::int64_t cols = shape_.kind == "mf" ? shape_.dim : static_cast<std::int64_t>(2 + f);
      width_ += cols;
      add(feature.prefix() + ".embedding", static_cast<std::int64_t>(feature.values.size()), cols);
    }
  }

  void add_layers() {
    parts_.spec.output_min = 1.0F;
    parts_.spec.output_max = 5.0F;
    std::int64_t inputs = 2 * shape_.dim + width_;
    std::vector<std::int64_t> outputs = shape_.layers;
    outputs.push_back(1);
    const std::vector<std::string> hidden = {"relu", "tanh", "sigmoid"};
    for (std::size_t layer = 0; layer < outputs.size(); ++layer) {
      add(fmt::format("dense.{}.weight", layer), outputs[layer], inputs);
      add(fmt::format("dense.{}.bias", layer), outputs[layer]);
      const bool last = layer + 1 == outputs.size();
      parts_.spec.activations.push_back(last ? (shape_.kind == "mlp" && !shape_.product ? "sigmoid" : "linear")
                                             : hidden[layer % 3]);
      inputs = outputs[layer];
    }
    parts_.spec.product = shape_.product;
    if (shape_.kind == "neumf") {
      add("user.factors", shape_.users, 6);
      add("item.factors", shape_.items, 6);
    }
  }

  Shape shape_;
  std::mt19937 random_;
  Model::Parts parts_;
  std::int64_t width_ = 0;  ///< of features, in networks
};

Model make_model_of(const Shape& shape) {
  return ModelMaker(shape).make();
}

/// Every user with every item, and an unknown one of each.
std::vector<RawPair> all_pairs(const Shape& shape) {
  std::vector<RawPair> pairs;
  for (std::int32_t user = 0; user <= shape.users; ++user) {
    for (std::int32_t item = 0; item <= shape.items; ++item) {
      pairs.push_back({raw_of(shape, "user", user), raw_of(shape, "item", item)});
    }
  }
  return pairs;
}

/// Predicted on the device, of which blocks with few pairs see nothing.
std::vector<Prediction> on_device(const Predictor& predictor, std::vector<RawPair> pairs) {
  const std::size_t wanted = pairs.size();
  while (pairs.size() <= kFewPairs) {
    pairs.push_back(pairs[pairs.size() % wanted]);
  }
  std::vector<Prediction> predictions = predictor.predict(pairs);
  predictions.resize(wanted);
  return predictions;
}

std::vector<Prediction> one_by_one(const Predictor& predictor, const std::vector<RawPair>& pairs) {
  std::vector<Prediction> predictions;
  for (const RawPair& pair : pairs) {
    predictions.push_back(predictor.predict(pair.user, pair.item));
  }
  return predictions;
}

/// Nothing where both are the same, to the bit if `tolerance` is 0.
std::string difference(const std::vector<Prediction>& a, const std::vector<Prediction>& b, float tolerance = 0.0F) {
  if (a.size() != b.size()) {
    return fmt::format("{} and {} predictions", a.size(), b.size());
  }
  for (std::size_t n = 0; n < a.size(); ++n) {
    const bool same = tolerance == 0.0F
                          ? a[n].rating == b[n].rating
                          : std::abs(a[n].rating - b[n].rating) <= tolerance * (1.0F + std::abs(b[n].rating));
    if (!same || a[n].basis != b[n].basis) {
      return fmt::format("pair {}: {:.9g} by {}, {:.9g} by {}", n, a[n].rating, name_of(a[n].basis), b[n].rating,
                         name_of(b[n].basis));
    }
  }
  return "";
}

/// How many of the predictions have that basis.
std::int64_t count(const std::vector<Prediction>& predictions, PredictionBasis basis) {
  return std::count_if(predictions.begin(), predictions.end(), [&](const Prediction& p) { return p.basis == basis; });
}

/// The CPU engine as a device that reads no memory but its own.
class OwnMemoryDevice : public ForwardingDevice {
 public:
  explicit OwnMemoryDevice(int threads) : ForwardingDevice(make_device("cpu", threads)) {}
  bool has_own_memory() const override { return true; }
};

// Catches: another order of the sum (base + sum is one thing, (sum + bias) + bias another), another loop for the dot
// product, a bias of the wrong row, a prediction that is not clipped, a cold id that the model predicts.
TEST(Predictor, APairOfMfIsABlockToTheBit) {
  for (const std::int64_t dim : {1, 3, 4, 8, 15, 16, 17, 33, 64, 100, 257, 1024}) {
    for (const bool biases : {true, false}) {
      for (const bool clip : {true, false}) {
        SCOPED_TRACE(fmt::format("dim {}, biases {}, clip {}", dim, biases, clip));
        Shape shape;
        shape.dim = dim;
        shape.biases = biases;
        shape.clip = clip;
        const Model model = make_model_of(shape);
        const std::vector<RawPair> pairs = all_pairs(shape);
        const Predictor predictor(model, {"cpu", 3});
        const std::vector<Prediction> block = on_device(predictor, pairs);
        EXPECT_EQ(difference(one_by_one(predictor, pairs), block), "");
        EXPECT_EQ(difference(predictor.predict(pairs), block), "");
        EXPECT_EQ(difference(model.predict(pairs, {"cpu", 1}), block), "");
        EXPECT_GT(count(block, PredictionBasis::model), 500);
        EXPECT_GT(count(block, PredictionBasis::user_mean), 50);
        EXPECT_GT(count(block, PredictionBasis::item_mean), 50);
        EXPECT_GT(count(block, PredictionBasis::global_mean), 5);
        const auto outside = [](const Prediction& p) { return p.rating < 2.5F || p.rating > 4.0F; };
        EXPECT_EQ(std::any_of(block.begin(), block.end(), outside), !clip);
      }
    }
  }
}

// Catches: the CPU engine reading tables at the wrong place, stride or bias when it takes them where the host has them.
TEST(Predictor, TablesThatStayWithTheHostAreTheModel) {
  for (const bool biases : {true, false}) {
    Shape shape;
    shape.dim = 33;
    shape.biases = biases;
    const Model model = make_model_of(shape);
    const std::vector<RawPair> pairs = all_pairs(shape);
    const auto here = make_device("cpu", 2);
    const Predictor in_place =
        make_predictor(*here, model, make_scorer(*here, model.parts().spec, model.parts().tensors));
    EXPECT_LT(here->allocated_bytes(), std::size_t{1000});
    OwnMemoryDevice device(2);
    const Predictor uploaded =
        make_predictor(device, model, make_scorer(device, model.parts().spec, model.parts().tensors));
    EXPECT_GT(device.allocated_bytes(), model.parts().tensors.at("user.embedding").values.size() * sizeof(float));
    const std::vector<Prediction> expected = uploaded.predict(pairs);
    EXPECT_EQ(difference(on_device(in_place, pairs), expected), "");
    EXPECT_EQ(difference(one_by_one(in_place, pairs), expected), "");
    EXPECT_EQ(difference(one_by_one(uploaded, pairs), expected), "") << "rows of the model";
    for (const char* laid_out : {"cpu", "cpu-deferred"}) {
      EXPECT_EQ(difference(one_by_one(Predictor(model, {laid_out, 2}), pairs), expected), "") << laid_out;
    }
    const std::vector<float> ratings(pairs.size(), 3.0F);
    EXPECT_EQ(in_place.evaluate(pairs, ratings).mse, uploaded.evaluate(pairs, ratings).mse);
  }
}

// Catches: a feature of the other side, a sum for a mean, an own row that is left out, a feature's bias that is
// forgotten, a cold item with features that a mean predicts.
TEST(Predictor, APairOfMfWithFeaturesIsABlockToTheBit) {
  for (const std::int64_t dim : {1, 7, 64, 1600}) {
    for (const bool biases : {true, false}) {
      SCOPED_TRACE(fmt::format("dim {}, biases {}", dim, biases));
      Shape shape;
      shape.dim = dim;
      shape.biases = biases;
      shape.features = true;
      shape.clip = false;
      const std::vector<RawPair> pairs = all_pairs(shape);
      const Predictor predictor(make_model_of(shape), {"cpu", 2});
      const std::vector<Prediction> block = on_device(predictor, pairs);
      EXPECT_EQ(difference(one_by_one(predictor, pairs), block), "");
      EXPECT_GT(count(block, PredictionBasis::features), 50);
      EXPECT_GT(count(block, PredictionBasis::user_mean), 20);
    }
  }
}

// Catches: inputs in another order, an activation or a bias left out, a product left out, working memory that is too
// small for the widest layer.
TEST(Predictor, APairOfANetworkIsABlockButForRounding) {
  for (const auto& [kind, product] : {std::pair("mlp", false), std::pair("mlp", true), std::pair("neumf", false)}) {
    for (const std::vector<std::int64_t>& layers :
         {std::vector<std::int64_t>{}, std::vector<std::int64_t>{16, 9, 5}, std::vector<std::int64_t>{2500, 3}}) {
      for (const bool features : {true, false}) {
        SCOPED_TRACE(
            fmt::format("{}, product {}, {} hidden layers, features {}", kind, product, layers.size(), features));
        Shape shape;
        shape.kind = kind;
        shape.product = product;
        shape.layers = layers;
        shape.features = features;
        shape.clip = false;
        const std::vector<RawPair> pairs = all_pairs(shape);
        const Predictor predictor(make_model_of(shape), {"cpu", 2});
        EXPECT_EQ(difference(one_by_one(predictor, pairs), predictor.predict(pairs), 3e-5F), "");
      }
    }
  }
}

// Catches: an id that a pair finds and a block or evaluate() does not, or the other way round.
TEST(Predictor, PairsBlocksAndEvaluationTakeTheSameIds) {
  Shape shape;
  shape.users = 3;
  shape.items = 2;
  shape.clip = false;
  Model::Parts parts = make_model_of(shape).parts();
  struct Case {
    Ids ids;
    std::string user;
    bool known;
  };
  const std::vector<Case> cases = {{Ids::numbers, "7", true},      {Ids::numbers, "007", true},
                                   {Ids::numbers, "+7", true},     {Ids::numbers, "8", false},
                                   {Ids::numbers, "seven", false}, {Ids::numbers, "9007199254740993", true},
                                   {Ids::numbers, "-7", true},     {Ids::texts, "7", true},
                                   {Ids::texts, "007", false},     {Ids::texts, "9007199254740993", true},
                                   {Ids::texts, "+7", false},      {Ids::texts, "seven", true},
                                   {Ids::texts, "sevens", false}};
  for (const Case& one : cases) {
    SCOPED_TRACE(fmt::format("{} among {}", one.user, one.ids == Ids::numbers ? "numbers" : "texts"));
    parts.users = {};
    for (const char* user : {"7", "9007199254740993", one.ids == Ids::numbers ? "-7" : "seven"}) {
      parts.users.find_or_add(std::string_view(user));
    }
    const Predictor predictor(Model(parts), {"cpu", 1});
    const RawId item(text_of("item", 1));
    const RawPair pair = {RawId(one.user), item};
    const Prediction by_text = predictor.predict(one.user, item.text());
    const Prediction by_id = predictor.predict(pair.user, pair.item);
    EXPECT_EQ(by_text.basis, one.known ? PredictionBasis::model : PredictionBasis::item_mean);
    EXPECT_EQ(difference({by_id}, {by_text}), "");
    EXPECT_EQ(difference(predictor.predict({&pair, 1}), {by_text}), "");
    const Metrics metrics = predictor.evaluate({&pair, 1}, {&by_text.rating, 1});
    EXPECT_EQ(metrics.mae, 0.0);
    EXPECT_EQ(metrics.cold_ratings, one.known ? 0 : 1);
    Dataset dataset;
    dataset.users.find_or_add(std::string_view("somebody else"));
    dataset.ratings.users = {dataset.users.find_or_add(std::string_view(one.user))};
    dataset.ratings.items = {dataset.items.find_or_add(item)};
    dataset.ratings.ratings = {by_text.rating};
    EXPECT_EQ(predictor.evaluate(dataset, dataset.ratings).mae, 0.0);
    EXPECT_EQ(predictor.evaluate(dataset, dataset.ratings).cold_ratings, one.known ? 0 : 1);
  }
}

// Catches: errors of other pairs, cold pairs that are left out, ratings shifted against pairs.
TEST(Predictor, EvaluatesWhatItPredicts) {
  for (const char* kind : {"mf", "mlp"}) {
    Shape shape;
    shape.kind = kind;
    shape.features = true;
    const std::vector<RawPair> pairs = all_pairs(shape);
    const Predictor predictor(make_model_of(shape), {"cpu", 2});
    const std::vector<Prediction> predictions = predictor.predict(pairs);
    std::vector<float> ratings;
    double squared = 0.0;
    std::int64_t cold = 0;
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      ratings.push_back(static_cast<float>(1 + (7 * n) % 5));
      squared += std::pow(static_cast<double>(predictions[n].rating) - static_cast<double>(ratings[n]), 2.0);
      cold += predictions[n].basis == PredictionBasis::model ? 0 : 1;
    }
    const Metrics metrics = predictor.evaluate(pairs, ratings);
    EXPECT_NEAR(metrics.mse, squared / static_cast<double>(pairs.size()), 1e-6);
    EXPECT_EQ(metrics.ratings, static_cast<std::int64_t>(pairs.size()));
    EXPECT_EQ(metrics.cold_ratings, cold);
    ratings.pop_back();
    EXPECT_THROW(predictor.evaluate(pairs, ratings), std::invalid_argument);
  }
}

// Catches: anything on the way of a pair that takes memory: a copied id, a number written as text, working memory.
TEST(Predictor, APairTakesNoMemory) {
  struct Case {
    const char* kind;
    bool features;
    Ids ids;
  };
  for (const Case& one : {Case{"mf", false, Ids::texts}, Case{"mf", false, Ids::numbers}, Case{"mf", true, Ids::texts},
                          Case{"mlp", true, Ids::texts}, Case{"neumf", false, Ids::texts}}) {
    SCOPED_TRACE(fmt::format("{}, features {}, texts {}", one.kind, one.features, one.ids == Ids::texts));
    Shape shape;
    shape.kind = one.kind;
    shape.features = one.features;
    shape.ids = one.ids;
    if (shape.kind != "mf") {
      shape.layers = {32, 16};
    }
    std::vector<RawPair> pairs = all_pairs(shape);
    pairs.push_back({std::numeric_limits<std::int64_t>::min(), std::int64_t{1234567890123456789}});
    std::vector<std::pair<std::string, std::string>> texts;
    for (const RawPair& pair : pairs) {
      texts.emplace_back(pair.user.text(), pair.item.text());
    }
    const Predictor predictor(make_model_of(shape), {"cpu", 2});
    const std::int64_t before = allocations;
    float sum = 0.0F;
    for (std::size_t n = 0; n < pairs.size(); ++n) {
      sum += predictor.predict(pairs[n].user, pairs[n].item).rating;
      sum -= predictor.predict(texts[n].first, texts[n].second).rating;
    }
    EXPECT_EQ(allocations - before, 0);
    EXPECT_EQ(sum, 0.0F);
  }
  const std::int64_t before = allocations;
  const std::string counted(100, 'x');
  EXPECT_EQ(allocations - before, 1) << "nothing is counted";
}

// To be run under ThreadSanitizer too. Catches: callers who use the device at once, working memory that two share, a
// pool of threads that mixes up the work of two callers.
TEST(Predictor, EightThreadsGetWhatOneGets) {
  constexpr int kThreads = 8;
  struct Case {
    const char* kind;
    bool features;
    std::vector<std::int64_t> layers;
  };
  for (const Case& one : {Case{"mf", false, {}}, Case{"mf", true, {}}, Case{"neumf", true, {2100}}}) {
    SCOPED_TRACE(fmt::format("{}, features {}", one.kind, one.features));
    Shape shape;
    shape.kind = one.kind;
    shape.features = one.features;
    shape.layers = one.layers;
    shape.dim = 64;
    shape.users = one.layers.empty() ? 140 : 4;  // mf: more than few pairs
    const std::vector<RawPair> pairs = all_pairs(shape);
    EXPECT_TRUE(shape.kind != "mf" || pairs.size() > kFewPairs);
    const std::vector<float> ratings(pairs.size(), 3.0F);
    const Predictor predictor(make_model_of(shape), {"cpu", 3});
    const std::vector<Prediction> block = predictor.predict(pairs);
    const std::vector<Prediction> single = one_by_one(predictor, pairs);
    const double mse = predictor.evaluate(pairs, ratings).mse;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, copy = predictor] {
        for (int round = 0; round < 3; ++round) {
          switch ((t + round) % 4) {
            case 0:
              wrong += difference(one_by_one(copy, pairs), single).empty() ? 0 : 1;
              break;
            case 1:
              wrong += difference(predictor.predict(pairs), block).empty() ? 0 : 1;
              break;
            case 2:
              wrong += predictor.evaluate(pairs, ratings).mse == mse ? 0 : 1;
              break;
            default:
              wrong += difference(copy.model().predict(pairs, {"cpu", 2}), block).empty() ? 0 : 1;
              break;
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(wrong.load(), 0);
  }
}

// Catches: views of a model that is gone, an empty predictor after a move.
TEST(Predictor, OutlivesTheModelAndItsOriginal) {
  const Shape shape;
  const std::vector<RawPair> pairs = all_pairs(shape);
  const std::vector<Prediction> expected = make_model_of(shape).predict(pairs, {"cpu", 1});
  auto original = std::make_unique<Predictor>(make_model_of(shape), ComputeOptions{"cpu", 2});
  const Predictor moved = std::move(*original);
  EXPECT_EQ(original->device(), "cpu");
  original.reset();
  EXPECT_EQ(difference(moved.predict(pairs), expected), "");
  EXPECT_EQ(difference(one_by_one(moved, pairs), expected), "");
  EXPECT_EQ(moved.model().parts().users.size(), shape.users);
}

TEST(Predictor, SaysWhatItCannotOpen) {
  const Model model = make_model_of({});
  EXPECT_THROW(Predictor(model, {"quantum", 0}), InputError);
  EXPECT_THROW(Predictor(model, {"cpu", -1}), InputError);
}

TEST(Predictor, TakesNoPairs) {
  const Predictor predictor(make_model_of({}), {"cpu", 1});
  EXPECT_TRUE(predictor.predict(std::span<const RawPair>()).empty());
  EXPECT_EQ(predictor.evaluate(std::span<const RawPair>(), {}).ratings, 0);
}

}  // namespace
}  // namespace curate::test
