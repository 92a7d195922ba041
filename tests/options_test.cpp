#include "curate/options.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "curate/error.h"

namespace curate {
namespace {

TEST(Options, ResolveFillsInWhatIsAuto) {
  const TrainOptions sgd = resolve({});
  EXPECT_EQ(sgd.batch, 1);
  EXPECT_EQ(sgd.schedule, "linear");
  EXPECT_GT(sgd.learning_rate, 0.0);
  EXPECT_GT(sgd.reg, 0.0);
  TrainOptions adam;
  adam.optimizer = "adam";
  EXPECT_EQ(resolve(adam).batch, 1024);
}

TEST(Options, ResolveIsIdempotent) {
  for (const char* optimizer : {"sgd", "adagrad", "adam"}) {
    TrainOptions options;
    options.optimizer = optimizer;
    const TrainOptions once = resolve(options);
    EXPECT_EQ(to_toml(once), to_toml(resolve(once)));
  }
}

TEST(Options, EveryBadValueNamesItsOption) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::string, std::function<void(TrainOptions&)>>> cases = {
      {"--model", [](auto& o) { o.model = "svd"; }},
      {"--optimizer", [](auto& o) { o.optimizer = "als"; }},
      {"--loss", [](auto& o) { o.loss = "huber"; }},
      {"--loss", [](auto& o) { o.loss = "mae"; }},  // per-rating SGD has mse only
      {"--dim", [](auto& o) { o.dim = 0; }},
      {"--dim", [](auto& o) { o.dim = 1025; }},
      {"--epochs", [](auto& o) { o.epochs = 0; }},
      {"--lr", [](auto& o) { o.learning_rate = 0.0; }},
      {"--lr", [&](auto& o) { o.learning_rate = nan; }},
      {"--reg", [](auto& o) { o.reg = -0.5; }},
      {"--schedule", [](auto& o) { o.schedule = "cosine"; }},
      {"--batch", [](auto& o) { o.batch = -1; }},
      {"--init", [](auto& o) { o.init = "zeros"; }},
      {"--beta1", [](auto& o) { o.beta1 = 1.0; }},
      {"--beta2", [&](auto& o) { o.beta2 = nan; }},
      {"--epsilon", [](auto& o) { o.epsilon = 0.0; }},
      {"--validation", [](auto& o) { o.validation = 1.0; }},
      {"--patience", [](auto& o) { o.patience = -1; }},
      {"--patience", [](auto& o) { o.patience = 2, o.validation = 0.0; }},
      {"--device", [](auto& o) { o.device = "tpu"; }},
      {"--threads", [](auto& o) { o.threads = -1; }},
      {"--precision", [](auto& o) { o.precision = "f16"; }},
  };
  for (const auto& [option, spoil] : cases) {
    TrainOptions options;
    spoil(options);
    try {
      resolve(options);
      ADD_FAILURE() << option << " was taken";
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()).rfind(option + " ", 0), 0U) << error.what();
    }
  }
}

TEST(Options, NotebookPresetIsTheNotebooks) {
  const TrainOptions options = resolve(preset_options("notebook-mf"));
  EXPECT_EQ(options.dim, 3);
  EXPECT_EQ(options.optimizer, "adam");
  EXPECT_EQ(options.learning_rate, 0.001);
  EXPECT_EQ(options.schedule, "constant");
  EXPECT_EQ(options.batch, 32);
  EXPECT_EQ(options.epochs, 50);
  EXPECT_TRUE(options.non_negative);
  EXPECT_FALSE(options.biases);
  EXPECT_EQ(options.init, "uniform");
  EXPECT_EQ(options.init_scale, 0.05);
  EXPECT_THROW(preset_options("notebook"), InputError);
}

}  // namespace
}  // namespace curate
