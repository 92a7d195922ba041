#pragma once

#include <cstddef>
#include <cstdint>

#include "curate/dataset.h"
#include "curate/options.h"
#include "curate/trainer.h"
#include "device/device.h"
#include "train/training_session.h"

namespace curate {

/// Trains what the options ask for: the bias model, another model or an ensemble, with its baseline. The bias model is
/// fitted on the host, first without the validation slice, for its errors there, then on all ratings with the same
/// ridges. Arguments and what is thrown as in train(). History of a bias model is one record.
Trained train_with_baseline(Device& device, const TrainOptions& resolved, const Dataset& dataset,
                            const RatingTable& ratings, const TrainEvents& events = {});

/// Errors of the baseline on ratings with dense ids of its data set; -1: an id that is not there. Cold are those whose
/// user or item `model` has no training rating of, so that the two models' errors are of the same ratings.
Metrics evaluate_baseline(const Baseline& baseline, const Model& model, const RatingTable& ratings);

/// Whether the baseline's RMSE is lower than the model's: on the validation slice, without one on the test part.
/// `test` is the model's, baseline.test the other. False if there is neither part.
bool is_worse_than_baseline(const TrainResult& result, const std::optional<Metrics>& test);

/// Bytes that the fit takes on the host besides the ratings, at most.
std::size_t baseline_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items);

}  // namespace curate
