#pragma once

#include <cstdint>

#include "tests/reference/matrix.h"
#include "tests/support/random_inputs.h"

namespace curate::reference {

/// A biased matrix factorization, or the rows of a batch. Absent biases count as zero.
struct Mf {
  Matrix user;
  Matrix item;
  Matrix user_bias;
  Matrix item_bias;
  double mean = 0.0;
};

inline Mf to_reference(const test::HostMf& host) {
  Mf mf;
  mf.user = Matrix(host.users, host.dim, host.user);
  mf.item = Matrix(host.items, host.dim, host.item);
  mf.user_bias = Matrix(host.user_bias.empty() ? 0 : host.users, 1, host.user_bias);
  mf.item_bias = Matrix(host.item_bias.empty() ? 0 : host.items, 1, host.item_bias);
  mf.mean = static_cast<double>(host.mean);
  return mf;
}

inline double predict(const Mf& mf, std::int64_t user, std::int64_t item) {
  double prediction = mf.mean;
  if (!mf.user_bias.absent()) {
    prediction += mf.user_bias(user, 0);
  }
  if (!mf.item_bias.absent()) {
    prediction += mf.item_bias(item, 0);
  }
  for (std::int64_t k = 0; k < mf.user.cols; ++k) {
    prediction += mf.user(user, k) * mf.item(item, k);
  }
  return prediction;
}

}  // namespace curate::reference
