#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/matrix.h"

namespace curate::reference {

/// The rows of each bag.
using Bags = std::vector<std::vector<std::int32_t>>;

/// [count, d]: the sums, or means, of the rows of the bags index[begin], index[begin + 1], ...
inline Matrix bag_rows(const Matrix& table, const Bags& bags, const std::vector<std::int32_t>& index, bool mean,
                       std::int64_t begin, std::int64_t count) {
  Matrix out(count, table.cols);
  for (std::int64_t b = 0; b < count; ++b) {
    const auto& bag = bags.at(static_cast<std::size_t>(index.at(static_cast<std::size_t>(begin + b))));
    for (const std::int32_t row : bag) {
      for (std::int64_t k = 0; k < table.cols; ++k) {
        out(b, k) += table(row, k) / (mean ? static_cast<double>(bag.size()) : 1.0);
      }
    }
  }
  return out;
}

/// Adds to grad_table what the batch's gradients [count, d] of those sums or means make of it.
inline void bag_rows_backward(Matrix& grad_table, const Matrix& grad_rows, const Bags& bags,
                              const std::vector<std::int32_t>& index, bool mean, std::int64_t begin,
                              std::int64_t count) {
  for (std::int64_t b = 0; b < count; ++b) {
    const auto& bag = bags.at(static_cast<std::size_t>(index.at(static_cast<std::size_t>(begin + b))));
    for (const std::int32_t row : bag) {
      for (std::int64_t k = 0; k < grad_table.cols; ++k) {
        grad_table(row, k) += grad_rows(b, k) / (mean ? static_cast<double>(bag.size()) : 1.0);
      }
    }
  }
}

}  // namespace curate::reference
