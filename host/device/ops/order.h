#pragma once

#include "device/views.h"

namespace curate {

namespace ops {

/// state = first batch of an epoch. state [1] step_state.
struct BeginEpoch {
  static constexpr const char* kName = "begin_epoch";

  MatrixView state;
  EpochStart start;

  void check(const Device& device) const;
};

/// state = next batch.
struct AdvanceStep {
  static constexpr const char* kName = "advance_step";

  MatrixView state;

  void check(const Device& device) const;
};

/// The epoch's order: a stable sort of ratings by key(e) = philox(state.seed, e, state.epoch, shuffle).low64().
/// out[j] = in[order[j]]; order [n] i32 is an output too. Deterministic. 36 bytes plus the sort.
struct Permute {
  static constexpr const char* kName = "permute";

  RatingsView out;
  MatrixView order;
  RatingsView in;
  MatrixView state;

  void check(const Device& device) const;
};

/// Groups every batch of the epoch by `index` [n] i32 (the permuted users or items), with state.batch_size.
/// Deterministic.
struct BuildSegments {
  static constexpr const char* kName = "build_segments";

  SegmentsView out;
  MatrixView index;
  std::int64_t num_rows = 0;
  MatrixView state;

  void check(const Device& device) const;
};

}  // namespace ops
}  // namespace curate

#define CURATE_ORDER_OPERATIONS(X) X(BeginEpoch) X(AdvanceStep) X(Permute) X(BuildSegments)
