#include <algorithm>

#include "device/cpu/cpu_ops.h"
#include "device/cpu/simd.h"

namespace curate::cpu {
namespace {

struct Tables {
  Matrix<float> user;
  Matrix<float> item;
  Matrix<float> user_bias;
  Matrix<float> item_bias;
  float mean = 0.0F;
};

struct Ratings {
  const std::int32_t* users;
  const std::int32_t* items;
  const float* ratings;
  std::int64_t count;
};

CURATE_SIMD_CLONES
void epoch(const Tables& tables, ErrorSums& sums, const Ratings& ratings, const MfSgdParams& params,
           float learning_rate) {
  const std::int64_t dim = tables.user.cols;
  const bool has_user_bias = !tables.user_bias.empty();
  const bool has_item_bias = !tables.item_bias.empty();
  const float shrink = 1.0F - learning_rate * params.reg;
  for (std::int64_t n = 0; n < ratings.count; ++n) {
    const std::int32_t u = ratings.users[n];
    const std::int32_t i = ratings.items[n];
    float* __restrict p = tables.user.row(u);
    float* __restrict q = tables.item.row(i);
    float prediction = 0.0F;
#pragma omp simd reduction(+ : prediction)
    for (std::int64_t k = 0; k < dim; ++k) {
      prediction += p[k] * q[k];
    }
    prediction += tables.mean;
    prediction += has_user_bias ? *tables.user_bias.row(u) : 0.0F;
    prediction += has_item_bias ? *tables.item_bias.row(i) : 0.0F;
    add_error(sums, prediction, ratings.ratings[n]);
    const float step = learning_rate * (ratings.ratings[n] - prediction);
#pragma omp simd
    for (std::int64_t k = 0; k < dim; ++k) {
      const float old_p = p[k];
      p[k] = shrink * old_p + step * q[k];
      q[k] = shrink * q[k] + step * old_p;
    }
    if (has_user_bias) {
      float& bias = *tables.user_bias.row(u);
      bias = shrink * bias + step;
    }
    if (has_item_bias) {
      float& bias = *tables.item_bias.row(i);
      bias = shrink * bias + step;
    }
    if (params.non_negative) {
      for (std::int64_t k = 0; k < dim; ++k) {
        p[k] = p[k] < 0.0F ? 0.0F : p[k];
        q[k] = q[k] < 0.0F ? 0.0F : q[k];
      }
    }
  }
}

}  // namespace

void mf_sgd_epoch(const MfTables& tables, ErrorSums& sums, const RatingsView& ratings, const MfSgdParams& params,
                  const StepState& state) {
  const Tables resolved{resolve<float>(tables.user), resolve<float>(tables.item), resolve<float>(tables.user_bias),
                        resolve<float>(tables.item_bias), *resolve<const float>(tables.mean).data};
  const Ratings host{resolve<const std::int32_t>(ratings.users).data, resolve<const std::int32_t>(ratings.items).data,
                     resolve<const float>(ratings.ratings).data, ratings.users.rows};
  epoch(resolved, sums, host, params, state.learning_rate);
}

}  // namespace curate::cpu
