#pragma once

#include "curate/options.h"

namespace curate {

/// Calls visit(key, member, help) for every training option that is set one by one; the one list behind the command
/// line, config.toml and its reader. The command line's flag is the key with `-` for `_`.
template <typename Options, typename Visitor>
void visit_options(Options& options, Visitor&& visit) {
  visit("model", options.model, "model: mf (matrix factorization)");
  visit("optimizer", options.optimizer, "sgd, adagrad or adam");
  visit("loss", options.loss, "mse or mae (mae: mini-batches only)");
  visit("dim", options.dim, "factors per user and item, 1 to 1024");
  visit("epochs", options.epochs, "passes over the training ratings, at most");
  visit("lr", options.learning_rate, "learning rate (default: by optimizer)");
  visit("schedule", options.schedule, "learning rate over the run: constant, or linear to zero (default)");
  visit("reg", options.reg, "L2 per rating, of factors and biases (default: by optimizer)");
  visit("batch", options.batch, "ratings per step; 1: per-rating SGD (default with sgd, else 1024)");
  visit("biases", options.biases, "user and item biases");
  visit("global_mean", options.global_mean, "add the mean training rating to every prediction");
  visit("non_negative", options.non_negative, "keep all factors at or above 0");
  visit("init", options.init, "first factors: normal or uniform");
  visit("init_scale", options.init_scale, "standard deviation (normal) or half-width (uniform) of the first factors");
  visit("dense_updates", options.dense_updates, "update every row at every step, as Keras does; not only the batch's");
  visit("beta1", options.beta1, "Adam: decay of the first moment");
  visit("beta2", options.beta2, "Adam: decay of the second moment");
  visit("epsilon", options.epsilon, "Adam, Adagrad: added to the denominator");
  visit("validation", options.validation,
        "fraction of the training ratings held out to choose the best epoch; 0: none");
  visit("patience", options.patience, "stop after so many epochs without improvement; 0: run all epochs");
  visit("clip", options.clip, "clamp predictions to the rating scale");
  visit("seed", options.seed, "seed of every random number");
  visit("device", options.device, "auto, cpu or cuda");
  visit("threads", options.threads, "CPU threads; 0: all cores");
  visit("precision", options.precision, "storage of embeddings: f32");
  visit("deterministic", options.deterministic, "same digits for any number of threads and on every run");
}

}  // namespace curate
