#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "curate/dataset.h"
#include "curate/export.h"
#include "curate/metrics.h"
#include "curate/model.h"

namespace curate {

class PredictorState;

/// A model that is ready on a device, opened once, for any number of predictions. It is constant: any number of threads
/// may use one predictor at the same time, each with ids and ratings of its own. Copies share device and model.
///
/// Ids are raw everywhere but in evaluate(RatingTable), and are found as IdMap::find finds them: "007" and 7 are one id
/// if all ids of the model are numbers. Users and items that the model does not know have predictions, too; see
/// PredictionBasis. Predictions are clipped to the rating scale if the model says so.
class CURATE_API Predictor {
 public:
  /// Opens the device, which gets a copy of the parameters in its own layout. Throws InputError if the device is not
  /// here or `compute` makes no sense, DeviceError if it fails or has too little memory.
  explicit Predictor(const Model& model, const ComputeOptions& compute = {});
  Predictor(const Predictor&) = default;  // moving is copying: no predictor is ever empty
  Predictor& operator=(const Predictor&) = default;
  ~Predictor();

  const Model& model() const;
  /// "cpu", "cuda", ...
  const std::string& device() const;

  /// One pair, on the caller's thread from the host's memory, whatever the device; of an ensemble one member after the
  /// other. Waits for nobody, and takes no memory from the heap (a model with features or layers so wide that one row
  /// takes more than 16 KiB: once for each thread that is inside at the same time, and std::bad_alloc if there is none;
  /// else nothing is thrown). mf: the bits are those of a block on the CPU engine. A block of a network, and a GPU, sum
  /// in another order: their f32 differ by rounding.
  Prediction predict(const RawId& user, const RawId& item) const;
  /// The same for ids as they are written.
  Prediction predict(std::string_view user, std::string_view item) const;

  /// Many pairs on the device, in order. Calls from several threads take turns there, but look their ids up side by
  /// side. The CPU engine leaves up to 4096 pairs of mf to the caller's thread, which takes no turn. Throws DeviceError
  /// if the device fails.
  std::vector<Prediction> predict(std::span<const RawPair> pairs) const;

  /// Errors of the predictions of `pairs` against as many `ratings`, on the device and in turns as above. Throws
  /// std::invalid_argument if there are not as many, DeviceError if the device fails.
  Metrics evaluate(std::span<const RawPair> pairs, std::span<const float> ratings) const;
  /// The same for ratings of a data set, with the data set's dense ids.
  Metrics evaluate(const Dataset& dataset, const RatingTable& ratings) const;
  /// The same for ratings with the model's dense ids, as Model::translate gives them and as the data set has them that
  /// the model was trained on; ids outside of the model's are of unknown users and items.
  Metrics evaluate(const RatingTable& ratings) const;

 private:
  friend class PredictorState;
  explicit Predictor(std::shared_ptr<const PredictorState> state);

  std::shared_ptr<const PredictorState> state_;
};

}  // namespace curate
