#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/batch_walk.h"
#include "models/embedding_rows.h"
#include "models/rating_model.h"

namespace curate {
namespace {

/// mf without features whose tables stay in the host's memory, for a device that shares it.
class HostFactorization : public Scorer {
 public:
  /// Without tensors only memory is planned.
  HostFactorization(Device& device, const MfShape& shape, const TensorMap* tensors)
      : device_(&device),
        shape_(shape),
        tables_{view_of(tensors, "user.embedding", shape.users, shape.dim),
                view_of(tensors, "item.embedding", shape.items, shape.dim),
                shape.biases ? view_of(tensors, "user.bias", shape.users, 1) : MatrixView{},
                shape.biases ? view_of(tensors, "item.bias", shape.items, 1) : MatrixView{},
                view_of(tensors, "global_mean", 1, 1)} {}

  std::optional<MfTables> tables() const override { return tables_; }

  void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, const ErrorScale& scale) override {
    device_->enqueue(ops::SumSquaredError{sums, tables_, ratings, scale});
  }

  std::vector<float> predict(const MatrixView& users, const MatrixView& items) override {
    constexpr std::int64_t kBatch = 65536;
    const std::int64_t batch = std::min(kBatch, users.rows);
    std::vector<float> predictions(static_cast<std::size_t>(users.rows));
    const EmbeddingRows user(*device_, batch, shape_.dim, shape_.biases);
    const EmbeddingRows item(*device_, batch, shape_.dim, shape_.biases);
    const Buffer prediction = device_->allocate_array<float>(batch);
    BatchWalk(*device_, kBatch).run(users.rows, [&](const MatrixView& state, std::int64_t begin, std::int64_t count) {
      device_->enqueue(ops::GatherRows{user.embedding(), tables_.user, users, state});
      device_->enqueue(ops::GatherRows{item.embedding(), tables_.item, items, state});
      if (shape_.biases) {
        device_->enqueue(ops::GatherRows{user.bias(), tables_.user_bias, users, state});
        device_->enqueue(ops::GatherRows{item.bias(), tables_.item_bias, items, state});
      }
      device_->enqueue(ops::DotRows{prediction.view(DType::f32, batch),
                                    {user.embedding(), item.embedding(), user.bias(), item.bias(), tables_.mean},
                                    state});
      device_->download(
          std::span<float>(predictions).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
          prediction.view(DType::f32, count));
    });
    return predictions;
  }

 private:
  MatrixView view_of(const TensorMap* tensors, const char* name, std::int64_t rows, std::int64_t cols) const {
    // Views have no constant kind; nothing here writes. Where memory is only planned, nothing reads either.
    auto* const values = tensors == nullptr ? reinterpret_cast<float*>(std::uintptr_t{alignof(float)})
                                            : const_cast<float*>(tensors->at(name).values.data());
    return {device_, values, rows, cols, cols, DType::f32};
  }

  Device* device_;
  MfShape shape_;
  MfTables tables_;
};

}  // namespace

std::unique_ptr<Scorer> make_scorer(Device& device, const ModelSpec& spec, const TensorMap& tensors) {
  if (spec.kind == "mf" && spec.features.empty() && !device.has_own_memory()) {
    return std::make_unique<HostFactorization>(device, mf_shape_of(spec, tensors), &tensors);
  }
  return make_model(device, spec, tensors);
}

std::unique_ptr<Scorer> make_planned_scorer(Device& device, const TrainOptions& resolved, const RatingScale& scale,
                                            std::int64_t users, std::int64_t items,
                                            const std::vector<FeatureSource>& features) {
  if (resolved.model == ModelKind::mf && features.empty() && !device.has_own_memory()) {
    const MfShape shape = {users, items, resolved.dim.value(), resolved.biases, DType::f32};
    return std::make_unique<HostFactorization>(device, shape, nullptr);
  }
  TrainOptions loaded = resolved;
  loaded.precision = EmbeddingPrecision::f32;
  std::unique_ptr<RatingModel> model = make_new_model(device, loaded, scale, users, items, features);
  stage_parameters(model->parameters());
  return model;
}

}  // namespace curate
