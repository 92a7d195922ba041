#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "device/device.h"
#include "tests/reference/mf.h"
#include "tests/reference/rating_loss.h"

namespace curate::reference {

/// One epoch, rating by rating. Returns the prediction of each rating before its update.
inline std::vector<double> mf_sgd_epoch(Mf& mf, ErrorSums& sums, const std::vector<std::int32_t>& users,
                                        const std::vector<std::int32_t>& items, const std::vector<float>& ratings,
                                        const MfSgdParams& params, double learning_rate, std::int64_t epoch = 0) {
  const auto reg = static_cast<double>(params.reg);
  std::vector<double> predictions;
  const auto rate = [&](const std::vector<std::int32_t>& ids, std::int32_t id) {
    const auto ratings_of_row = static_cast<double>(std::count(ids.begin(), ids.end(), id));
    return params.rate_decay == 0.0F
               ? learning_rate
               : learning_rate / std::sqrt(1.0 + static_cast<double>(params.rate_decay) * ratings_of_row *
                                                     (static_cast<double>(epoch) + 0.5));
  };
  for (std::size_t j = 0; j < ratings.size(); ++j) {
    const std::int32_t u = users.at(j);
    const std::int32_t i = items.at(j);
    const auto rating = static_cast<double>(ratings.at(j));
    const double prediction = predict(mf, u, i);
    predictions.push_back(prediction);
    add_error(sums, prediction, rating);
    const double e = rating - prediction;
    const double user_rate = rate(users, u);
    const double item_rate = rate(items, i);
    if (!mf.user_bias.absent()) {
      mf.user_bias(u, 0) += user_rate * (e - reg * mf.user_bias(u, 0));
    }
    if (!mf.item_bias.absent()) {
      mf.item_bias(i, 0) += item_rate * (e - reg * mf.item_bias(i, 0));
    }
    for (std::int64_t k = 0; k < mf.user.cols; ++k) {
      const double p = mf.user(u, k);
      const double q = mf.item(i, k);
      mf.user(u, k) = p + user_rate * (e * q - reg * p);
      mf.item(i, k) = q + item_rate * (e * p - reg * q);
      if (params.non_negative) {
        mf.user(u, k) = std::max(mf.user(u, k), 0.0);
        mf.item(i, k) = std::max(mf.item(i, k), 0.0);
      }
    }
  }
  return predictions;
}

}  // namespace curate::reference
