#pragma once

#include <bit>
#include <cstdint>

#include "emulated_shared_memory.h"
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

/// ldmatrix.x4: lane 8 i + r names the first of the four words of matrix i's row r. to[i] is the word lane % 4 of its
/// row lane / 4; transposed, the halves lane / 4 of its rows 2 (lane % 4) and the next.
template <typename Words>
void load_matrices(std::uint32_t (&to)[4], const Words& shared, int row, bool transposed,
                   const Site& site = Site::current()) {
  check_aligned(row, 4);
  const Meeting meeting("ldmatrix", ~0U, static_cast<std::uint64_t>(row), site);
  const int group = meeting.lane() / 4;
  const int quad = meeting.lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const auto row_of = [&](int r) { return static_cast<std::int64_t>(meeting.value(8 * i + r)); };
    if (transposed) {
      const std::uint32_t upper = shared[row_of(2 * quad) + group / 2];
      const std::uint32_t lower = shared[row_of(2 * quad + 1) + group / 2];
      to[i] = group % 2 == 0 ? (upper & 0xFFFFU) | lower << 16U : upper >> 16U | (lower & 0xFFFF0000U);
    } else {
      to[i] = shared[row_of(group) + quad];
    }
  }
}

}  // namespace curate::emulator
