#pragma once

#include <span>

#include "curate/dataset.h"
#include "curate/model.h"
#include "curate/options.h"
#include "device/rating_units.h"

namespace curate {

/// Mean and standard deviation of transformed ratings, in double precision.
struct RatingSpread {
  double mean = 0.0;
  double deviation = 0.0;
};
RatingSpread spread_of(std::span<const float> ratings, const RatingTransform& transform = {});

/// The transform that options.transform asks for, of ratings on that scale.
RatingTransform transform_of(const TrainOptions& resolved, const RatingScale& scale);

/// The units that options.units asks for: of transformed ratings with that spread, around 0 instead of the mean if
/// options.global_mean is off. Ratings that are all the same keep their unit.
RatingUnits learning_units(const TrainOptions& resolved, const RatingSpread& spread,
                           const RatingTransform& transform = {});

/// The scale of ratings in units.
RatingScale to_units(const RatingScale& scale, const RatingUnits& units);

/// Makes the parameters of a model that predicts units those of one that predicts transformed ratings. `spec` is the
/// one that model_spec() makes for the scale of transformed ratings.
void to_rating_scale(TensorMap& tensors, const ModelSpec& spec, const RatingUnits& units);

}  // namespace curate
