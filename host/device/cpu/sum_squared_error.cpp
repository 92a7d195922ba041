#include <algorithm>
#include <array>
#include <cmath>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

constexpr std::int64_t kGrain = 4096;
constexpr std::int64_t kBatch = 256;
/// Rows are fetched so many ratings ahead.
constexpr std::int64_t kAhead = 8;

struct Tables {
  const float* user;
  const float* item;
  const float* user_bias;  ///< or null
  const float* item_bias;  ///< or null
  std::int64_t user_ld;
  std::int64_t item_ld;
  std::int64_t user_bias_ld;
  std::int64_t item_bias_ld;
  std::int64_t dim;
  float mean;
};

CURATE_SIMD_CLONES
void predict(float* predictions, const Tables& tables, const std::int32_t* users, const std::int32_t* items,
             std::int64_t count) {
  for (std::int64_t n = 0; n < count; ++n) {
    if (n + kAhead < count) {
      const float* const coming = tables.item + items[n + kAhead] * tables.item_ld;
      for (std::int64_t k = 0; k < tables.dim; k += 16) {
        __builtin_prefetch(coming + k);
      }
      __builtin_prefetch(tables.user + users[n + kAhead] * tables.user_ld);
      // Biases that do not lie behind their rows.
      if (tables.user_bias != nullptr && tables.user_bias_ld == 1) {
        __builtin_prefetch(tables.user_bias + users[n + kAhead]);
      }
      if (tables.item_bias != nullptr && tables.item_bias_ld == 1) {
        __builtin_prefetch(tables.item_bias + items[n + kAhead]);
      }
    }
    const float* const p = tables.user + users[n] * tables.user_ld;
    const float* const q = tables.item + items[n] * tables.item_ld;
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < tables.dim; ++k) {
      sum += p[k] * q[k];
    }
    float base = tables.mean;
    base += tables.user_bias == nullptr ? 0.0F : tables.user_bias[users[n] * tables.user_bias_ld];
    base += tables.item_bias == nullptr ? 0.0F : tables.item_bias[items[n] * tables.item_bias_ld];
    predictions[n] = base + sum;
  }
}

/// `value` made a rating by units without a transform.
float scaled(float value, const RatingUnits& units) {
  return static_cast<float>(units.centre + units.unit * static_cast<double>(value));
}

/// add_error() of each, in vectors. scale.units have no transform.
CURATE_SIMD_CLONES
void add_batch(ErrorSums& sums, const float* predictions, const float* ratings, std::int64_t count,
               const ErrorScale& scale) {
  double squared = 0.0;
  double absolute = 0.0;
  double whole = 0.0;
#pragma omp simd reduction(+ : squared, absolute, whole)
  for (std::int64_t n = 0; n < count; ++n) {
    const float prediction = clamp_to(scaled(predictions[n], scale.units), scale.clip);
    const float rating = scaled(ratings[n], scale.units);
    const double error = static_cast<double>(prediction) - static_cast<double>(rating);
    squared += error * error;
    absolute += std::abs(error);
    whole += std::abs(static_cast<double>(std::nearbyint(prediction)) - static_cast<double>(rating));
  }
  sums.squared += squared;
  sums.absolute += absolute;
  sums.absolute_whole_stars += whole;
  sums.count += count;
}

/// The same for units with a transform, which is not computed in vectors. Overwrites the predictions.
void add_transformed_batch(ErrorSums& sums, float* predictions, const float* ratings, std::int64_t count,
                           const ErrorScale& scale) {
  std::array<float, kBatch> own;
  for (std::int64_t n = 0; n < count; ++n) {
    predictions[n] = to_rating(predictions[n], scale.units);
    own[static_cast<std::size_t>(n)] = to_rating(ratings[n], scale.units);
  }
  add_batch(sums, predictions, own.data(), count, scale.clip);
}

}  // namespace

void run(const ops::SumSquaredError& operation, Context& context) {
  const MfTables& tables = operation.tables;
  const RatingsView& ratings = operation.ratings;
  const auto user = resolve<const float>(tables.user);
  const auto item = resolve<const float>(tables.item);
  const auto user_bias = resolve<const float>(tables.user_bias);
  const auto item_bias = resolve<const float>(tables.item_bias);
  const Tables flat = {user.data,
                       item.data,
                       user_bias.row_or_null(0),
                       item_bias.row_or_null(0),
                       user.ld,
                       item.ld,
                       user_bias.ld,
                       item_bias.ld,
                       user.cols,
                       *resolve<const float>(tables.mean).data};
  const auto* users = resolve<const std::int32_t>(ratings.users).data;
  const auto* items = resolve<const std::int32_t>(ratings.items).data;
  const auto* values = resolve<const float>(ratings.ratings).data;
  const std::int64_t count = ratings.users.rows;
  const bool transformed = operation.scale.units.transform.kind != TransformKind::none;
  std::vector<ErrorSums> pieces(static_cast<std::size_t>((count + kGrain - 1) / kGrain));
  context.pool.parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ErrorSums& piece = pieces[static_cast<std::size_t>(begin / kGrain)];
    std::array<float, kBatch> predictions;
    for (std::int64_t n = begin; n < end; n += kBatch) {
      const std::int64_t batch = std::min(kBatch, end - n);
      predict(predictions.data(), flat, users + n, items + n, batch);
      if (transformed) {
        add_transformed_batch(piece, predictions.data(), values + n, batch, operation.scale);
      } else {
        add_batch(piece, predictions.data(), values + n, batch, operation.scale);
      }
    }
  });
  add_pieces(error_sums(operation.sums), pieces);
}

}  // namespace curate::cpu
