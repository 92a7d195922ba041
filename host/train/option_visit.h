#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>
#include <vector>

#include "curate/option_table.h"
#include "curate/options.h"

namespace curate {

/// The greatest that a number of 32 bits holds.
inline constexpr double kLargestInt = std::numeric_limits<std::int32_t>::max();

/// Members of an ensemble.
inline constexpr std::int32_t kMostMembers = 64;

/// The names of all values.
template <NamedKind Kind>
std::vector<std::string_view> choices_of() {
  return {kKindNames<Kind>.begin(), kKindNames<Kind>.end()};
}

/// Calls visit(member, info) for every training option that is set one by one: the one list behind option_table().
template <typename Options, typename Visitor>
void visit_options(Options&& options, Visitor&& visit) {
  using Info = OptionInfo;
  visit(options.model,
        Info{.key = "model",
             .type = OptionType::choice,
             .choices = choices_of<ModelKind>(),
             .by_default = "mf",
             .sentence =
                 "mf (matrix factorization), mlp (neural network over embeddings), neumf (both added) or bias (mean, "
                 "user's and item's offset)",
             .examples = {"mlp"}});
  visit(options.optimizer,
        Info{.key = "optimizer",
             .type = OptionType::choice,
             .choices = choices_of<OptimizerChoice>(),
             .by_default = "mf without features sgd, else sgd+adam",
             .sentence = "sgd, adagrad, adam, or sgd+adam: users and items by SGD, features and dense layers by Adam",
             .examples = {"adam"}});
  visit(options.loss, Info{.key = "loss",
                           .type = OptionType::choice,
                           .choices = choices_of<LossKind>(),
                           .by_default = "mse",
                           .sentence = "mean squared or mean absolute error; mae in mini-batches alone",
                           .examples = {"mae"}});
  visit(options.units,
        Info{.key = "units",
             .type = OptionType::choice,
             .choices = choices_of<UnitsKind>(),
             .by_default = "spread; presets raw",
             .sentence = "what ratings are learnt in: spread (less their mean, over their standard deviation) or raw; "
                         "learning rates and L2 are meant in it",
             .examples = {"raw"}});
  visit(options.transform,
        Info{.key = "transform",
             .type = OptionType::choice,
             .choices = choices_of<TransformKind>(),
             .by_default = "none",
             .sentence = "log learns log(1 + rating - lowest rating), for counts and other ratings of which a few are "
                         "very large; predictions and errors are of ratings",
             .examples = {"log"}});
  visit(options.dim, Info{.key = "dim",
                          .type = OptionType::whole_number,
                          .least = 1,
                          .most = 1024,
                          .unit = "columns",
                          .by_default = "mf 64, networks 32",
                          .sentence = "factors of every user and item; networks: columns of their embeddings",
                          .examples = {"128"}});
  visit(options.user_dim, Info{.key = "user_dim",
                               .type = OptionType::whole_number,
                               .least = 1,
                               .most = 1024,
                               .unit = "columns",
                               .by_default = "`dim`",
                               .sentence = "networks: columns of the embedding of users",
                               .examples = {"16"}});
  visit(options.item_dim, Info{.key = "item_dim",
                               .type = OptionType::whole_number,
                               .least = 1,
                               .most = 1024,
                               .unit = "columns",
                               .by_default = "`dim`",
                               .sentence = "networks: columns of the embedding of items",
                               .examples = {"16"}});
  visit(options.layers, Info{.key = "layers",
                             .type = OptionType::text,
                             .least = 1,
                             .most = 8192,
                             .values = "widths from 1 to 8192 with commas between them, like 100,50,20, or none",
                             .by_default = "64,32",
                             .sentence = "networks: widths of the hidden layers",
                             .examples = {"100,50,20", "none"}});
  visit(options.activations, Info{.key = "activations",
                                  .type = OptionType::choices,
                                  .choices = choices_of<ActivationKind>(),
                                  .by_default = "relu",
                                  .sentence = "networks: what follows a hidden layer, one for all or one for each",
                                  .examples = {"relu", "linear,linear,relu"}});
  visit(options.output,
        Info{.key = "output",
             .type = OptionType::choice,
             .choices = {"linear", "relu", "sigmoid"},
             .by_default = "linear",
             .sentence = "networks: what follows the last layer; sigmoid is scaled to the ratings' range",
             .examples = {"sigmoid"}});
  visit(options.dropout, Info{.key = "dropout",
                              .type = OptionType::text,
                              .least = 0,
                              .most = 0.95,
                              .values = "one rate from 0 to 0.95, or two: USER,ITEM",
                              .by_default = "0.5, without product 0.4",
                              .sentence = "networks: rate of dropout after the embeddings, one for both or two",
                              .examples = {"0.2", "0.2,0.5"}});
  visit(options.dense_dropout, Info{.key = "dense_dropout",
                                    .type = OptionType::number,
                                    .least = 0,
                                    .most = 0.95,
                                    .by_default = "0",
                                    .sentence = "networks: rate of dropout after every hidden layer",
                                    .examples = {"0.1"}});
  visit(options.factors, Info{.key = "factors",
                              .type = OptionType::whole_number,
                              .least = 1,
                              .most = 1024,
                              .unit = "columns",
                              .by_default = "`dim`",
                              .sentence = "neumf: factors of the dot product",
                              .examples = {"32"}});
  visit(options.product,
        Info{.key = "product",
             .type = OptionType::on_or_off,
             .by_default = "on if both embeddings have as many columns and the output is linear; `units` raw off",
             .sentence = "mlp: the dot product of the embeddings is added to the output",
             .examples = {"off"}});
  visit(options.features,
        Info{.key = "features",
             .type = OptionType::text,
             .values = "names like genres,year,age,sex,occupation, or FILE:COLUMN[:KIND], with commas between them",
             .by_default = "none",
             .sentence = "what else is known of users and items",
             .examples = {"genres,year", "films.csv:director"}});
  visit(options.feature_dim, Info{.key = "feature_dim",
                                  .type = OptionType::text,
                                  .least = 1,
                                  .most = 1024,
                                  .values = "a number of columns from 1 to 1024, or NAME=COLUMNS,NAME=COLUMNS",
                                  .unit = "columns",
                                  .by_default = "by their number of values",
                                  .sentence = "networks: columns of features' embeddings",
                                  .examples = {"8", "genres=8,age=4"}});
  visit(options.feature_dropout, Info{.key = "feature_dropout",
                                      .type = OptionType::number,
                                      .least = 0,
                                      .most = 0.95,
                                      .by_default = "0",
                                      .sentence = "networks: rate of dropout after every feature's embedding",
                                      .examples = {"0.1"}});
  visit(options.feature_reg, Info{.key = "feature_reg",
                                  .type = OptionType::number,
                                  .least = 0,
                                  .most = 1e+06,
                                  .by_default = "mf 0.01, networks 0.001",
                                  .sentence = "L2 of features' embeddings, added to the mean loss",
                                  .examples = {"0.005"}});
  visit(options.epochs, Info{.key = "epochs",
                             .type = OptionType::whole_number,
                             .least = 1,
                             .most = kLargestInt,
                             .unit = "epochs",
                             .by_default = "mf 20, networks 25",
                             .sentence = "passes over the training ratings, at most",
                             .examples = {"40"}});
  visit(options.learning_rate, Info{.key = "lr",
                                    .type = OptionType::number,
                                    .least = 1e-12,
                                    .most = 1e+06,
                                    .by_default = "by optimizer and batch",
                                    .sentence = "learning rate",
                                    .examples = {"0.02"}});
  visit(options.adam_lr, Info{.key = "adam_lr",
                              .type = OptionType::number,
                              .least = 1e-12,
                              .most = 1e+06,
                              .by_default = "mf 0.004, networks 0.0015",
                              .sentence = "optimizer sgd+adam: learning rate of Adam",
                              .examples = {"0.002"}});
  visit(options.damping, Info{.key = "damping",
                              .type = OptionType::number,
                              .least = 0,
                              .most = 1e+06,
                              .by_default = "0, above batch 1024 0.1",
                              .sentence = "mini-batch SGD: an element of a user or item steps by lr / (1 + damping * "
                                          "RMS of its gradient, summed over the batch); 0: plain SGD",
                              .examples = {"0.1"}});
  visit(options.rate_decay,
        Info{.key = "rate_decay",
             .type = OptionType::number,
             .least = 0,
             .most = 1e+06,
             .by_default = "0",
             .sentence =
                 "per-rating SGD: users and items of n ratings learn at lr / sqrt(1 + `rate_decay` n (epoch + 1/2))",
             .examples = {"0.001"}});
  visit(options.schedule, Info{.key = "schedule",
                               .type = OptionType::choice,
                               .choices = choices_of<ScheduleKind>(),
                               .by_default = "linear",
                               .sentence = "learning rate over the run: constant, or linear to zero",
                               .examples = {"constant"}});
  visit(options.warmup,
        Info{.key = "warmup",
             .type = OptionType::number,
             .least = 0,
             .values = "0 to `epochs`",
             .unit = "epochs",
             .by_default = "0",
             .sentence = "mini-batches: epochs over which the learning rates rise linearly from near zero",
             .examples = {"0.5"}});
  visit(options.reg,
        Info{.key = "reg",
             .type = OptionType::number,
             .least = 0,
             .most = 1e+06,
             .by_default =
                 "mf 0.04, by Adam 0.07, with features 0.045; mlp 0.03, without product 0.02, neumf 0.07, by Adam 0.1",
             .sentence = "L2 per rating, of factors and biases; networks: of embeddings",
             .examples = {"0.05"}});
  visit(options.row_reg,
        Info{.key = "row_reg",
             .type = OptionType::number,
             .least = 0,
             .most = 1e4,
             .by_default = "per-rating SGD 3, with `units` raw 0",
             .sentence = "per-rating SGD: L2 of a user's or item's factors once an epoch, whatever its ratings",
             .examples = {"5"}});
  visit(options.dense_reg, Info{.key = "dense_reg",
                                .type = OptionType::number,
                                .least = 0,
                                .most = 1e+06,
                                .by_default = "40 over the training ratings, at most 0.01",
                                .sentence = "networks: L2 of the dense weights, added to the mean loss",
                                .examples = {"0.0001"}});
  visit(options.products, Info{.key = "products",
                               .type = OptionType::choice,
                               .choices = choices_of<ProductPrecision>(),
                               .by_default = "f32",
                               .sentence = "networks on a GPU: rounding of what wide layers and small stacks multiply",
                               .examples = {"tf32"}});
  visit(options.weight_decay, Info{.key = "weight_decay",
                                   .type = OptionType::number,
                                   .least = 0,
                                   .most = 1e+06,
                                   .by_default = "0",
                                   .sentence = "decay of the weights apart from the gradient, as AdamW has it",
                                   .examples = {"0.01"}});
  visit(options.batch, Info{.key = "batch",
                            .type = OptionType::whole_number,
                            .least = 1,
                            .most = 1 << 30,
                            .unit = "ratings",
                            .by_default = "mf with sgd 1, else 1024; networks 512",
                            .sentence = "ratings per step; 1: per-rating SGD",
                            .examples = {"4096"}});
  visit(options.biases, Info{.key = "biases",
                             .type = OptionType::on_or_off,
                             .by_default = "on",
                             .sentence = "mf: user and item biases",
                             .examples = {"off"}});
  visit(options.global_mean,
        Info{.key = "global_mean",
             .type = OptionType::on_or_off,
             .by_default = "on",
             .sentence = "start from the mean training rating; mf: it is added to every prediction",
             .examples = {"off"}});
  visit(options.non_negative, Info{.key = "non_negative",
                                   .type = OptionType::on_or_off,
                                   .by_default = "off",
                                   .sentence = "keep all factors at or above 0",
                                   .examples = {"on"}});
  visit(options.init, Info{.key = "init",
                           .type = OptionType::choice,
                           .choices = choices_of<InitKind>(),
                           .by_default = "normal",
                           .sentence = "distribution of the first factors",
                           .examples = {"uniform"}});
  visit(options.init_scale, Info{.key = "init_scale",
                                 .type = OptionType::number,
                                 .least = 0,
                                 .most = 1e+06,
                                 .by_default = "mf and neumf 0.02, mlp 0.05",
                                 .sentence = "standard deviation (normal) or half-width (uniform) of the first factors",
                                 .examples = {"0.1"}});
  visit(options.dense_updates, Info{.key = "dense_updates",
                                    .type = OptionType::on_or_off,
                                    .by_default = "off",
                                    .sentence = "update every row at every step, as Keras does; not only the batch's",
                                    .examples = {"on"}});
  visit(options.beta1, Info{.key = "beta1",
                            .type = OptionType::number,
                            .least = 0,
                            .most = 1.0 - 1e-7,
                            .by_default = "0.9; optimizer adam above batch 4096 0.5",
                            .sentence = "Adam: decay of the first moment",
                            .examples = {"0.9"}});
  visit(options.beta2, Info{.key = "beta2",
                            .type = OptionType::number,
                            .least = 0,
                            .most = 1.0 - 1e-7,
                            .by_default = "0.999; optimizer adam above batch 4096 0.9",
                            .sentence = "Adam: decay of the second moment",
                            .examples = {"0.999"}});
  visit(options.epsilon, Info{.key = "epsilon",
                              .type = OptionType::number,
                              .least = 1e-30,
                              .most = 1,
                              .by_default = "1e-08",
                              .sentence = "Adam, Adagrad: added to the denominator",
                              .examples = {"1e-7"}});
  visit(options.validation,
        Info{.key = "validation",
             .type = OptionType::number,
             .least = 0,
             .most = 0.9,
             .by_default = "0.05",
             .sentence = "fraction of the training ratings held out to choose the best epoch; 0: none",
             .examples = {"0.1"}});
  visit(options.refit,
        Info{.key = "refit",
             .type = OptionType::on_or_off,
             .by_default = "on; presets off",
             .sentence = "once the validation part has chosen the number of epochs, train on all training ratings",
             .examples = {"off"}});
  visit(options.patience, Info{.key = "patience",
                               .type = OptionType::whole_number,
                               .least = 0,
                               .most = kLargestInt,
                               .unit = "epochs",
                               .by_default = "0",
                               .sentence = "stop after so many epochs without improvement; 0: run all epochs",
                               .examples = {"5"}});
  visit(options.clip, Info{.key = "clip",
                           .type = OptionType::on_or_off,
                           .by_default = "on",
                           .sentence = "clamp predictions to the rating scale",
                           .examples = {"off"}});
  visit(options.seed, Info{.key = "seed",
                           .type = OptionType::whole_number,
                           .least = 0,
                           .values = "0 to 2^64 - 1",
                           .by_default = "1",
                           .sentence = "seed of every random number",
                           .examples = {"7"}});
  visit(options.validation_seed, Info{.key = "validation_seed",
                                      .type = OptionType::whole_number,
                                      .least = 0,
                                      .values = "0 to 2^64 - 1",
                                      .by_default = "that of `seed`",
                                      .sentence = "seed that chooses the validation part",
                                      .examples = {"1"}});
  visit(options.ensemble,
        Info{.key = "ensemble",
             .type = OptionType::text,
             .least = 1,
             .most = kMostMembers,
             .values = "a number of members, or numbers by kind like mf:8,neumf:8; 1 to 64 in all",
             .by_default = "one model",
             .sentence = "several models of other seeds, by kind; the mean of their predictions is the prediction",
             .examples = {"8", "mf:8,neumf:8"}});
  visit(options.device, Info{.key = "device",
                             .type = OptionType::text,
                             .values = "auto, cpu, cuda, cuda:N",
                             .by_default = "auto",
                             .sentence = "where to train: auto, cpu, cuda, or cuda:N for the GPU numbered N",
                             .examples = {"cpu", "cuda:1"}});
  visit(options.threads, Info{.key = "threads",
                              .type = OptionType::whole_number,
                              .least = 0,
                              .most = kLargestInt,
                              .unit = "threads",
                              .by_default = "0",
                              .sentence = "CPU threads; 0: all cores",
                              .examples = {"8"}});
  visit(options.precision, Info{.key = "precision",
                                .type = OptionType::choice,
                                .choices = choices_of<EmbeddingPrecision>(),
                                .by_default = "f32",
                                .sentence = "storage of embeddings; f16 and bf16 on a GPU alone",
                                .examples = {"f16"}});
  visit(options.sgd_kernel, Info{.key = "sgd_kernel",
                                 .type = OptionType::text,
                                 .values = "lanes=1|2|4|8|16|32, ahead=1|2|4, split=16.., hot=0..1024, "
                                           "reductions=vector|scalar, with commas between them",
                                 .by_default = "by the GPU",
                                 .sentence = "per-rating SGD on a GPU: how it is done, to be measured",
                                 .examples = {"lanes=8,ahead=4"}});
  visit(options.deterministic, Info{.key = "deterministic",
                                    .type = OptionType::on_or_off,
                                    .by_default = "off",
                                    .sentence = "same digits for any number of threads and on every run",
                                    .examples = {"on"}});
}

/// Whether there is a value: an empty optional and an empty list are left to resolve().
template <typename T>
bool is_given(const T& value) {
  if constexpr (requires { value.has_value(); }) {
    return value.has_value();
  } else if constexpr (requires { value.empty(); }) {
    return !value.empty();
  } else {
    return true;
  }
}

}  // namespace curate
