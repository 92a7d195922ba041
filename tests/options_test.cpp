#include "curate/options.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "curate/error.h"
#include "models/rating_model.h"
#include "train/option_table.h"

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
  TrainOptions mlp;
  mlp.model = "mlp";
  mlp.dim = 24;
  mlp.item_dim = 7;
  mlp = resolve(mlp);
  EXPECT_EQ(mlp.optimizer, "adam");
  EXPECT_EQ(mlp.user_dim, 24);
  EXPECT_EQ(mlp.item_dim, 7);
  EXPECT_FALSE(mlp.layers.empty());
  mlp.batch = 1;
  EXPECT_FALSE(make_plan(resolve(mlp)).per_rating) << "a batch of one rating is a step like any other in a network";
}

TEST(Options, ListsOfWidthsAndRates) {
  TrainOptions options;
  options.model = "mlp";
  options.layers = "100,50,20";
  options.dropout = "0.2";
  EXPECT_EQ(layer_widths(resolve(options)), (std::vector<std::int64_t>{100, 50, 20, 1}));
  EXPECT_EQ(dropout_rates(resolve(options)), (std::vector<double>{0.2, 0.2}));
  options.layers = "none";
  options.dropout = "0.1,0";
  EXPECT_EQ(layer_widths(resolve(options)), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(dropout_rates(resolve(options)), (std::vector<double>{0.1, 0.0}));
}

TEST(Options, ResolveIsIdempotent) {
  for (const char* model : {"mf", "mlp"}) {
    for (const char* optimizer : {"", "sgd", "adagrad", "adam"}) {
      TrainOptions options;
      options.model = model;
      options.optimizer = optimizer;
      const TrainOptions once = resolve(options);
      EXPECT_EQ(to_toml(once), to_toml(resolve(once)));
    }
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
      {"--rate-decay", [](auto& o) { o.rate_decay = -0.1; }},
      {"--rate-decay", [&](auto& o) { o.rate_decay = nan; }},
      {"--rate-decay", [](auto& o) { o.rate_decay = 0.1, o.optimizer = "adam"; }},  // per-rating SGD alone
      {"--rate-decay", [](auto& o) { o.rate_decay = 0.1, o.model = "mlp"; }},
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
      {"--weight-decay", [](auto& o) { o.weight_decay = 0.1; }},  // per-rating SGD has none
      {"--weight-decay", [](auto& o) { o.weight_decay = -1.0, o.model = "mlp"; }},
      {"--user-dim", [](auto& o) { o.user_dim = 5; }},  // mf has none of these
      {"--item-dim", [](auto& o) { o.item_dim = 5; }},
      {"--layers", [](auto& o) { o.layers = "10"; }},
      {"--activations", [](auto& o) { o.activations = "relu"; }},
      {"--output", [](auto& o) { o.output = "linear"; }},
      {"--dropout", [](auto& o) { o.dropout = "0.2"; }},
      {"--dense-dropout", [](auto& o) { o.dense_dropout = 0.2; }},
      {"--dense-reg", [](auto& o) { o.dense_reg = 0.2; }},
      {"--user-dim", [](auto& o) { o.model = "mlp", o.user_dim = 0; }},
      {"--item-dim", [](auto& o) { o.model = "mlp", o.item_dim = 1025; }},
      {"--layers", [](auto& o) { o.model = "mlp", o.layers = "10,,5"; }},
      {"--layers", [](auto& o) { o.model = "mlp", o.layers = "10,0"; }},
      {"--layers", [](auto& o) { o.model = "mlp", o.layers = "10,5.5"; }},
      {"--layers", [](auto& o) { o.model = "mlp", o.layers = "10 5"; }},
      {"--layers", [](auto& o) { o.model = "mlp", o.layers = "9000"; }},
      {"--layers", [](auto& o) { o.model = "mlp", o.layers = ","; }},
      {"--activations", [](auto& o) { o.model = "mlp", o.activations = "swish"; }},
      {"--activations", [](auto& o) { o.model = "mlp", o.layers = "8,4", o.activations = "relu,relu,relu"; }},
      {"--output", [](auto& o) { o.model = "mlp", o.output = "softmax"; }},
      {"--dropout", [](auto& o) { o.model = "mlp", o.dropout = "1"; }},
      {"--dropout", [](auto& o) { o.model = "mlp", o.dropout = "nan"; }},
      {"--dropout", [](auto& o) { o.model = "mlp", o.dropout = "0.1,0.1,0.1"; }},
      {"--dense-dropout", [](auto& o) { o.model = "mlp", o.dense_dropout = 1.0; }},
      {"--dense-reg", [](auto& o) { o.model = "mlp", o.dense_reg = -2.0; }},
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

  const TrainOptions mlp = resolve(preset_options("notebook-mlp"));
  EXPECT_EQ(mlp.model, "mlp");
  EXPECT_EQ(mlp.optimizer, "adam");
  EXPECT_EQ(mlp.loss, "mae");
  EXPECT_EQ(mlp.learning_rate, 0.005);
  EXPECT_EQ(mlp.batch, 32);
  EXPECT_EQ(mlp.epochs, 250);
  EXPECT_EQ(mlp.user_dim, 5);
  EXPECT_EQ(mlp.item_dim, 8);
  EXPECT_EQ(layer_widths(mlp), (std::vector<std::int64_t>{100, 50, 20, 1}));
  EXPECT_EQ(mlp.activations, "linear,linear,relu");
  EXPECT_EQ(mlp.output, "relu");
  EXPECT_EQ(dropout_rates(mlp), (std::vector<double>{0.2, 0.2}));
  EXPECT_THROW(preset_options("notebook"), InputError);
}

}  // namespace
}  // namespace curate
