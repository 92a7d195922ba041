#pragma once

#include <cstdint>
#include <vector>

namespace curate {

/// The x below which a standard normal variable falls with `probability`, which lies in (0, 1); relative error below
/// 1.2e-9 (Acklam 2003, "An algorithm for computing the inverse normal cumulative distribution function").
double normal_quantile(double probability);

/// Standard normal numbers from 32 random bits each: the quantile by a table, to 2e-4 and better, the outermost 1.6 %
/// computed.
class NormalTable {
 public:
  NormalTable();

  float operator()(std::uint32_t word) const {
    const std::uint32_t cell = word >> kFractionBits;
    if (cell - kOuterCells >= kCells - 2 * kOuterCells) {
      return static_cast<float>(normal_quantile((static_cast<double>(word) + 0.5) * 0x1.0p-32));
    }
    const float fraction = static_cast<float>(word & ((1U << kFractionBits) - 1)) * 0x1.0p-20F;
    return quantiles_[cell] + fraction * (quantiles_[cell + 1] - quantiles_[cell]);
  }

 private:
  static constexpr std::uint32_t kFractionBits = 20;
  static constexpr std::uint32_t kCells = 1U << (32 - kFractionBits);
  static constexpr std::uint32_t kOuterCells = 32;  ///< on either side

  std::vector<float> quantiles_;
};

}  // namespace curate
