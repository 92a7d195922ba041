#pragma once

#include <cstdint>

#include "support/philox.h"

namespace curate {

/// Elements whose random word is below this are dropped: rate * 2^32, rounded down. A comparison of integers, so that
/// every device drops the same elements.
CURATE_HOST_DEVICE inline std::uint32_t dropout_threshold(float rate) {
  return static_cast<std::uint32_t>(static_cast<double>(rate) * 4294967296.0);
}

/// The random words of columns 4 * quad .. 4 * quad + 3 of the row at `position` of the epoch's order, in a matrix of
/// `cols` columns.
CURATE_HOST_DEVICE inline PhiloxWords dropout_words(std::uint64_t seed, std::int64_t position, std::int64_t cols,
                                                    std::int64_t quad, std::int64_t epoch, RandomPurpose purpose) {
  const std::int64_t quads = (cols + 3) / 4;
  return philox(seed, static_cast<std::uint64_t>(position * quads + quad), static_cast<std::uint32_t>(epoch), purpose);
}

}  // namespace curate
