#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "curate/predictor.h"
#include "device/device.h"
#include "models/ensemble.h"
#include "models/rating_model.h"
#include "recommend/pair_scorer.h"
#include "train/evaluator.h"
#include "train/fallback.h"

namespace curate {

/// A block of mf up to that size is predicted on the caller's thread if the device is the host itself, which gives the
/// same bits. On 2 cores the device is as fast from there on.
inline constexpr std::size_t kFewPairs = 4096;

/// What copies of a Predictor share.
class PredictorState {
 public:
  /// Whether a device gets the parameters in its own layout, or reads them where they are if it can: for one call.
  using Parameters = ParameterPlace;

  /// Opens the device.
  PredictorState(const Model& model, const ComputeOptions& compute, Parameters parameters);
  /// Of a device that somebody else owns, with the model on it.
  PredictorState(const Model& model, Device& device, std::unique_ptr<Scorer> resident);

  static Predictor share(std::shared_ptr<const PredictorState> state) { return Predictor(std::move(state)); }

  const Model& model() const { return model_; }
  const std::string& device_name() const { return device_name_; }

  /// `Id` is RawId or std::string_view.
  template <typename Id>
  Prediction predict(const Id& user, const Id& item) const;
  std::vector<Prediction> predict(std::span<const RawPair> pairs) const;
  Metrics evaluate(std::span<const RawPair> pairs, std::span<const float> ratings) const;
  Metrics evaluate(const RatingTable& ratings) const;

 private:
  PredictorState(const Model& model, std::unique_ptr<Device> owned, Parameters parameters);

  /// Calls use(n, user, item) for all pairs in order, with dense ids, -1 for unknown ones. The look-ups of a group of
  /// pairs go through their stages together; `rows`: the rows of the model are asked for, too.
  template <typename Use>
  void look_up(std::span<const RawPair> pairs, bool rows, Use use) const;
  /// Asks the memory for what predict_dense() reads; without `rows`, for what the fallback alone reads.
  void fetch(std::int32_t user, std::int32_t item, bool rows) const;
  Prediction predict_dense(std::int32_t user, std::int32_t item) const;
  void predict_on_device(std::span<const RawPair> pairs, std::vector<Prediction>& predictions) const;
  /// With what the model predicts, made a rating. The spread is then how far above it lies what is one spread more.
  Prediction of_model(Prediction prediction, float value, std::optional<float> spread) const;
  Prediction clipped(Prediction prediction) const;

  Model model_;
  Fallback fallback_;
  ClipRange clip_;
  std::vector<PairScorer> pairs_;  ///< the model's, or each member's
  std::unique_ptr<Device> owned_;  ///< or null
  Device* device_;
  std::string device_name_;
  mutable std::mutex device_mutex_;  ///< held by whoever uses device or resident model
  std::unique_ptr<Scorer> resident_;
  std::size_t few_pairs_;  ///< blocks up to that size are predicted on the caller's thread
};

/// With a model where a training has left it: its parameters are those of `model`, and nothing is uploaded. The device
/// has to outlive the predictor and its copies, and serves nobody else while they use it.
Predictor make_predictor(Device& device, const Model& model, std::unique_ptr<Scorer> resident);

}  // namespace curate
