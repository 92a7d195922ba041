#include "models/ensemble.h"

#include <algorithm>
#include <span>
#include <utility>

#include "models/batch_walk.h"
#include "models/members.h"

namespace curate {
namespace {

/// Pairs that all members predict before the next ones: a network's batch.
constexpr std::int64_t kBlock = kPredictionBatch;

/// Elements [begin, begin + count) of a vector.
MatrixView part_of(MatrixView vector, std::int64_t begin, std::int64_t count) {
  vector.data =
      static_cast<std::byte*>(vector.data) + static_cast<std::size_t>(begin * vector.ld) * size_of(vector.dtype);
  vector.rows = count;
  return vector;
}

class Ensemble : public Scorer {
 public:
  Ensemble(Device& device, std::vector<std::unique_ptr<Scorer>> members)
      : device_(&device), members_(std::move(members)) {}

  std::span<const std::unique_ptr<Scorer>> members() const override { return members_; }

  void enqueue_errors(const MatrixView& sums, const RatingsView& ratings, const ErrorScale& scale) override {
    const std::int64_t total = ratings.users.rows;
    if (total == 0) {
      return;
    }
    const std::int64_t batch = std::min(kBlock, total);
    const Buffer buffer = device_->allocate_array<float>(batch);
    std::vector<float> means;
    BatchWalk(*device_, batch).run(total, [&](const MatrixView& state, std::int64_t begin, std::int64_t count) {
      means.clear();
      for (const MeanAndSpread& all : block(ratings.users, ratings.items, begin, count)) {
        means.push_back(all.mean());
      }
      device_->upload(buffer.view(DType::f32, count), std::span<const float>(means));
      device_->enqueue(ops::RatingErrors{sums, buffer.view(DType::f32, batch), ratings.ratings, scale, state});
    });
    device_->synchronize();  // the buffer goes
  }

  std::vector<float> predict(const MatrixView& users, const MatrixView& items) override {
    return score(users, items).ratings;
  }

  Scores score(const MatrixView& users, const MatrixView& items) override {
    Scores scores;
    scores.ratings.reserve(static_cast<std::size_t>(users.rows));
    scores.spreads.reserve(static_cast<std::size_t>(users.rows));
    for (std::int64_t begin = 0; begin < users.rows; begin += kBlock) {
      for (const MeanAndSpread& all : block(users, items, begin, std::min(kBlock, users.rows - begin))) {
        scores.ratings.push_back(all.mean());
        scores.spreads.push_back(all.spread());
      }
    }
    return scores;
  }

 private:
  std::vector<MeanAndSpread> block(const MatrixView& users, const MatrixView& items, std::int64_t begin,
                                   std::int64_t count) {
    std::vector<MeanAndSpread> predictions(static_cast<std::size_t>(count));
    for (const auto& member : members_) {
      const std::vector<float> values = member->predict(part_of(users, begin, count), part_of(items, begin, count));
      for (std::size_t n = 0; n < values.size(); ++n) {
        predictions[n].add(values[n]);
      }
    }
    return predictions;
  }

  Device* device_;
  std::vector<std::unique_ptr<Scorer>> members_;
};

}  // namespace

std::unique_ptr<Scorer> make_ensemble(Device& device, std::vector<std::unique_ptr<Scorer>> members) {
  return std::make_unique<Ensemble>(device, std::move(members));
}

std::unique_ptr<Scorer> make_scorer(Device& device, const Model::Parts& parts, ParameterPlace place) {
  std::vector<std::unique_ptr<Scorer>> members;
  for (std::size_t member = 0; member < count_members(parts); ++member) {
    const ModelSpec spec = member_spec(parts, member);
    const TensorMap& tensors = member_tensors(parts, member);
    if (place == ParameterPlace::laid_out) {
      members.push_back(make_model(device, spec, tensors));
    } else {
      members.push_back(make_scorer(device, spec, tensors));
    }
  }
  return is_ensemble(parts) ? make_ensemble(device, std::move(members)) : std::move(members.front());
}

}  // namespace curate
