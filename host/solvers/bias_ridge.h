#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "curate/dataset.h"

namespace curate {

/// How much the offsets of users and of items vary, in units of the error's variance: what the data say, whatever the
/// ratings' unit. 0: they do not vary, and every offset is 0. The ridge of a side is the inverse.
struct BiasVariances {
  double user = 0.0;  ///< 1 / lambda_u
  double item = 0.0;  ///< 1 / lambda_i
};

/// The bias model: prediction = mean + user[u] + item[i]. Offsets of ids without a rating are 0.
struct BiasFit {
  double mean = 0.0;
  std::vector<double> user;               ///< [users]
  std::vector<double> item;               ///< [items]
  std::vector<std::int64_t> user_counts;  ///< ratings
  std::vector<std::int64_t> item_counts;
  BiasVariances variances;
  std::int32_t sweeps = 0;  ///< over the ratings
};

/// Minimizes, in double precision and up to its rounding,
///   sum over ratings (r - mean - user[u] - item[i])^2 + lambda_u sum over users user[u]^2
///                                                     + lambda_i sum over items item[i]^2,
/// Henderson's mixed model equations (Henderson 1975, "Best linear unbiased estimation and prediction under a selection
/// model", eq. 5; for ratings with ridges that are tuned: Koren 2010, "Factor in the neighbors", section 2.1). The
/// users' offsets are eliminated, conjugate gradients find the mean and the items'. `users` and `items` are the numbers
/// of dense ids. The same bits for any number of `threads` (0: all cores). No rating: all is 0.
BiasFit fit_biases(const RatingTable& ratings, std::int32_t users, std::int32_t items, const BiasVariances& variances,
                   std::int32_t threads);

/// The same with the variances that the ratings say: those of greatest restricted likelihood (Patterson, Thompson
/// 1971), by MacKay's fixed point (MacKay 1992, "Bayesian interpolation", eq. 4.9), with the diagonal of the inverse
/// that it needs approximated by that of the Schur complements. A side that does not vary more than chance alone would
/// have it (a moment test, 2 standard deviations) has variance 0, or, if the test cannot tell that from 0.1 of users or
/// 0.2 of items either, as with a few ratings, just that.
BiasFit fit_biases(const RatingTable& ratings, std::int32_t users, std::int32_t items, std::int32_t threads);

/// Bytes that a fit takes on the host besides the ratings, at most.
std::size_t bias_ridge_bytes(std::int64_t ratings, std::int64_t users, std::int64_t items);

}  // namespace curate
