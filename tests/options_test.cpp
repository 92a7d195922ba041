#include "curate/options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "curate/error.h"
#include "models/rating_model.h"
#include "runs/run_config.h"
#include "solvers/mini_batch.h"
#include "solvers/solver.h"
#include "support/atomic_file.h"
#include "tests/support/set_option.h"
#include "train/option_text.h"
#include "train/option_visit.h"

namespace curate {
namespace {

TEST(Options, ResolveFillsInWhatIsAuto) {
  const TrainOptions sgd = resolve({});
  EXPECT_EQ(sgd.batch, 1);
  EXPECT_EQ(sgd.schedule, ScheduleKind::linear);
  EXPECT_GT(sgd.learning_rate, 0.0);
  EXPECT_GT(sgd.reg, 0.0);
  EXPECT_EQ(solver_of(sgd), SolverKind::per_rating_sgd);
  TrainOptions adam;
  adam.optimizer = OptimizerChoice::adam;
  EXPECT_EQ(resolve(adam).batch, 1024);
  TrainOptions mlp;
  mlp.model = ModelKind::mlp;
  mlp.dim = 24;
  mlp.item_dim = 7;
  mlp = resolve(mlp);
  EXPECT_EQ(mlp.optimizer, OptimizerChoice::sgd_and_adam);
  EXPECT_EQ(mlp.user_dim, 24);
  EXPECT_EQ(mlp.item_dim, 7);
  EXPECT_EQ(mlp.layers, (std::vector<std::int32_t>{64, 32}));
  mlp.batch = 1;
  EXPECT_EQ(solver_of(resolve(mlp)), SolverKind::mini_batch)
      << "a batch of one rating is a step like any other in a network";
}

// The constants go with the product.
TEST(Options, AnMlpHasTheProductOfItsEmbeddingsIfTheyAreAlike) {
  TrainOptions mlp;
  mlp.model = ModelKind::mlp;
  const TrainOptions with = resolve(mlp);
  EXPECT_EQ(with.product, true);
  EXPECT_EQ(with.dropout, (DropoutRates{0.5, 0.5}));
  EXPECT_EQ(with.reg, 0.03);
  EXPECT_EQ(with.learning_rate, 0.02 * 512);
  const auto without = [&](const std::function<void(TrainOptions&)>& change) {
    TrainOptions options = mlp;
    change(options);
    const TrainOptions resolved = resolve(options);
    EXPECT_FALSE(resolved.product.value_or(false));
    EXPECT_EQ(resolved.dropout, (DropoutRates{0.4, 0.4}));
    EXPECT_EQ(resolved.learning_rate, 0.01 * 512);
  };
  without([](TrainOptions& o) { o.product = false; });
  without([](TrainOptions& o) { o.item_dim = 7; });
  without([](TrainOptions& o) { o.output = ActivationKind::relu; });
  without([](TrainOptions& o) { o.units = UnitsKind::raw; });
  mlp.model = ModelKind::neumf;
  EXPECT_FALSE(resolve(mlp).product);
}

TEST(Options, TheBiasModelTakesNoneOfTraining) {
  TrainOptions bias;
  bias.model = ModelKind::bias;
  const TrainOptions resolved = resolve(bias);
  EXPECT_FALSE(resolved.epochs);
  EXPECT_FALSE(resolved.dim);
  EXPECT_EQ(to_toml(resolve(resolved)), to_toml(resolved));
  for (const auto& [key, value] : std::map<std::string, std::string>{{"validation", "0.2"},
                                                                     {"clip", "off"},
                                                                     {"seed", "9"},
                                                                     {"device", "cpu"},
                                                                     {"threads", "3"},
                                                                     {"deterministic", "on"}}) {
    TrainOptions taken = bias;
    set_option(taken, key, value);
    EXPECT_NO_THROW(resolve(taken)) << key;
  }
  std::size_t refused = 0;
  for (const OptionInfo& info : option_table()) {
    if (info.key == "model" || info.key == "validation" || info.key == "clip" || info.key == "seed" ||
        info.key == "device" || info.key == "threads" || info.key == "deterministic" || info.key == "validation_seed") {
      continue;
    }
    TrainOptions given = bias;
    set_option(given, std::string(info.key), std::string(info.examples.front()));
    try {
      resolve(given);
      ADD_FAILURE() << info.key << " is taken";
    } catch (const InputError& error) {
      EXPECT_EQ(error.key(), info.key);
      ++refused;
    }
  }
  EXPECT_GT(refused, 30U);
}

TEST(Options, ResolveFillsInWhatFeaturesNeed) {
  TrainOptions options;
  options.features = "genres";
  const TrainOptions mf = resolve(options);
  EXPECT_EQ(mf.optimizer, OptimizerChoice::sgd_and_adam);
  EXPECT_EQ(mf.batch, 1024);
  EXPECT_EQ(mf.feature_reg, 0.01);
  EXPECT_EQ(solver_of(mf), SolverKind::mini_batch);
  options.optimizer = OptimizerChoice::sgd;
  EXPECT_EQ(resolve(options).batch, 1024) << "per-rating SGD takes no features";
  EXPECT_EQ(solver_of(resolve(options)), SolverKind::mini_batch);
  options.optimizer.reset();
  options.model = ModelKind::mlp;
  EXPECT_EQ(resolve(options).feature_dropout, 0.0);
  EXPECT_EQ(resolve(options).feature_reg, 0.001);
  EXPECT_FALSE(resolve(options).factors);
  options.model = ModelKind::neumf;
  options.dim = 12;
  EXPECT_EQ(resolve(options).factors, 12);
  options.factors = 5;
  EXPECT_EQ(resolve(options).factors, 5);
  EXPECT_EQ(resolve(options).user_dim, 12);
  set_option(options, "feature_dim", "8");
  EXPECT_EQ(options.feature_dim, (std::vector<FeatureDim>{{"", 8}}));
  set_option(options, "feature_dim", "genres=8,a=b=4");
  EXPECT_EQ(options.feature_dim, (std::vector<FeatureDim>{{"genres", 8}, {"a=b", 4}}));
}

TEST(Options, SgdForRowsAndAdamForWhatTheyShare) {
  TrainOptions options;
  options.model = ModelKind::mlp;
  options.product = false;
  options.optimizer = OptimizerChoice::sgd_and_adam;
  options.batch = 1000;
  options.adam_lr = 0.01;
  options.dense_reg = 0.5;
  const TrainOptions resolved = resolve(options);
  EXPECT_DOUBLE_EQ(resolved.learning_rate.value(), 10.0) << "of a mean over the batch: it grows with that";
  options.batch = 1 << 20;
  EXPECT_DOUBLE_EQ(resolve(options).learning_rate.value(), 10485.76)
      << "without end: damping keeps it from overshooting";
  options.batch = 1000;
  const OptimizerOptions plan = mini_batch_options(resolved).optimizer;
  EXPECT_EQ(plan.rows.kind, OptimizerKind::sgd);
  EXPECT_EQ(plan.rows.rate, 1.0F);
  ASSERT_TRUE(plan.shared.has_value());
  EXPECT_EQ(plan.dense().kind, OptimizerKind::adam);
  EXPECT_FLOAT_EQ(plan.dense().rate, 0.001F);
  EXPECT_EQ(plan.dense().l2, 0.5F);
  EXPECT_EQ(plan.features().l2, 0.0F);
  options.optimizer = OptimizerChoice::adam;
  EXPECT_THROW(resolve(options), InputError) << "adam has `lr` alone";
  options = {};
  options.optimizer = OptimizerChoice::sgd_and_adam;
  EXPECT_THROW(resolve(options), InputError) << "mf has nothing for Adam without features";
  options.features = "genres";
  EXPECT_EQ(resolve(options).batch, 1024);
}

TEST(Options, DefaultsOfSmallBatchesAreWhatTheyWere) {
  for (const char* optimizer : {"sgd", "adam", "adagrad"}) {
    TrainOptions options;
    test::set_or_clear(options, "optimizer", optimizer);
    options.batch = optimizer == std::string("sgd") ? 1024 : 4096;
    const TrainOptions resolved = resolve(options);
    EXPECT_FALSE(resolved.damping) << optimizer;
    EXPECT_EQ(resolved.beta1, 0.9) << optimizer;
    EXPECT_EQ(resolved.beta2, 0.999) << optimizer;
    EXPECT_EQ(resolved.warmup, 0.0) << optimizer;
    EXPECT_EQ(to_toml(resolved).find("damping"), std::string::npos) << "runs of before have no such line";
    EXPECT_EQ(mini_batch_options(resolved).optimizer.rows.kind, optimizer == std::string("sgd") ? OptimizerKind::sgd
                                                                : optimizer == std::string("adam")
                                                                    ? OptimizerKind::adam
                                                                    : OptimizerKind::adagrad);
  }
}

TEST(Options, LargeBatchesOfSgdGrowTheRateAndDampTheRows) {
  TrainOptions options;
  options.optimizer = OptimizerChoice::sgd;
  options.batch = 65536;
  EXPECT_DOUBLE_EQ(resolve(options).learning_rate.value(), 0.02 * 65536);
  EXPECT_EQ(resolve(options).damping, 0.1);
  options.batch = 1025;
  EXPECT_EQ(resolve(options).damping, 0.1);
  options.batch = 65536;
  options.model = ModelKind::mlp;
  options.product = false;
  // The rate is that of what all users and items share, too: it does not grow.
  EXPECT_EQ(resolve(options).learning_rate, 0.05);
  EXPECT_FALSE(resolve(options).damping);
  options.optimizer = OptimizerChoice::sgd_and_adam;
  options.weight_decay = 0.5;
  const TrainOptions resolved = resolve(options);
  EXPECT_DOUBLE_EQ(resolved.learning_rate.value(), 0.01 * 65536);
  EXPECT_EQ(resolved.adam_lr, 0.0015);
  EXPECT_EQ(resolved.beta2, 0.999);
  EXPECT_EQ(resolved.damping, 0.1);
  EXPECT_EQ(to_toml(resolve(resolved)), to_toml(resolved));
  const OptimizerOptions plan = mini_batch_options(resolved).optimizer;
  EXPECT_EQ(plan.rows.kind, OptimizerKind::adam);
  EXPECT_EQ(plan.rows.beta1, 0.0F) << "damped SGD has no momentum";
  EXPECT_FLOAT_EQ(plan.rows.epsilon, 1.0F / 6553.6F);
  EXPECT_EQ(plan.rows.rate, plan.rows.epsilon) << "where gradients are small it is SGD";
  EXPECT_FLOAT_EQ(plan.rows.rate * plan.rows.weight_decay, 0.5F);
  EXPECT_EQ(plan.dense().beta1, 0.9F);
  EXPECT_EQ(plan.dense().epsilon, 1e-8F);
  EXPECT_EQ(plan.dense().weight_decay, 0.5F);
  options.damping = 0.0;
  EXPECT_EQ(mini_batch_options(resolve(options)).optimizer.rows.kind, OptimizerKind::sgd);
  options.optimizer = OptimizerChoice::sgd;
  options.damping = 0.3;
  EXPECT_EQ(mini_batch_options(resolve(options)).optimizer.dense().kind, OptimizerKind::sgd)
      << "damping is of rows alone";
  EXPECT_EQ(mini_batch_options(resolve(options)).optimizer.rows.kind, OptimizerKind::adam);
}

TEST(Options, LargeBatchesOfAdamHaveALargerRateAndAShorterMemory) {
  for (const char* model : {"mf", "mlp"}) {
    TrainOptions options;
    test::set_or_clear(options, "model", model);
    options.optimizer = OptimizerChoice::adam;
    options.batch = 16384;
    const TrainOptions resolved = resolve(options);
    EXPECT_DOUBLE_EQ(resolved.learning_rate.value(), 0.01) << "the square root of the batch";
    EXPECT_EQ(resolved.beta1, 0.5);
    EXPECT_EQ(resolved.beta2, 0.9);
    EXPECT_FALSE(resolved.damping);
    options.beta1 = 0.0;
    options.beta2 = 0.99;
    EXPECT_EQ(resolve(options).beta1, 0.0);
    EXPECT_EQ(resolve(options).beta2, 0.99);
  }
}

TEST(Options, StringsAreQuotedInToml) {
  TrainOptions options;
  options.features = "/a \"b\"\\c:x\ny";
  EXPECT_NE(to_toml(options).find("features = \"/a \\\"b\\\"\\\\c:x\\ny\"\n"), std::string::npos) << to_toml(options);
  options.features = "\xE9:x";
  EXPECT_THROW(to_toml(options), InputError);
}

TEST(Options, ListsOfWidthsAndRates) {
  TrainOptions options;
  options.model = ModelKind::mlp;
  options.layers = {100, 50, 20};
  options.dropout = {0.2, 0.2};
  EXPECT_EQ(layer_widths(resolve(options)), (std::vector<std::int64_t>{100, 50, 20, 1}));
  EXPECT_EQ(resolve(options).dropout, (DropoutRates{0.2, 0.2}));
  options.layers = std::vector<std::int32_t>();
  options.dropout = {0.1, 0};
  EXPECT_EQ(layer_widths(resolve(options)), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(resolve(options).dropout, (DropoutRates{0.1, 0.0}));
}

TEST(Options, ResolveIsIdempotent) {
  for (const char* model : {"mf", "mlp", "neumf"}) {
    for (const char* optimizer : {"", "sgd", "adagrad", "adam"}) {
      for (const char* features : {"", "genres"}) {
        TrainOptions options;
        test::set_or_clear(options, "model", model);
        test::set_or_clear(options, "optimizer", optimizer);
        options.features = features;
        const TrainOptions once = resolve(options);
        EXPECT_EQ(to_toml(once), to_toml(resolve(once)));
      }
    }
  }
}

TEST(Options, EveryBadValueNamesItsOption) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::string, std::function<void(TrainOptions&)>>> cases = {
      {"model", [](auto& o) { set_option(o, "model", "svd"); }},
      {"optimizer", [](auto& o) { set_option(o, "optimizer", "als"); }},
      {"loss", [](auto& o) { set_option(o, "loss", "huber"); }},
      {"loss", [](auto& o) { o.loss = LossKind::mae; }},  // per-rating SGD has mse only
      {"dim", [](auto& o) { o.dim = 0; }},
      {"dim", [](auto& o) { o.dim = 1025; }},
      {"epochs", [](auto& o) { o.epochs = 0; }},
      {"lr", [](auto& o) { o.learning_rate = 0.0; }},
      {"lr", [&](auto& o) { o.learning_rate = nan; }},
      {"reg", [](auto& o) { o.reg = -0.5; }},
      {"rate_decay", [](auto& o) { o.rate_decay = -0.1; }},
      {"rate_decay", [&](auto& o) { o.rate_decay = nan; }},
      {"rate_decay", [](auto& o) { o.rate_decay = 0.1, o.optimizer = OptimizerChoice::adam; }},  // per-rating SGD alone
      {"rate_decay", [](auto& o) { o.rate_decay = 0.1, o.model = ModelKind::mlp; }},
      {"schedule", [](auto& o) { set_option(o, "schedule", "cosine"); }},
      {"batch", [](auto& o) { o.batch = -1; }},
      {"damping", [](auto& o) { o.damping = 0.1; }},  // per-rating SGD has none
      {"damping", [](auto& o) { o.damping = -0.1, o.batch = 64; }},
      {"damping", [&](auto& o) { o.damping = nan, o.batch = 64; }},
      {"damping", [](auto& o) { o.damping = 0.1, o.optimizer = OptimizerChoice::adam; }},
      {"damping", [](auto& o) { o.damping = 0.1, o.optimizer = OptimizerChoice::adagrad, o.model = ModelKind::mlp; }},
      {"warmup", [](auto& o) { o.warmup = 1.0; }},  // per-rating SGD has no steps
      {"warmup", [](auto& o) { o.warmup = -1.0, o.batch = 64; }},
      {"warmup", [&](auto& o) { o.warmup = nan, o.batch = 64; }},
      {"warmup", [](auto& o) { o.warmup = 3.5, o.epochs = 3, o.batch = 64; }},
      {"init", [](auto& o) { set_option(o, "init", "zeros"); }},
      {"beta1", [](auto& o) { o.beta1 = 1.0; }},
      {"beta2", [&](auto& o) { o.beta2 = nan; }},
      {"epsilon", [](auto& o) { o.epsilon = 0.0; }},
      {"validation", [](auto& o) { o.validation = 1.0; }},
      {"patience", [](auto& o) { o.patience = -1; }},
      {"patience", [](auto& o) { o.patience = 2, o.validation = 0.0; }},
      {"device", [](auto& o) { o.device = "tpu"; }},
      {"threads", [](auto& o) { o.threads = -1; }},
      {"precision", [](auto& o) { set_option(o, "precision", "f64"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "lanes=3"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "lanes"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "ahead=8"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "split=15"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "hot=2000"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "hot=1.5"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "reductions=fast"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "lanes=8,,ahead=2"); }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "lanes=8"), o.batch = 1024; }},
      {"sgd_kernel", [](auto& o) { set_option(o, "sgd_kernel", "lanes=8"), o.model = ModelKind::mlp; }},
      {"weight_decay", [](auto& o) { o.weight_decay = 0.1; }},  // per-rating SGD has none
      {"weight_decay", [](auto& o) { o.weight_decay = -1.0, o.model = ModelKind::mlp; }},
      {"user_dim", [](auto& o) { o.user_dim = 5; }},  // mf has none of these
      {"item_dim", [](auto& o) { o.item_dim = 5; }},
      {"layers", [](auto& o) { o.layers = {10}; }},
      {"activations", [](auto& o) { o.activations = {ActivationKind::relu}; }},
      {"output", [](auto& o) { o.output = ActivationKind::linear; }},
      {"dropout",
       [](auto& o) {
         o.dropout = {0.2, 0.2};
       }},
      {"dense_dropout", [](auto& o) { o.dense_dropout = 0.2; }},
      {"dense_reg", [](auto& o) { o.dense_reg = 0.2; }},
      {"products", [](auto& o) { o.products = ProductPrecision::tf32; }},
      {"products", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "products", "f16"); }},
      {"user_dim", [](auto& o) { o.model = ModelKind::mlp, o.user_dim = 0; }},
      {"item_dim", [](auto& o) { o.model = ModelKind::mlp, o.item_dim = 1025; }},
      {"layers", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "layers", "10,,5"); }},
      {"layers",
       [](auto& o) {
         o.model = ModelKind::mlp, o.layers = {10, 0};
       }},
      {"layers", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "layers", "10,5.5"); }},
      {"layers", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "layers", "10 5"); }},
      {"layers", [](auto& o) { o.model = ModelKind::mlp, o.layers = {9000}; }},
      {"layers", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "layers", ","); }},
      {"activations", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "activations", "swish"); }},
      {"activations",
       [](auto& o) {
         o.model = ModelKind::mlp, o.layers = {8, 4},
         o.activations = {ActivationKind::relu, ActivationKind::relu, ActivationKind::relu};
       }},
      {"output", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "output", "softmax"); }},
      {"dropout",
       [](auto& o) {
         o.model = ModelKind::mlp, o.dropout = {1, 1};
       }},
      {"dropout", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "dropout", "nan"); }},
      {"dropout", [](auto& o) { o.model = ModelKind::mlp, set_option(o, "dropout", "0.1,0.1,0.1"); }},
      {"dense_dropout", [](auto& o) { o.model = ModelKind::mlp, o.dense_dropout = 1.0; }},
      {"dense_reg", [](auto& o) { o.model = ModelKind::mlp, o.dense_reg = -2.0; }},
      {"product", [](auto& o) { o.product = true; }},
      {"product", [](auto& o) { o.product = true, o.model = ModelKind::neumf; }},
      {"product", [](auto& o) { o.product = true, o.model = ModelKind::mlp, o.user_dim = 7; }},
      {"product", [](auto& o) { o.product = true, o.model = ModelKind::mlp, o.output = ActivationKind::sigmoid; }},
      {"factors", [](auto& o) { o.factors = 8; }},
      {"factors", [](auto& o) { o.factors = 8, o.model = ModelKind::mlp; }},
      {"factors", [](auto& o) { o.factors = 0, o.model = ModelKind::neumf; }},
      {"factors", [](auto& o) { o.factors = 1025, o.model = ModelKind::neumf; }},
      {"output", [](auto& o) { o.output = ActivationKind::relu, o.model = ModelKind::neumf; }},
      {"output", [](auto& o) { o.output = ActivationKind::sigmoid, o.model = ModelKind::neumf; }},
      {"feature_dim",
       [](auto& o) {
         o.feature_dim = {{"", 8}}, o.model = ModelKind::mlp;
       }},  // without --features
      {"feature_dropout", [](auto& o) { o.feature_dropout = 0.1, o.model = ModelKind::mlp; }},
      {"feature_reg", [](auto& o) { o.feature_reg = 0.1; }},
      {"feature_dim",
       [](auto& o) {
         o.features = "x", o.feature_dim = {{"", 8}};
       }},  // mf has --dim
      {"feature_dropout", [](auto& o) { o.features = "x", o.feature_dropout = 0.1; }},
      {"feature_dropout", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, o.feature_dropout = 1.0; }},
      {"feature_reg", [](auto& o) { o.features = "x", o.feature_reg = -2.0; }},
      {"feature_reg", [&](auto& o) { o.features = "x", o.model = ModelKind::neumf, o.feature_reg = nan; }},
      {"feature_dim", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, o.feature_dim = {{"", 0}}; }},
      {"feature_dim", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, o.feature_dim = {{"", 1025}}; }},
      {"feature_dim", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, set_option(o, "feature_dim", "2.5"); }},
      {"feature_dim", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, set_option(o, "feature_dim", "x"); }},
      {"feature_dim", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, set_option(o, "feature_dim", "x="); }},
      {"feature_dim", [](auto& o) { o.features = "x", o.model = ModelKind::mlp, set_option(o, "feature_dim", "=8"); }},
      {"feature_dim",
       [](auto& o) { o.features = "x", o.model = ModelKind::mlp, set_option(o, "feature_dim", "x=8,"); }},
      {"batch", [](auto& o) { o.features = "x", o.batch = 1; }},
      {"batch", [](auto& o) { o.features = "x", o.batch = 1, o.optimizer = OptimizerChoice::sgd; }},
      {"rate_decay", [](auto& o) { o.features = "x", o.rate_decay = 0.1, o.optimizer = OptimizerChoice::sgd; }},
  };
  for (const auto& [option, spoil] : cases) {
    TrainOptions options;
    try {
      spoil(options);
      resolve(options);
      ADD_FAILURE() << option << " was taken";
    } catch (const InputError& error) {
      EXPECT_EQ(error.key(), option) << error.what();
      EXPECT_FALSE(error.problem().empty()) << error.what();
      EXPECT_FALSE(error.remedy().empty()) << error.what();
    }
  }
}

// One who shows errors beside a form's fields, or writes options another way, has the parts.
TEST(Options, AnErrorHasItsParts) {
  TrainOptions options;
  options.rate_decay = 0.5;
  options.batch = 1024;
  try {
    resolve(options);
    FAIL() << "taken";
  } catch (const InputError& error) {
    EXPECT_EQ(error.key(), "rate_decay");
    EXPECT_EQ(error.problem(), "0.5");
    EXPECT_EQ(error.remedy(),
              "only per-rating SGD has it: give `model` mf `optimizer` sgd `batch` 1; adagrad and adam have rates of "
              "their own");
    EXPECT_EQ(std::string(error.what()), "`rate_decay` 0.5: " + error.remedy());
  }
  const InputError plain("ratings.csv:3: no");
  EXPECT_EQ(plain.key() + plain.problem() + plain.remedy(), "");
}

TEST(Options, NotebookPresetIsTheNotebooks) {
  const TrainOptions options = resolve(preset_options("notebook-mf"));
  EXPECT_EQ(options.dim, 3);
  EXPECT_EQ(options.optimizer, OptimizerChoice::adam);
  EXPECT_EQ(options.learning_rate, 0.001);
  EXPECT_EQ(options.schedule, ScheduleKind::constant);
  EXPECT_EQ(options.batch, 32);
  EXPECT_EQ(options.beta1, 0.9);
  EXPECT_EQ(options.beta2, 0.999);
  EXPECT_EQ(options.warmup, 0.0);
  EXPECT_EQ(options.epochs, 50);
  EXPECT_TRUE(options.non_negative);
  EXPECT_FALSE(options.biases);
  EXPECT_EQ(options.init, InitKind::uniform);
  EXPECT_EQ(options.init_scale, 0.05);

  const TrainOptions mlp = resolve(preset_options("notebook-mlp"));
  EXPECT_EQ(mlp.model, ModelKind::mlp);
  EXPECT_EQ(mlp.optimizer, OptimizerChoice::adam);
  EXPECT_EQ(mlp.loss, LossKind::mae);
  EXPECT_EQ(mlp.learning_rate, 0.005);
  EXPECT_EQ(mlp.batch, 32);
  EXPECT_EQ(mlp.epochs, 250);
  EXPECT_EQ(mlp.user_dim, 5);
  EXPECT_EQ(mlp.item_dim, 8);
  EXPECT_EQ(layer_widths(mlp), (std::vector<std::int64_t>{100, 50, 20, 1}));
  EXPECT_EQ(text_of(mlp.activations), "linear,linear,relu");
  EXPECT_EQ(mlp.output, ActivationKind::relu);
  EXPECT_EQ(mlp.dropout, (DropoutRates{0.2, 0.2}));
  EXPECT_THROW(preset_options("notebook"), InputError);
}

/// The option of that key as a line of config.toml, with `value` as the table has it.
std::string config_line(const OptionInfo& info, std::string_view value) {
  switch (info.type) {
    case OptionType::whole_number:
      return fmt::format("{} = {}\n", info.key, value);
    case OptionType::number:
      // TOML tells floats from integers.
      return fmt::format("{} = {}{}\n", info.key, value,
                         value.find_first_of(".e") == std::string_view::npos ? ".0" : "");
    case OptionType::on_or_off:
      return fmt::format("{} = {}\n", info.key, value == "on");
    case OptionType::choice:
    case OptionType::choices:
    case OptionType::text:
      break;
  }
  return fmt::format("{} = \"{}\"\n", info.key, value);
}

class OptionTable : public testing::Test {
 protected:
  OptionTable() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~OptionTable() override { std::filesystem::remove_all(folder_); }

  TrainOptions read(const std::string& config) {
    const std::string path = (folder_ / "config.toml").string();
    write_file_atomically(path, config);
    return read_config(path).options;
  }

  /// The models and optimizers in which options are of use: whatever an option is for is among them.
  static std::vector<std::string> contexts() {
    return {"",
            "model = \"mlp\"\n",
            "model = \"neumf\"\n",
            "batch = 1024\n",
            "optimizer = \"adam\"\n",
            "model = \"mlp\"\nfeatures = \"genres\"\n",
            "features = \"genres\"\n",
            "validation = 0.05\n",
            "model = \"mlp\"\nlayers = \"3,2,1\"\n"};
  }

  /// Why no context takes that option; empty where one does.
  std::string refusal(const OptionInfo& info, std::string_view value) {
    std::string why;
    for (const std::string& context : contexts()) {
      if (context.find(std::string(info.key) + " = ") != std::string::npos) {
        continue;
      }
      try {
        resolve(read(context + config_line(info, value)));
        return "";
      } catch (const InputError& error) {
        why = error.what();
      }
    }
    return why;
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      fmt::format("curate_option_table_{}", testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(OptionTable, HasEveryOptionWithAllThatIsSaidOfIt) {
  std::size_t count = 0;
  visit_options(TrainOptions(), [&](const auto& /*value*/, const OptionInfo& info) {
    EXPECT_EQ(option_table().at(count++).key, info.key);
    EXPECT_EQ(&find_option(info.key), &option_table().at(count - 1));
    EXPECT_FALSE(info.sentence.empty()) << info.key;
    EXPECT_FALSE(info.by_default.empty()) << info.key;
    EXPECT_FALSE(values_of(info).empty()) << info.key;
    EXPECT_FALSE(info.examples.empty()) << info.key;
    EXPECT_EQ(info.choices.empty(), info.type != OptionType::choice && info.type != OptionType::choices) << info.key;
    const bool number = info.type == OptionType::whole_number || info.type == OptionType::number;
    EXPECT_TRUE(!number || std::isfinite(info.least)) << info.key;
    EXPECT_LT(info.least, info.most) << info.key;
  });
  EXPECT_EQ(option_table().size(), count);
  EXPECT_THROW(find_option("learning_rate"), InputError) << "a member's name, not a key";
}

// Catches: an example, a choice or a bound that a training refuses.
TEST_F(OptionTable, WhatItOffersIsTaken) {
  for (const OptionInfo& info : option_table()) {
    for (const std::string_view example : info.examples) {
      EXPECT_EQ(refusal(info, example), "") << info.key << ' ' << example;
    }
    for (const std::string_view choice : info.choices) {
      EXPECT_EQ(refusal(info, choice), "") << info.key << ' ' << choice;
    }
    for (const double bound : {info.least, info.most}) {
      // The greatest seed has more digits than a double.
      if (std::isfinite(bound)) {
        EXPECT_EQ(refusal(info, fmt::format("{}", bound)), "") << info.key << ' ' << bound;
      }
    }
  }
}

// Catches: a bound of the table that nobody checks, a choice that is taken though the table lacks it.
TEST_F(OptionTable, WhatItDoesNotOfferIsRefused) {
  const auto refused = [&](const OptionInfo& info, const std::string& value) {
    for (const std::string& context : contexts()) {
      if (context.find(std::string(info.key) + " = ") != std::string::npos) {
        continue;
      }
      try {
        resolve(read(context + config_line(info, value)));
        ADD_FAILURE() << info.key << ' ' << value << " is taken, with " << context;
      } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find(info.key), std::string::npos) << error.what();
      }
    }
  };
  for (const OptionInfo& info : option_table()) {
    const bool whole = info.type == OptionType::whole_number;
    if (std::isfinite(info.least)) {
      refused(info, fmt::format("{}", whole ? info.least - 1.0 : info.least > 0.0 ? info.least / 2.0 : -0.5));
    }
    if (std::isfinite(info.most)) {
      refused(info, fmt::format("{}", info.most + 1.0));
    }
    if (!info.choices.empty()) {
      refused(info, "nonsense");
      refused(info, std::string(info.choices.front()) + " ");
    }
  }
}

// Catches: a default that has changed in one place alone.
TEST_F(OptionTable, DefaultsAreAsItSays) {
  TrainOptions mf;
  TrainOptions mlp = mf;
  mlp.model = ModelKind::mlp;
  mlp.features = "genres";
  const TrainOptions by_default = resolve(mf);
  const TrainOptions network = resolve(mlp);
  std::map<std::string, std::string, std::less<>> of_mf;
  std::map<std::string, std::string, std::less<>> of_network;
  visit_options(by_default,
                [&](const auto& value, const OptionInfo& info) { of_mf.emplace(info.key, text_of(value)); });
  visit_options(network,
                [&](const auto& value, const OptionInfo& info) { of_network.emplace(info.key, text_of(value)); });
  int compared = 0;
  for (const OptionInfo& info : option_table()) {
    const std::string text(info.by_default);
    if (const auto comma = text.find(", networks ");
        text.starts_with("mf ") && comma != std::string::npos && text.find_first_of(",;") == comma) {
      // "mf 64, networks 32"
      if (info.key != "adam_lr" && info.key != "feature_reg") {  // mf with features alone
        EXPECT_EQ(text.substr(3, comma - 3), of_mf.find(info.key)->second) << info.key;
      }
      EXPECT_EQ(text.substr(comma + 11), of_network.find(info.key)->second) << info.key;
      ++compared;
    } else if (text == "`dim`" && info.key != "factors") {
      EXPECT_EQ(of_network.find(info.key)->second, of_network.find("dim")->second) << info.key;
      ++compared;
    } else if (text.find(' ') == std::string::npos && info.key != "features" && text != "`dim`" &&
               info.key != "model" && info.key != "biases") {
      EXPECT_EQ(text, of_network.find(info.key)->second) << info.key;
      ++compared;
    }
  }
  EXPECT_GE(compared, 31);
  for (const char* key : {"model", "biases"}) {
    EXPECT_EQ(find_option(key).by_default, of_mf.find(key)->second);
  }
}

}  // namespace
}  // namespace curate
