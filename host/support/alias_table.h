#pragma once

#include <cstdint>
#include <vector>

namespace curate {

/// Draws indices in proportion to weights, from 32 random bits and one look-up each (Walker 1977; Vose 1991).
class AliasTable {
 public:
  /// Weights >= 0, some of them positive; at most 2^31 - 1.
  explicit AliasTable(const std::vector<double>& weights);

  std::int32_t operator()(std::uint32_t word) const {
    // The quotient of a division by the size of a cell tells the cell, the remainder the place within.
    const std::uint64_t product = std::uint64_t{word} * cells_.size();
    const Cell& cell = cells_[product >> 32U];
    return static_cast<std::uint32_t>(product) < cell.own ? static_cast<std::int32_t>(product >> 32U) : cell.alias;
  }

 private:
  struct Cell {
    std::uint32_t own = 0xFFFFFFFFU;  ///< share of the cell's own index, in 2^-32
    std::int32_t alias = 0;
  };

  std::vector<Cell> cells_;
};

}  // namespace curate
