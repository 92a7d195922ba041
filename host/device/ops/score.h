#pragma once

#include "curate/kinds.h"
#include "device/ops/mf.h"
#include "device/rating_units.h"
#include "device/views.h"

namespace curate {

/// Predictions are clamped to [min, max] before their error is summed; infinities switch that off.
struct ClipRange {
  float min = 0.0F;
  float max = 0.0F;
};

/// Errors are summed in ratings' own units, whichever units predictions and ratings have.
struct ErrorScale {
  ErrorScale(ClipRange clip_to, const RatingUnits& of = {}) : clip(clip_to), units(of) {}  // NOLINT: a range is a scale

  ClipRange clip;  ///< in ratings' own units
  RatingUnits units;
};

namespace ops {

/// With e = prediction[b] - ratings[state.batch_begin + b], n = state.batch_count:
///   mse: grad[b] = 2 e / n      mae: grad[b] = sign(e) / n, 0 at e = 0
/// and e is added to sums [1] error_sums. The sums are deterministic on the CPU. 12 bytes.
struct RatingLoss {
  static constexpr const char* kName = "rating_loss";

  MatrixView grad;
  MatrixView sums;
  MatrixView prediction;
  MatrixView ratings;
  LossKind kind = LossKind::mse;
  MatrixView state;

  void check(const Device& device) const;
};

/// Adds the errors of prediction[b] against ratings[state.batch_begin + b], both made ratings by `scale` and the first
/// clamped, to sums [1] error_sums. prediction [batch] f32, ratings [n] f32. Deterministic on the CPU. 8 bytes.
struct RatingErrors {
  static constexpr const char* kName = "rating_errors";

  MatrixView sums;
  MatrixView prediction;
  MatrixView ratings;
  ErrorScale scale;
  MatrixView state;

  void check(const Device& device) const;
};

/// Adds the errors of all ratings to sums [1] error_sums, as RatingErrors does. Deterministic on the CPU.
/// 8d + 20 bytes.
struct SumSquaredError {
  static constexpr const char* kName = "sum_squared_error";

  MatrixView sums;
  MfTables tables;
  RatingsView ratings;
  ErrorScale scale;

  void check(const Device& device) const;
};

}  // namespace ops
}  // namespace curate

#define CURATE_SCORE_OPERATIONS(X) X(RatingLoss) X(RatingErrors) X(SumSquaredError)
