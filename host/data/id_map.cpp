#include <limits>

#include "curate/dataset.h"
#include "curate/error.h"

namespace curate {

std::optional<std::int32_t> IdMap::find(std::int64_t raw) const {
  const auto found = dense_.find(raw);
  return found == dense_.end() ? std::nullopt : std::optional(found->second);
}

std::int32_t IdMap::find_or_add(std::int64_t raw) {
  const auto found = dense_.find(raw);
  if (found != dense_.end()) {
    return found->second;
  }
  if (raw_.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw InputError("more than 2147483647 different user or item ids; split the data");
  }
  const std::int32_t dense = size();
  raw_.push_back(raw);
  dense_.emplace(raw, dense);
  return dense;
}

}  // namespace curate
