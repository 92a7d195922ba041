#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "device/row_padding.h"
#include "models/batch_walk.h"
#include "models/embedding_table.h"
#include "models/layer.h"
#include "models/rating_model.h"
#include "support/philox.h"

namespace curate {
namespace {

/// A [rows, cols] matrix of a batch. Its rows are padded to 16 bytes, but not those of one column.
class Values {
 public:
  Values(Device& device, std::int64_t rows, std::int64_t cols, DType dtype = DType::f32)
      : rows_(rows),
        cols_(cols),
        dtype_(dtype),
        buffer_(device.allocate(static_cast<std::size_t>(rows * ld()) * size_of(dtype))) {}

  MatrixView view() const { return buffer_.view(dtype_, rows_, cols_, ld()); }
  /// With the padding.
  MatrixView whole() const { return buffer_.view(dtype_, rows_, ld()); }

 private:
  std::int64_t ld() const { return cols_ == 1 ? 1 : padded_columns(cols_, size_of(dtype_)); }

  std::int64_t rows_;
  std::int64_t cols_;
  DType dtype_;
  Buffer buffer_;
};

/// The dot product of a row of the users' and one of the items' table, added to the output of the layers.
class DotProduct {
 public:
  /// Of tables that serve something else too, whose rows have that dropout; they have to outlive it.
  DotProduct(Device& device, EmbeddingTable& users, EmbeddingTable& items)
      : device_(&device), users_(&users), items_(&items), zero_(device.allocate_array<float>(1)) {
    device.zero(zero_view());
  }

  /// With gradients' L2, if `reg` is above 0.
  void prepare_gradients(std::int64_t batch, float reg, const DropoutParams& user_dropout,
                         const DropoutParams& item_dropout) {
    reg_ = reg;
    user_dropout_ = user_dropout;
    item_dropout_ = item_dropout;
    rows_.emplace(*device_, batch, columns());
    gradients_.emplace(*device_, batch, columns());
    prediction_.emplace(*device_, batch, 1);
  }

  void end_gradients() {
    rows_.reset();
    gradients_.reset();
    prediction_.reset();
  }

  /// What the gradient of the loss is taken at.
  MatrixView prediction() const { return prediction_->view(); }

  /// prediction() = `addend` + <user, item>, while training.
  void forward(const MatrixView& addend, const RatingsView& ratings, const MatrixView& state) {
    gather(*rows_, ratings, state);
    drop(*rows_, state);
    device_->enqueue(ops::DotRows{prediction(), rows_view(*rows_, addend), state});
  }

  /// grad_addend = grad_prediction, and the gradients of the tables' rows.
  void backward(const MatrixView& grad_addend, const MatrixView& grad_prediction, const MatrixView& addend,
                const EpochView& epoch, ScatterKind scatter) {
    const MatrixView& state = epoch.state;
    const MfRows grad = rows_view(*gradients_, grad_addend);
    device_->enqueue(ops::DotRowsBackward{grad, grad_prediction, rows_view(*rows_, addend), 0.0F, state});
    drop(*gradients_, state);
    if (reg_ > 0.0F) {
      users_->add_l2(grad.user, epoch.ratings.users, reg_, state);
      items_->add_l2(grad.item, epoch.ratings.items, reg_, state);
    }
    users_->scatter_add(grad.user, epoch.ratings.users, epoch.user_segments, scatter, state);
    items_->scatter_add(grad.item, epoch.ratings.items, epoch.item_segments, scatter, state);
  }

  /// The same sum outside of training; enqueued.
  MatrixView predict(const MatrixView& addend, const RatingsView& ratings, const MatrixView& state) {
    if (!predicted_rows_) {
      const MemoryLabel label(*device_, "batches");
      predicted_rows_.emplace(*device_, addend.rows, columns());
      predicted_.emplace(*device_, addend.rows, 1);
    }
    gather(*predicted_rows_, ratings, state);
    device_->enqueue(ops::DotRows{predicted_->view(), rows_view(*predicted_rows_, addend), state});
    return predicted_->view();
  }

 private:
  /// A batch's rows of both tables.
  struct Rows {
    Rows(Device& device, std::int64_t batch, std::int64_t columns)
        : user(device, batch, columns), item(device, batch, columns) {}

    Values user;
    Values item;
  };

  std::int64_t columns() const { return users_->embedding().cols; }
  MatrixView zero_view() const { return zero_.view(DType::f32, 1); }
  /// The addend takes the place of the users' biases.
  MfRows rows_view(const Rows& rows, const MatrixView& addend) const {
    return {rows.user.view(), rows.item.view(), addend, {}, zero_view()};
  }

  void gather(const Rows& rows, const RatingsView& ratings, const MatrixView& state) const {
    users_->gather(rows.user.view(), ratings.users, state);
    items_->gather(rows.item.view(), ratings.items, state);
  }

  void drop(const Rows& rows, const MatrixView& state) const {
    if (user_dropout_.rate > 0.0F) {
      device_->enqueue(ops::Dropout{rows.user.view(), user_dropout_, state});
    }
    if (item_dropout_.rate > 0.0F) {
      device_->enqueue(ops::Dropout{rows.item.view(), item_dropout_, state});
    }
  }

  Device* device_;
  EmbeddingTable* users_;
  EmbeddingTable* items_;
  Buffer zero_;
  float reg_ = 0.0F;
  DropoutParams user_dropout_;
  DropoutParams item_dropout_;
  std::optional<Rows> rows_;
  std::optional<Rows> gradients_;
  std::optional<Values> prediction_;
  std::optional<Rows> predicted_rows_;
  std::optional<Values> predicted_;
};

/// The factors of a dot product, which are not the embeddings that go into the layers.
struct FactorTables {
  FactorTables(Device& device, const MlpShape& shape)
      : users(device, shape.users, shape.factors, false, {shape.storage, RandomPurpose::rounding_user_factors}),
        items(device, shape.items, shape.factors, false, {shape.storage, RandomPurpose::rounding_item_factors}) {}

  EmbeddingTable users;
  EmbeddingTable items;
};

/// Embeddings of user, item and features side by side, then a stack of layers down to one output (He et al., "Neural
/// collaborative filtering", WWW 2017, section 3.3, for ratings). With factors their dot product is added to that
/// output, or else that of the embeddings if the shape asks for it (section 3.4; the weights of the product's terms lie
/// in what is multiplied).
class NeuralNetwork : public RatingModel {
 public:
  NeuralNetwork(Device& device, const MlpShape& shape, const std::vector<FeatureSource>& features) : device_(&device) {
    add_input("user", FeatureSide::user,
              {device, shape.users, shape.user_dim, false, {shape.storage, RandomPurpose::rounding_user}},
              RandomPurpose::dropout_user);
    add_input("item", FeatureSide::item,
              {device, shape.items, shape.item_dim, false, {shape.storage, RandomPurpose::rounding_item}},
              RandomPurpose::dropout_item);
    for (std::size_t f = 0; f < features.size(); ++f) {
      const auto purpose = static_cast<RandomPurpose>(static_cast<std::uint32_t>(RandomPurpose::dropout_feature) + f);
      add_input(features[f].prefix(), features[f].side, {device, features[f], shape.feature_dims[f], false}, purpose);
      inputs_.back().is_feature = true;
    }
    if (shape.factors > 0) {
      factors_.emplace(device, shape);
      dot_.emplace(device, factors_->users, factors_->items);
    } else if (shape.product) {
      dot_.emplace(device, inputs_[0].table, inputs_[1].table);
    }
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
    if (factors_) {
      all.push_back({"user.factors", factors_->users.embedding()});
      all.push_back({"item.factors", factors_->items.embedding()});
    }
    add_named(all, [](const Layer& layer) { return layer.parameters(); });
    return all;
  }

  std::vector<NamedParameter> gradients() const override {
    std::vector<NamedParameter> all;
    for (const Input& input : inputs_) {
      all.push_back({input.name + ".embedding", input.table.gradient()});
    }
    if (factors_) {
      all.push_back({"user.factors", factors_->users.gradient()});
      all.push_back({"item.factors", factors_->items.gradient()});
    }
    add_named(all, [](const Layer& layer) { return layer.gradients(); });
    return all;
  }

  Trainables trainables() const override {
    Trainables all;
    for (const Input& input : inputs_) {
      const TableRows rows = input.side == FeatureSide::user ? TableRows::users : TableRows::items;
      all.tables.push_back(input.table.trainable(input.name + ".embedding", rows));
    }
    if (factors_) {
      all.tables.push_back(factors_->users.trainable("user.factors", TableRows::users));
      all.tables.push_back(factors_->items.trainable("item.factors", TableRows::items));
    }
    for (const auto& layer : layers_) {
      layer->add_trainables(all.layers);
    }
    for (std::size_t l = 0; l < all.layers.size(); ++l) {
      all.layers[l].name = fmt::format("dense.{}", l);
    }
    return all;
  }

  void prepare_gradients(const GradientOptions& given) override {
    const MemoryLabel label(*device_, "batches");
    options_ = given;
    options_.batch = batch_rows(given.batch);
    const GradientOptions& options = options_;
    for (Input& input : inputs_) {
      if (input.is_feature) {
        input.dropout.rate = options.feature_dropout;
      } else {
        const std::size_t side = input.side == FeatureSide::user ? 0 : 1;
        input.dropout.rate = side < options.dropout.size() ? options.dropout[side] : 0.0F;
      }
      input.table.prepare_gradients();
    }
    if (factors_) {
      factors_->users.prepare_gradients();
      factors_->items.prepare_gradients();
      dot_->prepare_gradients(options.batch, options.reg, {}, {});
    } else if (dot_) {
      // L2 is added once, with what comes back through the layers.
      dot_->prepare_gradients(options.batch, 0.0F, inputs_[0].dropout, inputs_[1].dropout);
    }
    if (options.dense_dropout > 0.0F) {
      add_dropout_layers();
    }
    // Earlier predictions had buffers for the layers as they were then.
    forget_predictions();
    if (dot_) {
      grad_prediction_.emplace(*device_, options.batch, 1);
    }
    for (const auto& layer : layers_) {
      layer->prepare_gradients();
    }
    values_.clear();
    gradients_.clear();
    // Says how operands are rounded, before the device is asked for a plan.
    device_->run(ops::PrepareDense{{}, options.products});
    fused_ = fused_stack(true, options.batch);
    if (!fused_) {
      for (const auto& layer : layers_) {
        layer->prepare_products(options.batch, options.products);
      }
    }
    add_values(values_, options.batch, input_type(fused_), fused_.has_value());
    add_values(gradients_, options.batch, DType::f32, fused_.has_value());
    // Layers ask for finite rows past the end of a short batch; from here on every row holds those of a batch.
    for (const Values& values : values_) {
      device_->zero(values.whole());
    }
  }

  void enqueue_gradients(const EpochView& epoch) override {
    const MatrixView& state = epoch.state;
    for (const Input& input : inputs_) {
      const MatrixView rows = input.columns_of(values_.front());
      input.table.gather(rows, input.index(epoch.ratings), state);
      if (input.dropout.rate > 0.0F) {
        device_->enqueue(ops::Dropout{rows, input.dropout, state});
      }
    }
    const MatrixView output = values_.back().view();
    if (fused_) {
      device_->enqueue(
          ops::DenseStackForward{output, values_.front().view(), fused_->layers, fused_->workspace_view(), state});
    } else {
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        layers_[l]->forward(batch_of(values_, l), state);
      }
    }
    const MatrixView grad_output = gradients_.back().view();
    if (dot_) {
      dot_->forward(output, epoch.ratings, state);
      device_->enqueue(ops::RatingLoss{grad_prediction_->view(), epoch.sums, dot_->prediction(), epoch.ratings.ratings,
                                       options_.loss, state});
      dot_->backward(grad_output, grad_prediction_->view(), output, epoch, options_.scatter);
    } else {
      device_->enqueue(ops::RatingLoss{grad_output, epoch.sums, output, epoch.ratings.ratings, options_.loss, state});
    }
    if (fused_) {
      device_->enqueue(ops::DenseStackBackward{{grad_output, gradients_.front().view()},
                                               fused_->gradients,
                                               values_.front().view(),
                                               fused_->layers,
                                               fused_->workspace_view(),
                                               state});
    } else {
      for (std::size_t l = layers_.size(); l-- > 0;) {
        layers_[l]->backward(batch_of(gradients_, l), batch_of(values_, l), state);
      }
    }
    for (Input& input : inputs_) {
      const MatrixView rows = input.columns_of(gradients_.front());
      if (input.dropout.rate > 0.0F) {
        device_->enqueue(ops::Dropout{rows, input.dropout, state});
      }
      if (options_.reg > 0.0F && !input.is_feature) {
        input.table.add_l2(rows, input.index(epoch.ratings), options_.reg, state);
      }
      input.table.scatter_add(rows, input.index(epoch.ratings), input.segments(epoch), options_.scatter, state);
    }
  }

  void end_gradients() override {
    for (Input& input : inputs_) {
      input.table.end_gradients();
    }
    if (factors_) {
      factors_->users.end_gradients();
      factors_->items.end_gradients();
    }
    if (dot_) {
      dot_->end_gradients();
    }
    for (const auto& layer : layers_) {
      layer->end_gradients();
    }
    grad_prediction_.reset();
    fused_.reset();
    values_.clear();
    gradients_.clear();
    forget_predictions();
    options_.products = ProductPrecision::f32;
  }

  void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, const ErrorScale& scale) override {
    enqueue_predictions(ratings,
                        [&](const MatrixView& prediction, const MatrixView& state, std::int64_t, std::int64_t) {
                          device_->enqueue(ops::RatingErrors{sums, prediction, ratings.ratings, scale, state});
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
    FeatureSide side;
    EmbeddingTable table;
    std::int64_t first_column;
    DropoutParams dropout;
    bool is_feature = false;

    const MatrixView& index(const RatingsView& ratings) const {
      return side == FeatureSide::user ? ratings.users : ratings.items;
    }
    const SegmentsView& segments(const EpochView& epoch) const {
      return side == FeatureSide::user ? epoch.user_segments : epoch.item_segments;
    }
    MatrixView columns_of(const Values& values) const {
      return values.view().columns(first_column, table.embedding().cols);
    }
  };

  void forget_predictions() {
    walk_.reset();
    predictions_.clear();
    fused_prediction_.reset();
  }

  void add_input(const std::string& name, FeatureSide side, EmbeddingTable table, RandomPurpose purpose) {
    const std::int64_t width = table.embedding().cols;
    inputs_.push_back({name, side, std::move(table), input_width_, {0.0F, purpose}});
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
        all.push_back(make_dropout_layer(*device_, width, {options_.dense_dropout, purpose}));
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

  /// All layers as one operation.
  struct FusedStack {
    DenseStack layers;
    std::vector<DenseParams> gradients;
    DenseStackLayout layout;
    Buffer workspace;

    MatrixView workspace_view() const { return workspace.view(DType::f32, layout.workspace); }
  };

  /// Nothing if the device takes the layers one by one.
  std::optional<FusedStack> fused_stack(bool training, std::int64_t batch) const {
    FusedStack fused;
    for (const auto& layer : layers_) {
      if (training || !layer->only_when_training()) {
        layer->add_to(fused.layers, fused.gradients);
      }
    }
    const std::optional<DenseStackLayout> layout =
        options_.fuse_layers ? device_->run(ops::LayOutDenseStack{fused.layers, batch}) : std::nullopt;
    if (!layout) {
      return std::nullopt;
    }
    fused.layout = *layout;
    fused.workspace = device_->allocate_array<float>(layout->workspace);
    return fused;
  }

  /// Of what goes into the first layer.
  static DType input_type(const std::optional<FusedStack>& fused) { return fused ? fused->layout.in : DType::f32; }

  /// Buffers for the input of the first layer and the output of every layer; of a fused stack, of the last layer alone.
  void add_values(std::vector<Values>& values, std::int64_t batch, DType inputs, bool fused) const {
    values.emplace_back(*device_, batch, input_width_, inputs);
    for (const auto& layer : layers_) {
      if (!fused || layer == layers_.back()) {
        values.emplace_back(*device_, batch, layer->outputs());
      }
    }
  }

  /// Predictions batch by batch: use(prediction, state, begin, count).
  template <typename Use>
  void enqueue_predictions(const RatingsView& ratings, Use use) {
    // Another model of the same device may have asked for another rounding since.
    device_->run(ops::PrepareDense{{}, options_.products});
    if (!walk_) {
      const MemoryLabel label(*device_, "batches");
      walk_.emplace(*device_, kPredictionBatch);
      fused_prediction_ = fused_stack(false, kPredictionBatch);
      add_values(predictions_, kPredictionBatch, input_type(fused_prediction_), fused_prediction_.has_value());
      device_->zero(predictions_.front().whole());
    }
    walk_->run(ratings.users.rows, [&](const MatrixView& state, std::int64_t begin, std::int64_t count) {
      for (const Input& input : inputs_) {
        input.table.gather(input.columns_of(predictions_.front()), input.index(ratings), state);
      }
      MatrixView values = predictions_.front().view();
      if (fused_prediction_) {
        values = predictions_.back().view();
        device_->enqueue(ops::DenseStackForward{values, predictions_.front().view(), fused_prediction_->layers,
                                                fused_prediction_->workspace_view(), state});
      }
      for (std::size_t l = 0; !fused_prediction_ && l < layers_.size(); ++l) {
        if (!layers_[l]->only_when_training()) {
          const MatrixView out = predictions_[l + 1].view();
          layers_[l]->forward({out, values}, state);
          values = out;
        }
      }
      use(dot_ ? dot_->predict(values, ratings, state) : values, state, begin, count);
    });
  }

  Device* device_;
  std::vector<Input> inputs_;
  std::int64_t input_width_ = 0;
  std::optional<FactorTables> factors_;    ///< of neumf
  std::optional<DotProduct> dot_;          ///< of the factors, or of the embeddings
  std::optional<Values> grad_prediction_;  ///< with a dot product
  std::vector<std::unique_ptr<Layer>> layers_;
  GradientOptions options_;
  std::optional<FusedStack> fused_;             ///< while training
  std::optional<FusedStack> fused_prediction_;  ///< outside of it
  std::vector<Values> values_;  ///< the input of the first layer, then every layer's output; fused: the last one's
  std::vector<Values> gradients_;
  std::optional<BatchWalk> walk_;
  std::vector<Values> predictions_;
};

}  // namespace

std::unique_ptr<RatingModel> make_mlp(Device& device, const MlpShape& shape,
                                      const std::vector<FeatureSource>& features) {
  return std::make_unique<NeuralNetwork>(device, shape, features);
}

}  // namespace curate
