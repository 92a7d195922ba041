#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "curate/options.h"
#include "models/option_lists.h"

namespace curate {

/// Calls visit(key, member, help) for every training option that is set one by one; the one list behind the command
/// line, config.toml and its reader. The command line's flag is the key with `-` for `_`.
template <typename Options, typename Visitor>
void visit_options(Options& options, Visitor&& visit) {
  visit("model", options.model,
        "model: mf (matrix factorization), mlp (neural network over embeddings) or neumf (both added)");
  visit(
      "optimizer", options.optimizer,
      "sgd, adagrad, adam, or sgd+adam: users and items by SGD, features and dense layers by Adam (default: mf without "
      "features sgd, else sgd+adam)");
  visit("loss", options.loss, "mse or mae (mae: mini-batches only)");
  visit("dim", options.dim, "factors per user and item, 1 to 1024 (default: mf 64, mlp 32)");
  visit("user_dim", options.user_dim, "mlp: columns of the users' embedding (default: `dim`)");
  visit("item_dim", options.item_dim, "mlp: columns of the items' embedding (default: `dim`)");
  visit("layers", options.layers, "mlp: widths of the hidden layers, like 100,50,20, or none (default: 64,32)");
  visit("activations", options.activations,
        "mlp: linear, relu, tanh or sigmoid, one for all hidden layers or one for each (default: relu)");
  visit("output", options.output, "mlp: linear, relu, or sigmoid, scaled to the ratings' range (default: linear)");
  visit("dropout", options.dropout, "mlp: rate after the embeddings, one for both or USER,ITEM (default: 0.4)");
  visit("dense_dropout", options.dense_dropout, "mlp: rate after every hidden layer (default: 0)");
  visit("factors", options.factors, "neumf: factors of the dot product (default: `dim`)");
  visit("features", options.features,
        "what else is known of users and items: names like genres,year,age,sex,occupation, or FILE:COLUMN[:KIND]");
  visit("feature_dim", options.feature_dim,
        "mlp: columns of features' embeddings, one for all or NAME=COLUMNS,... (default: by their number of values)");
  visit("feature_dropout", options.feature_dropout, "mlp: rate after every feature's embedding (default: 0)");
  visit("feature_reg", options.feature_reg, "L2 of features' embeddings (default: mf 0.01, mlp 0.001)");
  visit("epochs", options.epochs, "passes over the training ratings, at most (default: mf 20, mlp 25)");
  visit("lr", options.learning_rate, "learning rate (default: by optimizer and batch)");
  visit("adam_lr", options.adam_lr, "sgd+adam: learning rate of Adam (default: mf 0.004, mlp 0.005)");
  visit(
      "damping", options.damping,
      "mini-batch sgd: an element of a user or item steps by lr / (1 + damping * RMS of its gradient, summed over the "
      "batch); 0: plain SGD (default: 0, above batch 1024 0.1)");
  visit("rate_decay", options.rate_decay,
        "per-rating SGD: users and items of n ratings learn at lr / sqrt(1 + rate-decay n (epoch + 1/2))");
  visit("schedule", options.schedule, "learning rate over the run: constant, or linear to zero (default)");
  visit("warmup", options.warmup,
        "mini-batches: epochs over which the learning rates rise linearly from near zero, like 0.5");
  visit("reg", options.reg,
        "L2 per rating, of factors and biases, mlp: of embeddings (default: mf 0.055, by Adam 0.07, with features "
        "0.045; mlp 0.01, by Adam 0.1)");
  visit("dense_reg", options.dense_reg, "mlp: L2 of the dense weights (default: 0)");
  visit("products", options.products,
        "mlp on a GPU: rounding of what wide layers and small stacks multiply: f32 (default), tf32 or bf16");
  visit("weight_decay", options.weight_decay, "decoupled from the gradient, as AdamW has it");
  visit("batch", options.batch, "ratings per step; 1: per-rating SGD (default: mf with sgd 1, else 1024; mlp 512)");
  visit("biases", options.biases, "mf: user and item biases");
  visit("global_mean", options.global_mean, "start from the mean training rating (mf: added to every prediction)");
  visit("non_negative", options.non_negative, "keep all factors at or above 0");
  visit("init", options.init, "first factors: normal or uniform");
  visit("init_scale", options.init_scale,
        "standard deviation (normal) or half-width (uniform) of the first factors (default: mf 0.02, mlp 0.05)");
  visit("dense_updates", options.dense_updates, "update every row at every step, as Keras does; not only the batch's");
  visit("beta1", options.beta1, "Adam: decay of the first moment (default: 0.9; optimizer adam above batch 4096 0.5)");
  visit("beta2", options.beta2,
        "Adam: decay of the second moment (default: 0.999; optimizer adam above batch 4096 0.9)");
  visit("epsilon", options.epsilon, "Adam, Adagrad: added to the denominator");
  visit("validation", options.validation,
        "fraction of the training ratings held out to choose the best epoch; 0: none");
  visit("patience", options.patience, "stop after so many epochs without improvement; 0: run all epochs");
  visit("clip", options.clip, "clamp predictions to the rating scale");
  visit("seed", options.seed, "seed of every random number");
  visit("device", options.device, "auto, cpu, cuda, or cuda:N for the GPU numbered N");
  visit("threads", options.threads, "CPU threads; 0: all cores");
  visit("precision", options.precision, "storage of embeddings: f32, or on a GPU f16 or bf16");
  visit("sgd_kernel", options.sgd_kernel,
        "per-rating SGD on a GPU: how it is done, to be measured: lanes=N,ahead=N,split=N,hot=N,reductions=scalar");
  visit("deterministic", options.deterministic, "same digits for any number of threads and on every run");
}

/// Whether the value means "by model and optimizer" (see TrainOptions).
template <typename T>
bool is_auto(const char* key, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    return value.empty();
  } else if constexpr (std::is_same_v<T, double>) {
    return value == -1.0;
  } else if constexpr (std::is_same_v<T, bool> || std::is_unsigned_v<T>) {
    return false;
  } else {
    return value == -1 || (value == 0 && std::string_view(key) == "batch");
  }
}

}  // namespace curate
