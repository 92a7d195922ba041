#pragma once

#include <bit>
#include <cstdint>

#include "tests/emulator/grid.h"

namespace curate::emulator {

enum class MmaType : std::uint8_t {
  tf32,  ///< m16n8k8, one value to a register, whose lowest 13 bits the hardware does not see
  bf16,  ///< m16n8k16, two values to a register
};

/// A lane's registers of one product.
struct MmaLane {
  float* sum;
  const std::uint32_t* a;
  const std::uint32_t* b;
  bool done;
};

/// sum += a b for all lanes at once, by the first one that goes on after all have met: the others still wait, so that
/// their registers are as they left them. Exact products, added in the order of the depth.
void multiply_fragments(const Meeting& meeting, MmaType type);

inline void mma(float (&sum)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], MmaType type,
                const Site& site = Site::current()) {
  MmaLane lane = {sum, a, b, false};
  const Meeting meeting("mma", ~0U, std::bit_cast<std::uintptr_t>(&lane), site);
  if (!lane.done) {
    multiply_fragments(meeting, type);
  }
}

}  // namespace curate::emulator
