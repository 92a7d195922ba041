#include <algorithm>

#include "models/batch_walk.h"
#include "models/embedding_table.h"
#include "models/rating_model.h"

namespace curate {
namespace {

/// Biased matrix factorization (Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", IEEE
/// Computer 2009, eq. 4): prediction = mean + user_bias + item_bias + <user, item>.
class MatrixFactorization : public RatingModel {
 public:
  MatrixFactorization(Device& device, const MfShape& shape)
      : device_(&device),
        shape_(shape),
        users_(device, shape.users, shape.dim, shape.biases),
        items_(device, shape.items, shape.dim, shape.biases),
        mean_(device.allocate_array<float>(1)) {}

  std::vector<NamedParameter> parameters() const override {
    std::vector<NamedParameter> all = {{"user.embedding", users_.embedding()}, {"item.embedding", items_.embedding()}};
    if (shape_.biases) {
      all.push_back({"user.bias", users_.bias(), true});
      all.push_back({"item.bias", items_.bias(), true});
    }
    all.push_back({"global_mean", mean_view(), true});
    return all;
  }

  void prepare_training(const TrainingPlan& plan) override {
    plan_ = plan;
    if (plan.per_rating) {
      return;
    }
    users_.prepare_training(plan.optimizer, plan.dense_updates);
    items_.prepare_training(plan.optimizer, plan.dense_updates);
    rows_.emplace(*device_, plan.batch, shape_);
    gradients_.emplace(*device_, plan.batch, shape_);
    prediction_ = device_->allocate_array<float>(plan.batch);
    grad_prediction_ = device_->allocate_array<float>(plan.batch);
  }

  std::vector<NamedParameter> gradients() const override {
    std::vector<NamedParameter> all = {{"user.embedding", users_.gradient()}, {"item.embedding", items_.gradient()}};
    if (shape_.biases) {
      all.push_back({"user.bias", users_.bias_gradient(), true});
      all.push_back({"item.bias", items_.bias_gradient(), true});
    }
    return all;
  }

  void enqueue_gradients(const EpochView& epoch) override {
    const MfRows rows = rows_->view(mean_view());
    const MfRows gradients = gradients_->view({});
    const MatrixView prediction = prediction_.view(DType::f32, plan_.batch);
    const MatrixView grad_prediction = grad_prediction_.view(DType::f32, plan_.batch);
    const RatingsView& ratings = epoch.ratings;
    users_.gather(rows.user, rows.user_bias, ratings.users, epoch.state);
    items_.gather(rows.item, rows.item_bias, ratings.items, epoch.state);
    device_->dot_rows(prediction, rows, epoch.state);
    device_->rating_loss(grad_prediction, epoch.sums, prediction, ratings.ratings, plan_.loss, epoch.state);
    device_->dot_rows_backward(gradients, grad_prediction, rows, plan_.reg, epoch.state);
    users_.scatter_add(gradients.user, gradients.user_bias, ratings.users, epoch.user_segments, plan_.scatter,
                       epoch.state);
    items_.scatter_add(gradients.item, gradients.item_bias, ratings.items, epoch.item_segments, plan_.scatter,
                       epoch.state);
  }

  void enqueue_update(const EpochView& epoch) override {
    users_.update(epoch.user_segments, epoch.state);
    items_.update(epoch.item_segments, epoch.state);
  }

  void enqueue_epoch(const EpochView& epoch) override {
    device_->mf_sgd_epoch(tables(), epoch.sums, *epoch.plan,
                          {plan_.reg, plan_.optimizer.non_negative, plan_.rate_decay}, epoch.state);
  }

  void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, ClipRange clip) override {
    device_->sum_squared_error(sums, tables(), ratings, clip);
  }

  std::vector<float> predict(const MatrixView& users, const MatrixView& items) override {
    constexpr std::int64_t kBatch = 65536;
    const std::int64_t batch = std::min(kBatch, users.rows);
    std::vector<float> predictions(static_cast<std::size_t>(users.rows));
    const Rows rows(*device_, batch, shape_);
    const MfRows view = rows.view(mean_view());
    const Buffer prediction = device_->allocate_array<float>(batch);
    BatchWalk(*device_, kBatch).run(users.rows, [&](const MatrixView& state, std::int64_t begin, std::int64_t count) {
      users_.gather(view.user, view.user_bias, users, state);
      items_.gather(view.item, view.item_bias, items, state);
      device_->dot_rows(prediction.view(DType::f32, batch), view, state);
      device_->download(
          std::span<float>(predictions).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
          prediction.view(DType::f32, count));
    });
    return predictions;
  }

 private:
  /// A batch of gathered rows, or of their gradients.
  struct Rows {
    Rows(Device& device, std::int64_t num_rows, const MfShape& table_shape)
        : batch(num_rows),
          shape(table_shape),
          user(device.allocate_array<float>(batch * shape.dim)),
          item(device.allocate_array<float>(batch * shape.dim)),
          user_bias(device.allocate_array<float>(shape.biases ? batch : 0)),
          item_bias(device.allocate_array<float>(shape.biases ? batch : 0)) {}

    MfRows view(const MatrixView& mean) const {
      const std::int64_t bias_rows = shape.biases ? batch : 0;
      return {user.view(DType::f32, batch, shape.dim), item.view(DType::f32, batch, shape.dim),
              user_bias.view(DType::f32, bias_rows), item_bias.view(DType::f32, bias_rows), mean};
    }

    std::int64_t batch;
    MfShape shape;
    Buffer user;
    Buffer item;
    Buffer user_bias;
    Buffer item_bias;
  };

  MatrixView mean_view() const { return mean_.view(DType::f32, 1); }
  MfTables tables() const {
    return {users_.embedding(), items_.embedding(), users_.bias(), items_.bias(), mean_view()};
  }

  Device* device_;
  MfShape shape_;
  EmbeddingTable users_;
  EmbeddingTable items_;
  Buffer mean_;
  TrainingPlan plan_;
  std::optional<Rows> rows_;
  std::optional<Rows> gradients_;
  Buffer prediction_;
  Buffer grad_prediction_;
};

}  // namespace

std::unique_ptr<RatingModel> make_mf(Device& device, const MfShape& shape) {
  return std::make_unique<MatrixFactorization>(device, shape);
}

}  // namespace curate
