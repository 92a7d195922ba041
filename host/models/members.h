#pragma once

#include <cstddef>

#include "curate/model.h"

namespace curate {

// The models whose mean a model predicts: the members of an ensemble, or itself alone. They count from 0 here, and from
// 1 wherever somebody reads of them.

inline bool is_ensemble(const Model::Parts& parts) {
  return !parts.members.empty();
}

inline std::size_t count_members(const Model::Parts& parts) {
  return is_ensemble(parts) ? parts.members.size() : 1;
}

/// With the features and the transform, which members share.
inline ModelSpec member_spec(const Model::Parts& parts, std::size_t member) {
  if (!is_ensemble(parts)) {
    return parts.spec;
  }
  ModelSpec spec = parts.members[member].spec;
  spec.features = parts.spec.features;
  spec.transform = parts.spec.transform;
  return spec;
}

inline const TensorMap& member_tensors(const Model::Parts& parts, std::size_t member) {
  return is_ensemble(parts) ? parts.members[member].tensors : parts.tensors;
}

}  // namespace curate
