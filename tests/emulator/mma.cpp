#include <emulated_mma.h>

#include <array>

namespace curate::emulator {
namespace {

constexpr int kRows = 16;
constexpr int kCols = 8;
constexpr int kMostDepth = 16;

float value_of(std::uint32_t word, MmaType type, int half) {
  if (type == MmaType::tf32) {
    return std::bit_cast<float>(word & 0xFFFFE000U);
  }
  return std::bit_cast<float>(half == 0 ? word << 16U : word & 0xFFFF0000U);
}

}  // namespace

void multiply_fragments(const Meeting& meeting, MmaType type) {
  std::array<MmaLane*, kWarpThreads> lanes{};
  std::array<std::array<float, kMostDepth>, kRows> a{};
  std::array<std::array<float, kMostDepth>, kCols> b{};
  const int halves = type == MmaType::tf32 ? 1 : 2;
  const int depth = 8 * halves;
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    auto* const registers = std::bit_cast<MmaLane*>(static_cast<std::uintptr_t>(meeting.value(lane)));
    lanes[static_cast<std::size_t>(lane)] = registers;
    const auto group = static_cast<std::size_t>(lane / 4);
    for (int slot = 0; slot < 2; ++slot) {
      for (int half = 0; half < halves; ++half) {
        const auto k = static_cast<std::size_t>(halves * (lane % 4 + 4 * slot) + half);
        a[group][k] = value_of(registers->a[2 * slot], type, half);
        a[group + 8][k] = value_of(registers->a[2 * slot + 1], type, half);
        b[group][k] = value_of(registers->b[slot], type, half);
      }
    }
  }
  for (int lane = 0; lane < kWarpThreads; ++lane) {
    MmaLane& registers = *lanes[static_cast<std::size_t>(lane)];
    for (int e = 0; e < 4; ++e) {
      const auto& row = a[static_cast<std::size_t>(lane / 4 + 8 * (e / 2))];
      const auto& col = b[static_cast<std::size_t>(2 * (lane % 4) + e % 2)];
      float sum = registers.sum[e];
      for (int k = 0; k < depth; ++k) {
        sum += row[static_cast<std::size_t>(k)] * col[static_cast<std::size_t>(k)];
      }
      registers.sum[e] = sum;
    }
    registers.done = true;
  }
}

}  // namespace curate::emulator
