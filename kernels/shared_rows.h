#pragma once

#include "curate/kinds.h"
#include "support/host_device.h"

namespace curate::cuda {

/// How rows of rounded numbers lie in shared memory.
template <ProductPrecision kPrecision>
struct SharedRows {
  static constexpr bool kTwo = kPrecision == ProductPrecision::bf16;  ///< to a word
  /// Extents are padded with zeros to multiples of this.
  static constexpr int kUnit = kTwo ? 16 : 8;

  CURATE_HOST_DEVICE static constexpr int padded(int count) { return (count + kUnit - 1) / kUnit * kUnit; }
  CURATE_HOST_DEVICE static constexpr int words(int numbers) { return kTwo ? numbers / 2 : numbers; }
  /// Words from one row to the next.
  CURATE_HOST_DEVICE static constexpr int ld(int numbers) { return words(padded(numbers)) + 4; }
};

}  // namespace curate::cuda
