#include "solvers/mini_batch.h"

#include <algorithm>

#include "solvers/device_ratings.h"

namespace curate {
namespace {

/// The grouping of every batch by user or item, in device memory.
class DeviceSegments {
 public:
  DeviceSegments(Device& device, std::int64_t ratings, std::int64_t batches) : ratings_(ratings), batches_(batches) {
    const MemoryLabel label(device, "segments");
    rows_ = device.allocate_array<std::int32_t>(ratings);
    starts_ = device.allocate_array<std::int32_t>(ratings);
    positions_ = device.allocate_array<std::int32_t>(ratings);
    counts_ = device.allocate_array<std::int32_t>(batches);
  }

  SegmentsView view() const {
    return {rows_.view(DType::i32, ratings_), starts_.view(DType::i32, ratings_), positions_.view(DType::i32, ratings_),
            counts_.view(DType::i32, batches_)};
  }

 private:
  std::int64_t ratings_;
  std::int64_t batches_;
  Buffer rows_;
  Buffer starts_;
  Buffer positions_;
  Buffer counts_;
};

class MiniBatch : public Solver {
 public:
  MiniBatch(Device& device, RatingModel& model, const SolverData& data, const GradientOptions& gradients,
            const OptimizerOptions& optimizer)
      : device_(&device),
        model_(&model),
        source_(data.ratings),
        num_users_(data.num_users),
        num_items_(data.num_items),
        count_(data.ratings.users.rows),
        batch_(gradients.batch),
        steps_((count_ + batch_ - 1) / batch_),
        optimizer_(device, prepared(model, gradients), optimizer),
        shuffled_(device, count_),
        order_(device.allocate_array<std::int32_t>(count_)),
        user_segments_(device, count_, steps_),
        item_segments_(device, count_, steps_),
        view_{shuffled_.view(), user_segments_.view(), item_segments_.view(), data.state, data.sums},
        step_(device.capture([this] {
          model_->enqueue_gradients(view_);
          optimizer_.enqueue_step(view_);
          device_->enqueue(ops::AdvanceStep{view_.state});
        })) {}

  std::int64_t batch() const override { return batch_; }

  void enqueue_epoch(const Progress& progress) override {
    device_->enqueue(ops::Permute{view_.ratings, order_.view(DType::i32, count_), source_, view_.state});
    device_->enqueue(ops::BuildSegments{view_.user_segments, view_.ratings.users, num_users_, view_.state});
    device_->enqueue(ops::BuildSegments{view_.item_segments, view_.ratings.items, num_items_, view_.state});
    // A hundred pieces an epoch: enough for a progress line, too few to cost anything.
    const std::int64_t piece = std::max<std::int64_t>(1, steps_ / 100);
    for (std::int64_t done = 0; done < steps_; done += piece) {
      device_->replay(*step_, std::min(piece, steps_ - done));
      if (progress) {
        progress(std::min(count_, (done + piece) * batch_), count_);
      }
    }
  }

  std::vector<NamedParameter> slots() const override { return optimizer_.slots(); }

 private:
  static Trainables prepared(RatingModel& model, const GradientOptions& gradients) {
    model.prepare_gradients(gradients);
    return model.trainables();
  }

  Device* device_;
  RatingModel* model_;
  RatingsView source_;
  std::int64_t num_users_;
  std::int64_t num_items_;
  std::int64_t count_;
  std::int64_t batch_;
  std::int64_t steps_;
  Optimizer optimizer_;
  DeviceRatings shuffled_;
  Buffer order_;
  DeviceSegments user_segments_;
  DeviceSegments item_segments_;
  EpochView view_;
  std::unique_ptr<Graph> step_;
};

/// SGD whose steps are divided by 1 + damping * s with s the root mean square of the gradient in the latest ten steps
/// or so, element by element: Adam without momentum, and with an epsilon that most gradients stay below.
///   lr * rate * g / (s + epsilon) = lr * g / (1 + damping * s)  for  rate = epsilon = 1 / damping
OptimizerParams damped_sgd(OptimizerParams sgd, double damping) {
  sgd.kind = OptimizerKind::adam;
  sgd.beta1 = 0.0F;
  sgd.beta2 = 0.9F;
  sgd.epsilon = static_cast<float>(1.0 / damping);
  sgd.rate = sgd.epsilon;
  sgd.weight_decay /= sgd.rate;  // decays at the whole rate
  return sgd;
}

OptimizerOptions optimizer_options(const TrainOptions& resolved) {
  OptimizerOptions options;
  options.rows.kind = resolved.optimizer == OptimizerChoice::adam      ? OptimizerKind::adam
                      : resolved.optimizer == OptimizerChoice::adagrad ? OptimizerKind::adagrad
                                                                       : OptimizerKind::sgd;
  options.rows.weight_decay = static_cast<float>(resolved.weight_decay);
  options.rows.non_negative = resolved.non_negative;
  options.rows.beta1 = static_cast<float>(resolved.beta1.value());
  options.rows.beta2 = static_cast<float>(resolved.beta2.value());
  options.rows.epsilon = static_cast<float>(resolved.epsilon);
  options.dense_updates = resolved.dense_updates;
  options.feature_reg = static_cast<float>(resolved.feature_reg.value_or(0.0));
  options.dense_reg = static_cast<float>(resolved.dense_reg.value_or(0.0));
  if (resolved.optimizer == OptimizerChoice::sgd_and_adam) {
    // Every rating of a batch adds to the gradient of what all share. A step of plain SGD that suits the row of a user,
    // which has few of the batch's ratings, would be far too long there. Adam's step, which is as long for a film with
    // one rating as for a popular one, overfits the rows.
    OptimizerParams shared = options.rows;
    shared.kind = OptimizerKind::adam;
    shared.rate = static_cast<float>(resolved.adam_lr.value() / resolved.learning_rate.value());
    options.shared = shared;
  }
  if (const double damping = resolved.damping.value_or(0.0); damping > 0.0) {
    options.shared = options.shared.value_or(options.rows);
    options.rows = damped_sgd(options.rows, damping * static_cast<double>(resolved.batch.value()));
  }
  return options;
}

}  // namespace

MiniBatchOptions mini_batch_options(const TrainOptions& resolved) {
  MiniBatchOptions options;
  options.optimizer = optimizer_options(resolved);
  GradientOptions& gradients = options.gradients;
  gradients.batch = resolved.batch.value();
  gradients.loss = resolved.loss;
  gradients.reg = static_cast<float>(resolved.reg.value());
  if (is_network(resolved.model)) {
    gradients.feature_dropout = static_cast<float>(resolved.feature_dropout.value_or(0.0));
    const DropoutRates dropout = resolved.dropout.value();
    gradients.dropout = {static_cast<float>(dropout.user), static_cast<float>(dropout.item)};
    gradients.dense_dropout = static_cast<float>(resolved.dense_dropout.value());
    gradients.products = resolved.products.value();
  }
  return options;
}

TrainOptions fit_to_ratings(const TrainOptions& options, std::int64_t ratings) {
  TrainOptions fitted = options;
  if (is_network(options.model) && !fitted.dense_reg) {
    // One prior of the dense weights beside a loss that is a mean over the ratings.
    constexpr double kPrior = 40.0;
    constexpr double kMost = 0.01;
    fitted.dense_reg = std::min(kMost, kPrior / static_cast<double>(ratings));
  }
  const std::int64_t given = options.batch.value();
  const bool sgd = options.optimizer == OptimizerChoice::sgd || options.optimizer == OptimizerChoice::sgd_and_adam;
  if (!sgd || given == 1) {
    return fitted;
  }
  std::int64_t batch = given;
  const bool damped = options.damping.value_or(0.0) > 0.0;
  if (!damped && given < ratings) {
    // A last batch of a few ratings would step as far as a whole batch, and each of its ratings many times as far as
    // others: biases were thrown off by stars. A somewhat smaller batch leaves none over, or more. Damping keeps such
    // steps short.
    constexpr std::int64_t kFewest = 8;  // a part of a batch
    std::int64_t left = ratings % batch;
    while (left > 0 && kFewest * left < batch) {
      --batch;
      left = ratings % batch;
    }
  } else if (given > ratings) {
    batch = std::max<std::int64_t>(2, ratings);  // 1 is per-rating SGD
  }
  fitted.batch = batch;
  fitted.learning_rate = options.learning_rate.value() * (static_cast<double>(batch) / static_cast<double>(given));
  return fitted;
}

std::unique_ptr<Solver> make_mini_batch(Device& device, RatingModel& model, const SolverData& data,
                                        const MiniBatchOptions& options) {
  GradientOptions gradients = options.gradients;
  gradients.batch = std::min(gradients.batch, data.ratings.users.rows);
  return std::make_unique<MiniBatch>(device, model, data, gradients, options.optimizer);
}

}  // namespace curate
