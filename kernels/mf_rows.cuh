#pragma once

#include <cuda_runtime.h>

#include "kernels/rows.cuh"

namespace curate::cuda {

/// A matrix factorization's tables of T, or a batch of rows of them; absent biases count as 0.
template <typename T, typename Bias = T>
struct Factors {
  Rows<T> user;
  Rows<T> item;
  Rows<Bias> user_bias;
  Rows<Bias> item_bias;
};

template <typename T, typename Bias = T, typename Views>
Factors<T, Bias> factors_of(const Views& views) {
  return {rows_of<T>(views.user), rows_of<T>(views.item), rows_of<Bias>(views.user_bias),
          rows_of<Bias>(views.item_bias)};
}

/// That lane's part of the dot product of two rows.
template <int kVector, typename T>
__device__ float partial_dot(const T* p, const T* q, const RowShare& share, std::int64_t lane) {
  float sum = 0.0F;
  share.visit<kVector>(
      lane,
      [&](std::int64_t c) {
        const auto a = Pack<kVector>::load(p + c);
        const auto b = Pack<kVector>::load(q + c);
        for (int i = 0; i < kVector; ++i) {
          sum += a.value[i] * b.value[i];
        }
      },
      [&](std::int64_t c) { sum += Pack<1>::load(p + c).value[0] * Pack<1>::load(q + c).value[0]; });
  return sum;
}

/// What a prediction is made of besides the dot product.
template <typename T>
__device__ float base_of(const Factors<T, const float>& factors, const float* mean, std::int64_t user,
                         std::int64_t item) {
  float base = *mean;
  base += factors.user_bias.data == nullptr ? 0.0F : *factors.user_bias.row(user);
  base += factors.item_bias.data == nullptr ? 0.0F : *factors.item_bias.row(item);
  return base;
}

}  // namespace curate::cuda
