#include "recommend/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "data/id_lookup.h"
#include "models/members.h"
#include "solvers/device_ratings.h"

namespace curate {
namespace {

std::vector<PairScorer> pair_scorers_of(const Model::Parts& parts) {
  std::vector<PairScorer> scorers;
  for (std::size_t member = 0; member < count_members(parts); ++member) {
    scorers.emplace_back(parts, member);
  }
  return scorers;
}

bool has_network(const Model::Parts& parts) {
  for (std::size_t member = 0; member < count_members(parts); ++member) {
    if (is_network(member_spec(parts, member).kind)) {
      return true;
    }
  }
  return false;
}

}  // namespace

PredictorState::PredictorState(const Model& model, const ComputeOptions& compute, Parameters parameters)
    : PredictorState(model, make_device(compute.device, compute.threads), parameters) {}

PredictorState::PredictorState(const Model& model, std::unique_ptr<Device> owned, Parameters parameters)
    : PredictorState(model, *owned, make_scorer(*owned, model.parts(), parameters)) {
  owned_ = std::move(owned);
}

PredictorState::PredictorState(const Model& model, Device& device, std::unique_ptr<Scorer> resident)
    : model_(model),
      fallback_(model_.parts()),
      clip_(clip_range(model_.parts().clip, model_.parts().scale)),
      pairs_(pair_scorers_of(model_.parts())),
      device_(&device),
      device_name_(device.info().name),
      resident_(std::move(resident)),
      few_pairs_(device.has_own_memory() || has_network(model_.parts()) ? 0 : kFewPairs) {
  const auto members = resident_->members();
  for (std::size_t member = 0; member < pairs_.size(); ++member) {
    const std::optional<MfTables> tables = members.empty() ? resident_->tables() : members[member]->tables();
    if (tables && !device.has_own_memory()) {
      device.synchronize();  // what was enqueued is there
      pairs_[member].read_from(*tables);
    }
  }
}

Prediction PredictorState::of_model(Prediction prediction, float value, std::optional<float> spread) const {
  const RatingTransform& transform = model_.parts().spec.transform;
  if (transform.kind == TransformKind::none) {
    prediction.rating = value;
    prediction.spread = spread;
    return prediction;
  }
  const RatingUnits units = units_of(transform);
  prediction.rating = to_rating(value, units);
  if (spread) {
    prediction.spread = to_rating(value + *spread, units) - prediction.rating;
  }
  return prediction;
}

Prediction PredictorState::clipped(Prediction prediction) const {
  prediction.rating = std::clamp(prediction.rating, clip_.min, clip_.max);
  return prediction;
}

void PredictorState::fetch(std::int32_t user, std::int32_t item, bool rows) const {
  fallback_.fetch(user, item);
  if (rows) {
    for (const PairScorer& pair : pairs_) {
      pair.fetch_user(user);
      pair.fetch_item(item);
    }
  }
}

Prediction PredictorState::predict_dense(std::int32_t user, std::int32_t item) const {
  Prediction prediction = fallback_.predict(user, item);
  if (!is_of_model(prediction.basis)) {
    return clipped(prediction);
  }
  if (pairs_.size() == 1) {
    return clipped(of_model(prediction, pairs_.front().score(user, item), std::nullopt));
  }
  MeanAndSpread all;
  for (const PairScorer& pair : pairs_) {
    all.add(pair.score(user, item));
  }
  return clipped(of_model(prediction, all.mean(), all.spread()));
}

template <typename Id>
Prediction PredictorState::predict(const Id& user, const Id& item) const {
  IdLookup user_lookup(model_.parts().users, user);
  IdLookup item_lookup(model_.parts().items, item);
  // The rows are on their way while the texts are compared.
  fetch(user_lookup.guess(), item_lookup.guess(), true);
  user_lookup.fetch_text();
  item_lookup.fetch_text();
  return predict_dense(user_lookup.find(), item_lookup.find());
}

template <typename Use>
void PredictorState::look_up(std::span<const RawPair> pairs, bool rows, Use use) const {
  constexpr std::size_t kGroup = 16;
  struct PairLookup {
    PairLookup(const Model::Parts& parts, const RawPair& pair)
        : user(parts.users, pair.user), item(parts.items, pair.item) {}
    IdLookup user;
    IdLookup item;
  };
  std::array<std::optional<PairLookup>, kGroup> group;
  for (std::size_t begin = 0; begin < pairs.size(); begin += kGroup) {
    const std::size_t count = std::min(kGroup, pairs.size() - begin);
    for (std::size_t n = 0; n < count; ++n) {
      group[n].emplace(model_.parts(), pairs[begin + n]);
    }
    for (std::size_t n = 0; n < count; ++n) {
      fetch(group[n]->user.guess(), group[n]->item.guess(), rows);
    }
    for (std::size_t n = 0; n < count; ++n) {
      group[n]->user.fetch_text();
      group[n]->item.fetch_text();
    }
    for (std::size_t n = 0; n < count; ++n) {
      use(begin + n, group[n]->user.find(), group[n]->item.find());
    }
  }
}

std::vector<Prediction> PredictorState::predict(std::span<const RawPair> pairs) const {
  std::vector<Prediction> predictions(pairs.size());
  if (pairs.size() <= few_pairs_) {
    look_up(pairs, true,
            [&](std::size_t n, std::int32_t user, std::int32_t item) { predictions[n] = predict_dense(user, item); });
  } else {
    predict_on_device(pairs, predictions);
  }
  return predictions;
}

void PredictorState::predict_on_device(std::span<const RawPair> pairs, std::vector<Prediction>& predictions) const {
  std::vector<std::size_t> scored;
  RatingTable table;
  look_up(pairs, false, [&](std::size_t n, std::int32_t user, std::int32_t item) {
    predictions[n] = fallback_.predict(user, item);
    if (is_of_model(predictions[n].basis)) {
      scored.push_back(n);
      table.users.push_back(user);
      table.items.push_back(item);
      table.ratings.push_back(0.0F);
    }
  });
  if (!scored.empty()) {
    const std::lock_guard lock(device_mutex_);
    const DeviceRatings on_device(*device_, table);
    const Scores scores = resident_->score(on_device.view().users, on_device.view().items);
    for (std::size_t s = 0; s < scored.size(); ++s) {
      const std::optional<float> spread = scores.spreads.empty() ? std::nullopt : std::optional(scores.spreads[s]);
      predictions[scored[s]] = of_model(predictions[scored[s]], scores.ratings[s], spread);
    }
  }
  for (Prediction& prediction : predictions) {
    prediction = clipped(prediction);
  }
}

Metrics PredictorState::evaluate(const RatingTable& ratings) const {
  const ErrorScale scale = {clip_, units_of(model_.parts().spec.transform)};
  const Evaluator::Parts parts(ratings, fallback_, scale);
  const std::lock_guard lock(device_mutex_);
  return Evaluator(*device_, parts, scale).evaluate(*resident_);
}

Metrics PredictorState::evaluate(std::span<const RawPair> pairs, std::span<const float> ratings) const {
  if (pairs.size() != ratings.size()) {
    throw std::invalid_argument(fmt::format("{} pairs and {} ratings", pairs.size(), ratings.size()));
  }
  RatingTable table;
  table.users.resize(pairs.size());
  table.items.resize(pairs.size());
  table.ratings.assign(ratings.begin(), ratings.end());
  look_up(pairs, false, [&](std::size_t n, std::int32_t user, std::int32_t item) {
    table.users[n] = user;
    table.items[n] = item;
  });
  return evaluate(table);
}

Predictor::Predictor(const Model& model, const ComputeOptions& compute)
    : state_(std::make_shared<const PredictorState>(model, compute, PredictorState::Parameters::laid_out)) {}
Predictor::Predictor(std::shared_ptr<const PredictorState> state) : state_(std::move(state)) {}
Predictor::~Predictor() = default;

const Model& Predictor::model() const {
  return state_->model();
}
const std::string& Predictor::device() const {
  return state_->device_name();
}

Prediction Predictor::predict(const RawId& user, const RawId& item) const {
  return state_->predict(user, item);
}
Prediction Predictor::predict(std::string_view user, std::string_view item) const {
  return state_->predict(user, item);
}
std::vector<Prediction> Predictor::predict(std::span<const RawPair> pairs) const {
  return state_->predict(pairs);
}

Metrics Predictor::evaluate(std::span<const RawPair> pairs, std::span<const float> ratings) const {
  return state_->evaluate(pairs, ratings);
}
Metrics Predictor::evaluate(const Dataset& dataset, const RatingTable& ratings) const {
  return state_->evaluate(model().translate(dataset, ratings));
}
Metrics Predictor::evaluate(const RatingTable& ratings) const {
  return state_->evaluate(ratings);
}

Predictor make_predictor(Device& device, const Model& model, std::unique_ptr<Scorer> resident) {
  return PredictorState::share(std::make_shared<const PredictorState>(model, device, std::move(resident)));
}

std::vector<Prediction> Model::predict(std::span<const RawPair> pairs, const ComputeOptions& compute) const {
  return PredictorState(*this, compute, PredictorState::Parameters::where_they_are).predict(pairs);
}

Metrics Model::evaluate(const RatingTable& ratings, const ComputeOptions& compute) const {
  return PredictorState(*this, compute, PredictorState::Parameters::where_they_are).evaluate(ratings);
}

}  // namespace curate
