#include <algorithm>
#include <numeric>
#include <optional>
#include <string>

#include "models/batch_walk.h"
#include "models/embedding_table.h"
#include "models/rating_model.h"
#include "support/philox.h"

namespace curate {
namespace {

struct MfSideView {
  MatrixView embedding;
  MatrixView bias;  ///< or absent
};

/// The vectors (and biases) of users, or of items: their own, to which those of their features are added.
class Side {
 public:
  Side(Device& device, FeatureSide side, std::int64_t rows, const MfShape& shape,
       const std::vector<FeatureSource>& features)
      : device_(&device),
        side_(side),
        name_(name_of(side)),
        rows_(rows),
        shape_(shape),
        own_(device, rows, shape.dim, shape.biases,
             {shape.storage, side == FeatureSide::user ? RandomPurpose::rounding_user : RandomPurpose::rounding_item}) {
    for (const FeatureSource& feature : features) {
      if (feature.side == side) {
        features_.push_back({feature.prefix(), {device, feature, shape.dim, shape.biases}});
      }
    }
  }

  bool has_features() const { return !features_.empty(); }

  void add_parameters(std::vector<NamedParameter>& all) const {
    add_named(all, name_, own_.embedding(), own_.bias());
    for (const FeaturePart& feature : features_) {
      add_named(all, feature.prefix, feature.table.embedding(), feature.table.bias());
    }
  }

  void add_gradients(std::vector<NamedParameter>& all) const {
    add_named(all, name_, own_.gradient(), own_.bias_gradient());
    for (const FeaturePart& feature : features_) {
      add_named(all, feature.prefix, feature.table.gradient(), feature.table.bias_gradient());
    }
  }

  void add_trainables(std::vector<TrainableTable>& all) const {
    all.push_back(
        own_.trainable(name_ + ".embedding", side_ == FeatureSide::user ? TableRows::users : TableRows::items));
    for (const FeaturePart& feature : features_) {
      all.push_back(feature.table.trainable(feature.prefix + ".embedding", TableRows::values));
    }
  }

  void prepare_gradients() {
    own_.prepare_gradients();
    for (FeaturePart& feature : features_) {
      feature.table.prepare_gradients();
    }
  }

  void end_gradients() {
    own_.end_gradients();
    for (FeaturePart& feature : features_) {
      feature.table.end_gradients();
    }
  }

  void gather(const EmbeddingRows& rows, const MatrixView& index, const MatrixView& state) const {
    own_.gather(columns_of(rows), index, state);
    for (const FeaturePart& feature : features_) {
      feature.table.gather(columns_of(rows), index, state, true);
    }
  }

  /// `l2` per rating of the side's own vectors, after features took the gradient without it. grad_rows are changed.
  void scatter_add(const EmbeddingRows& grad_rows, const MatrixView& index, const SegmentsView& segments,
                   ScatterKind kind, float l2, const MatrixView& state) {
    const MatrixView columns = columns_of(grad_rows);
    for (FeaturePart& feature : features_) {
      feature.table.scatter_add(columns, index, {}, kind, state);
    }
    if (l2 > 0.0F) {
      own_.add_l2(columns, index, l2, state);
    }
    own_.scatter_add(columns, index, segments, kind, state);
  }

  /// Without features.
  MfSideView own() const { return {own_.padded_embedding(), own_.bias()}; }

  /// One row per user or item: its own vector and those of its features added up, as of now (enqueued). `in_f32`: in
  /// f32.
  MfSideView whole(bool in_f32) {
    if (!has_features() && (!in_f32 || own_.embedding().dtype == DType::f32)) {
      return own();
    }
    if (!whole_) {
      const MemoryLabel label(*device_, "features");
      whole_.emplace(*device_, rows_, shape_.dim, shape_.biases);
      std::vector<std::int32_t> all(static_cast<std::size_t>(rows_));
      std::iota(all.begin(), all.end(), 0);
      all_rows_ = device_->allocate_array<std::int32_t>(rows_);
      device_->upload(all_rows_.view(DType::i32, rows_), std::span<const std::int32_t>(all));
      walk_.emplace(*device_, rows_);
    }
    walk_->run(rows_, [&](const MatrixView& state, std::int64_t, std::int64_t) {
      gather(*whole_, all_rows_.view(DType::i32, rows_), state);
    });
    return {whole_->embedding(), whole_->bias()};
  }

 private:
  struct FeaturePart {
    std::string prefix;
    EmbeddingTable table;
  };

  MatrixView columns_of(const EmbeddingRows& rows) const { return shape_.biases ? rows.whole() : rows.embedding(); }

  void add_named(std::vector<NamedParameter>& all, const std::string& prefix, const MatrixView& embedding,
                 const MatrixView& bias) const {
    all.push_back({prefix + ".embedding", embedding});
    if (shape_.biases) {
      all.push_back({prefix + ".bias", bias, true});
    }
  }

  Device* device_;
  FeatureSide side_;
  std::string name_;
  std::int64_t rows_;
  MfShape shape_;
  EmbeddingTable own_;
  std::vector<FeaturePart> features_;
  // Of whole().
  std::optional<EmbeddingRows> whole_;
  Buffer all_rows_;
  std::optional<BatchWalk> walk_;
};

/// Biased matrix factorization (Koren, Bell, Volinsky, "Matrix factorization techniques for recommender systems", IEEE
/// Computer 2009, eq. 4): prediction = mean + user_bias + item_bias + <user, item>. Features add vectors and biases of
/// their values to those of a user or item (Chen et al., "SVDFeature", JMLR 2012, eq. 2).
class MatrixFactorization : public Factorization {
 public:
  MatrixFactorization(Device& device, const MfShape& shape, const std::vector<FeatureSource>& features)
      : device_(&device),
        shape_(shape),
        users_(device, FeatureSide::user, shape.users, shape, features),
        items_(device, FeatureSide::item, shape.items, shape, features),
        mean_(device.allocate_array<float>(1)) {}

  std::vector<NamedParameter> parameters() const override {
    std::vector<NamedParameter> all;
    users_.add_parameters(all);
    items_.add_parameters(all);
    all.push_back({"global_mean", mean_view(), true});
    return all;
  }

  std::optional<MfTables> tables() const override {
    return has_features() ? std::nullopt : std::optional(tables_of(users_.own(), items_.own()));
  }

  void prepare_gradients(const GradientOptions& options) override {
    options_ = options;
    users_.prepare_gradients();
    items_.prepare_gradients();
    const MemoryLabel label(*device_, "batches");
    rows_.emplace(*device_, options.batch, shape_);
    gradients_.emplace(*device_, options.batch, shape_);
    prediction_ = device_->allocate_array<float>(options.batch);
    grad_prediction_ = device_->allocate_array<float>(options.batch);
  }

  std::vector<NamedParameter> gradients() const override {
    std::vector<NamedParameter> all;
    users_.add_gradients(all);
    items_.add_gradients(all);
    return all;
  }

  Trainables trainables() const override {
    Trainables all;
    users_.add_trainables(all.tables);
    items_.add_trainables(all.tables);
    return all;
  }

  void enqueue_gradients(const EpochView& epoch) override {
    const MfRows rows = rows_->view(mean_view());
    const MfRows gradients = gradients_->view({});
    const MatrixView prediction = prediction_.view(DType::f32, options_.batch);
    const MatrixView grad_prediction = grad_prediction_.view(DType::f32, options_.batch);
    const RatingsView& ratings = epoch.ratings;
    users_.gather(rows_->user, ratings.users, epoch.state);
    items_.gather(rows_->item, ratings.items, epoch.state);
    device_->enqueue(ops::DotRows{prediction, rows, epoch.state});
    device_->enqueue(
        ops::RatingLoss{grad_prediction, epoch.sums, prediction, ratings.ratings, options_.loss, epoch.state});
    // The L2 is of a user's or item's own vector: with features the gathered rows are more than that.
    const float own_l2 = has_features() ? options_.reg : 0.0F;
    device_->enqueue(
        ops::DotRowsBackward{gradients, grad_prediction, rows, has_features() ? 0.0F : options_.reg, epoch.state});
    users_.scatter_add(gradients_->user, ratings.users, epoch.user_segments, options_.scatter, own_l2, epoch.state);
    items_.scatter_add(gradients_->item, ratings.items, epoch.item_segments, options_.scatter, own_l2, epoch.state);
  }

  void end_gradients() override {
    rows_.reset();
    gradients_.reset();
    prediction_ = {};
    grad_prediction_ = {};
    users_.end_gradients();
    items_.end_gradients();
  }

  void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, const ErrorScale& scale) override {
    // Both sides have to be of one type, and sums with features are f32.
    const bool in_f32 = has_features();
    device_->enqueue(ops::SumSquaredError{sums, tables_of(users_.whole(in_f32), items_.whole(in_f32)), ratings, scale});
  }

  std::vector<float> predict(const MatrixView& users, const MatrixView& items) override {
    constexpr std::int64_t kBatch = 65536;
    const std::int64_t batch = std::min(kBatch, users.rows);
    std::vector<float> predictions(static_cast<std::size_t>(users.rows));
    const Rows rows(*device_, batch, shape_);
    const MfRows view = rows.view(mean_view());
    const Buffer prediction = device_->allocate_array<float>(batch);
    BatchWalk(*device_, kBatch).run(users.rows, [&](const MatrixView& state, std::int64_t begin, std::int64_t count) {
      users_.gather(rows.user, users, state);
      items_.gather(rows.item, items, state);
      device_->enqueue(ops::DotRows{prediction.view(DType::f32, batch), view, state});
      device_->download(
          std::span<float>(predictions).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
          prediction.view(DType::f32, count));
    });
    return predictions;
  }

 private:
  /// A batch of gathered rows, or of their gradients.
  struct Rows {
    Rows(Device& device, std::int64_t batch, const MfShape& shape)
        : user(device, batch, shape.dim, shape.biases), item(device, batch, shape.dim, shape.biases) {}

    MfRows view(const MatrixView& mean) const {
      return {user.embedding(), item.embedding(), user.bias(), item.bias(), mean};
    }

    EmbeddingRows user;
    EmbeddingRows item;
  };

  MatrixView mean_view() const { return mean_.view(DType::f32, 1); }
  bool has_features() const { return users_.has_features() || items_.has_features(); }
  MfTables tables_of(const MfSideView& users, const MfSideView& items) const {
    return {users.embedding, items.embedding, users.bias, items.bias, mean_view()};
  }

  Device* device_;
  MfShape shape_;
  Side users_;
  Side items_;
  Buffer mean_;
  GradientOptions options_;
  std::optional<Rows> rows_;
  std::optional<Rows> gradients_;
  Buffer prediction_;
  Buffer grad_prediction_;
};

}  // namespace

std::unique_ptr<Factorization> make_mf(Device& device, const MfShape& shape,
                                       const std::vector<FeatureSource>& features) {
  return std::make_unique<MatrixFactorization>(device, shape, features);
}

}  // namespace curate
