#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "support/philox.h"

namespace curate::reference {

/// order[j]: which rating comes j-th in this epoch.
inline std::vector<std::int32_t> epoch_order(std::uint64_t seed, std::int64_t epoch, std::int64_t num_ratings) {
  std::vector<std::uint64_t> keys;
  for (std::int64_t e = 0; e < num_ratings; ++e) {
    keys.push_back(
        philox(seed, static_cast<std::uint64_t>(e), static_cast<std::uint32_t>(epoch), RandomPurpose::shuffle).low64());
  }
  std::vector<std::int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&keys](std::int32_t a, std::int32_t b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
  return order;
}

}  // namespace curate::reference
