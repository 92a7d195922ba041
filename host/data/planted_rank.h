#pragma once

#include <fmt/format.h>

#include <cstdint>

#include "curate/error.h"

namespace curate {

/// The rank of a model that made-up ratings follow. Throws InputError for one that cannot be planted.
inline std::int32_t checked_rank(std::int32_t rank) {
  constexpr std::int32_t kMaxRank = 4096;
  if (rank < 1 || rank > kMaxRank) {
    throw InputError(fmt::format("rank {} cannot be planted; give 1 to {}", rank, kMaxRank));
  }
  return rank;
}

}  // namespace curate
