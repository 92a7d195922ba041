#include <algorithm>
#include <limits>

#include "curate/dataset.h"
#include "curate/error.h"
#include "data/piece_sizes.h"

namespace curate {
namespace {

/// Raw ids below this are looked up in a table by themselves: 16 MiB of it at most.
constexpr std::int64_t kSmallIds = std::int64_t{1} << (kSmallPieces ? 12U : 22U);

}  // namespace

std::optional<std::int32_t> IdMap::find(std::int64_t raw) const {
  if (raw >= 0 && raw < kSmallIds) {
    const auto index = static_cast<std::size_t>(raw);
    return index < small_.size() && small_[index] >= 0 ? std::optional(small_[index]) : std::nullopt;
  }
  const auto found = others_.find(raw);
  return found == others_.end() ? std::nullopt : std::optional(found->second);
}

std::int32_t IdMap::find_or_add(std::int64_t raw) {
  const bool small = raw >= 0 && raw < kSmallIds;
  if (const std::optional<std::int32_t> found = find(raw)) {
    return *found;
  }
  if (raw_.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw InputError("more than 2147483647 different user or item ids; split the data");
  }
  const std::int32_t dense = size();
  raw_.push_back(raw);
  if (small) {
    const auto index = static_cast<std::size_t>(raw);
    if (index >= small_.size()) {
      small_.resize(std::min<std::size_t>(static_cast<std::size_t>(kSmallIds), std::max<std::size_t>(1024, 2 * index)),
                    -1);
    }
    small_[index] = dense;
  } else {
    others_.emplace(raw, dense);
  }
  return dense;
}

}  // namespace curate
