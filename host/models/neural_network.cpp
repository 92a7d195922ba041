#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "models/batch_walk.h"
#include "models/embedding_table.h"
#include "models/layer.h"
#include "models/rating_model.h"
#include "support/philox.h"

namespace curate {
namespace {

/// Rows padded to 16 bytes, but for vectors.
std::int64_t padded(std::int64_t cols) {
  return cols == 1 ? 1 : (cols + 3) / 4 * 4;
}

/// A [batch, cols] matrix.
struct Values {
  Values(Device& device, std::int64_t num_rows, std::int64_t num_cols)
      : rows(num_rows), cols(num_cols), buffer(device.allocate_array<float>(num_rows * padded(num_cols))) {}

  MatrixView view() const { return buffer.view(DType::f32, rows, cols, padded(cols)); }

  std::int64_t rows;
  std::int64_t cols;
  Buffer buffer;
};

/// Embeddings side by side, then a stack of layers down to one output (He et al., "Neural collaborative filtering",
/// WWW 2017, section 3.3, for ratings).
class NeuralNetwork : public RatingModel {
 public:
  NeuralNetwork(Device& device, const MlpShape& shape) : device_(&device) {
    add_input("user", true, {device, shape.users, shape.user_dim, false}, RandomPurpose::dropout_user);
    add_input("item", false, {device, shape.items, shape.item_dim, false}, RandomPurpose::dropout_item);
    std::int64_t width = input_width_;
    for (std::size_t layer = 0; layer < shape.layers.size(); ++layer) {
      layers_.push_back(make_dense_layer(device, width, shape.layers[layer], shape.activations[layer]));
      width = shape.layers[layer];
    }
  }

  std::vector<NamedParameter> parameters() const override {
    std::vector<NamedParameter> all;
    for (const Input& input : inputs_) {
      all.push_back({input.name + ".embedding", input.table.embedding()});
    }
    add_named(all, [](const Layer& layer) { return layer.parameters(); });
    return all;
  }

  std::vector<NamedParameter> gradients() const override {
    std::vector<NamedParameter> all;
    for (const Input& input : inputs_) {
      all.push_back({input.name + ".embedding", input.table.gradient()});
    }
    add_named(all, [](const Layer& layer) { return layer.gradients(); });
    return all;
  }

  void prepare_training(const TrainingPlan& plan) override {
    plan_ = plan;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      inputs_[i].dropout.rate = i < plan.dropout.size() ? plan.dropout[i] : 0.0F;
      inputs_[i].table.prepare_training(plan.optimizer, plan.dense_updates);
    }
    if (plan.dense_dropout > 0.0F) {
      add_dropout_layers();
      // Predictions made earlier had a buffer for every layer of then.
      walk_.reset();
      predictions_.clear();
    }
    values_.emplace_back(*device_, plan.batch, input_width_);
    gradients_.emplace_back(*device_, plan.batch, input_width_);
    for (const auto& layer : layers_) {
      layer->prepare_training(plan);
      values_.emplace_back(*device_, plan.batch, layer->outputs());
      gradients_.emplace_back(*device_, plan.batch, layer->outputs());
    }
  }

  void enqueue_gradients(const EpochView& epoch) override {
    const MatrixView& state = epoch.state;
    for (const Input& input : inputs_) {
      const MatrixView rows = input.columns_of(values_.front());
      input.table.gather(rows, {}, input.index(epoch.ratings), state);
      if (input.dropout.rate > 0.0F) {
        device_->dropout(rows, input.dropout, state);
      }
    }
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      layers_[l]->forward(batch_of(values_, l), state);
    }
    device_->rating_loss(gradients_.back().view(), epoch.sums, values_.back().view(), epoch.ratings.ratings, plan_.loss,
                         state);
    for (std::size_t l = layers_.size(); l-- > 0;) {
      layers_[l]->backward(batch_of(gradients_, l), batch_of(values_, l), state);
    }
    for (Input& input : inputs_) {
      const MatrixView rows = input.columns_of(gradients_.front());
      if (input.dropout.rate > 0.0F) {
        device_->dropout(rows, input.dropout, state);
      }
      if (plan_.reg > 0.0F) {
        device_->add_l2_rows(rows, input.table.embedding(), input.index(epoch.ratings), plan_.reg, state);
      }
      input.table.scatter_add(rows, {}, input.index(epoch.ratings), input.segments(epoch), plan_.scatter, state);
    }
  }

  void enqueue_update(const EpochView& epoch) override {
    for (Input& input : inputs_) {
      input.table.update(input.segments(epoch), epoch.state);
    }
    for (const auto& layer : layers_) {
      layer->update(epoch.state);
    }
  }

  void enqueue_epoch(const EpochView& /*epoch*/) override {
    throw std::logic_error("a network is trained in mini-batches");
  }

  void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, ClipRange clip) override {
    enqueue_predictions(ratings,
                        [&](const MatrixView& prediction, const MatrixView& state, std::int64_t, std::int64_t) {
                          device_->rating_errors(sums, prediction, ratings.ratings, clip, state);
                        });
  }

  std::vector<float> predict(const MatrixView& users, const MatrixView& items) override {
    std::vector<float> predictions(static_cast<std::size_t>(users.rows));
    enqueue_predictions({users, items, {}}, [&](const MatrixView& prediction, const MatrixView& /*state*/,
                                                std::int64_t begin, std::int64_t count) {
      device_->download(
          std::span<float>(predictions).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
          first_rows(prediction, count));
    });
    return predictions;
  }

 private:
  /// An embedding and its columns of the first layer's input.
  struct Input {
    std::string name;
    bool by_user;
    EmbeddingTable table;
    std::int64_t first_column;
    DropoutParams dropout;

    const MatrixView& index(const RatingsView& ratings) const { return by_user ? ratings.users : ratings.items; }
    const SegmentsView& segments(const EpochView& epoch) const {
      return by_user ? epoch.user_segments : epoch.item_segments;
    }
    MatrixView columns_of(const Values& values) const {
      return values.view().columns(first_column, table.embedding().cols);
    }
  };

  void add_input(const std::string& name, bool by_user, EmbeddingTable table, RandomPurpose purpose) {
    const std::int64_t width = table.embedding().cols;
    inputs_.push_back({name, by_user, std::move(table), input_width_, {0.0F, purpose}});
    input_width_ += width;
  }

  /// After every layer but the last.
  void add_dropout_layers() {
    std::vector<std::unique_ptr<Layer>> all;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const std::int64_t width = layers_[l]->outputs();
      all.push_back(std::move(layers_[l]));
      if (l + 1 < layers_.size()) {
        const auto purpose = static_cast<RandomPurpose>(static_cast<std::uint32_t>(RandomPurpose::dropout_dense) + l);
        all.push_back(make_dropout_layer(*device_, width, {plan_.dense_dropout, purpose}));
      }
    }
    layers_ = std::move(all);
  }

  /// Adds get(layer) of all layers as dense.0.NAME, dense.1.NAME, ...
  template <typename Get>
  void add_named(std::vector<NamedParameter>& all, Get get) const {
    std::size_t number = 0;
    for (const auto& layer : layers_) {
      const std::vector<NamedParameter> named = get(*layer);
      for (const NamedParameter& parameter : named) {
        all.push_back({fmt::format("dense.{}.{}", number, parameter.name), parameter.view, parameter.vector});
      }
      number += named.empty() ? 0 : 1;
    }
  }

  /// What goes into layer `l` and what comes out.
  static DenseBatch batch_of(const std::vector<Values>& values, std::size_t l) {
    return {values[l + 1].view(), values[l].view()};
  }

  /// Predictions batch by batch: use(prediction, state, begin, count).
  template <typename Use>
  void enqueue_predictions(const RatingsView& ratings, Use use) {
    if (!walk_) {
      walk_.emplace(*device_, kPredictionBatch);
      predictions_.emplace_back(*device_, kPredictionBatch, input_width_);
      for (const auto& layer : layers_) {
        predictions_.emplace_back(*device_, kPredictionBatch, layer->outputs());
      }
    }
    walk_->run(ratings.users.rows, [&](const MatrixView& state, std::int64_t begin, std::int64_t count) {
      for (const Input& input : inputs_) {
        input.table.gather(input.columns_of(predictions_.front()), {}, input.index(ratings), state);
      }
      MatrixView values = predictions_.front().view();
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        if (!layers_[l]->only_when_training()) {
          const MatrixView out = predictions_[l + 1].view();
          layers_[l]->forward({out, values}, state);
          values = out;
        }
      }
      use(values, state, begin, count);
    });
  }

  Device* device_;
  std::vector<Input> inputs_;
  std::int64_t input_width_ = 0;
  std::vector<std::unique_ptr<Layer>> layers_;
  TrainingPlan plan_;
  std::vector<Values> values_;  ///< the input of the first layer, then every layer's output
  std::vector<Values> gradients_;
  std::optional<BatchWalk> walk_;
  std::vector<Values> predictions_;
};

}  // namespace

std::unique_ptr<RatingModel> make_mlp(Device& device, const MlpShape& shape) {
  return std::make_unique<NeuralNetwork>(device, shape);
}

}  // namespace curate
